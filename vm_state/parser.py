"""The parser of every command's arguments."""

from __future__ import annotations

import argparse
import sys

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Parser", "told_version"]


class Parser(argparse.ArgumentParser):
    """A parser that takes no half words, and whose mistakes are faults like all others."""

    def __init__(self, prog: str, usage: str, description: str, examples: str) -> None:
        """A parser without any words yet but -h and --help.

        Args:
            prog: the command.
            usage: its lines, without `usage:`.
            description: what it does, in a sentence.
            examples: what stands at the end of its help, line by line.
        """
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_version(self) -> None:
        """Lets it take --version."""
        self.add_argument("--version", action=_Version, help="which version this is")

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        Raises:
            VmError: always (64).
        """
        raise VmError(Fault(problem=message, hint=f"{self.prog} --help"), status=64)


class _Version(argparse.Action):
    """Prints the version when it is asked for, and looks it up only then: that takes 25 ms."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        del dest

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(told_version(parser.prog))
        parser.exit()


def told_version(command: str) -> str:
    """The line that tells a command's version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{command} {version('vmman')}\n"
    except PackageNotFoundError:
        return f"{command} (not installed)\n"
