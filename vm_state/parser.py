"""The argument parser of every command; apart from `cli`, as argparse costs 10 ms."""

from __future__ import annotations

import argparse
import os
import sys

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Parser", "version_line"]


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and reports mistakes as faults."""

    def __init__(self, prog: str, usage: str, description: str, examples: str) -> None:
        """A parser with -h and --help only.

        Args:
            prog: the command.
            usage: its lines, without `usage:`.
            description: what it does, in a sentence.
            examples: the end of its help, line by line.
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
        """Adds --version."""
        self.add_argument("--version", action=_Version, help="print the version")

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        Raises:
            VmError: always (64).
        """
        raise VmError(Fault(problem=message, hint=f"{self.prog} --help"), status=os.EX_USAGE)


class _Version(argparse.Action):
    """Prints the version; looked up only on demand, which takes 25 ms."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        del dest

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(version_line(parser.prog))
        parser.exit()


def version_line(command: str) -> str:
    """What --version prints."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{command} {version('vmman')}\n"
    except PackageNotFoundError:
        return f"{command} (not installed)\n"
