"""vm-list: what there is, and what runs where."""

from __future__ import annotations

import os
import sys

from vm_spec.fault import Fault, VmError, printable, report
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

EXAMPLES = """\
examples:
  vm-list                         every VM of $VMCONF_DIR (default ~/vm), and what it is doing
  vm-list --names                 their names only, one a line; no description is read
  vm-list --json                  {"version": 1, "vms": [{"name": ..., "state": ...}, ...]}

states:
  running    the guest runs and vm-run watches it
  starting   vm-run is there, and no guest at the moment
  orphaned   the guest runs, vm-run is gone: vm-run --recover NAME takes it over
  crashed    neither runs, and something is left over; the next vm-run NAME sweeps it away
  stopped    nothing runs
  broken     the description has faults; the first one is shown
  on HOST    another host has it, or went down with it (in JSON: elsewhere)

exit status: 0 done, 64 wrong command line, 66 the folder cannot be read, 74 cannot be written
"""

_LISTS = ("", "--json", "--names")
_CANNOT_WRITE = 74


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        what = _what(argv)
        if what not in _LISTS:
            return _write(f"vm-list {_version()}\n" if what == "--version" else _help())
        return _list(what)
    except VmError as error:
        print(f"vm-list: {report(error.faults)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130


def _what(argv: list[str]) -> str:
    """The one thing that is asked for; no parser of command lines is loaded for it.

    Raises:
        VmError: it is not known, or there are two (64).
    """
    asked = list(dict.fromkeys("--help" if word == "-h" else word for word in argv))
    for word in asked:
        if word not in (*_LISTS[1:], "--help", "--version"):
            raise VmError(Fault(problem=f"{word} is not known", hint="vm-list --help"), status=64)
    for word in ("--help", "--version"):
        if word in asked:
            return word
    if len(asked) > 1:
        problem = f"{' and '.join(asked)} cannot be had at once"
        raise VmError(Fault(problem=problem, hint="vm-list --help"), status=64)
    return asked[0] if asked else ""


def _list(what: str) -> int:
    from vm_spec.library import confdir, names

    folder = confdir()
    if what == "--names":
        found = sorted(name for name, _ in names(folder))
        return _write("".join(f"{printable(name)}\n" for name in found))

    from vm_list import columns
    from vm_list.survey import survey

    rows = survey(folder)
    if what == "--json":
        return _write(columns.json(rows))
    status = _write(columns.table(rows, _width()))
    if not rows:
        _tell(f"there is no VM in {printable(os.path.abspath(folder))}")
        _tell("make one: new.sh NAME, or fetch one: vm-pull USER/BOX")
    for hint in columns.hints(rows):
        _tell(hint)
    return status


def _width() -> int:
    """How many cells a line of the terminal has; 0 if we do not write to one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    except (OSError, ValueError):
        return 0


def _tell(text: str) -> None:
    print(f"vm-list: {text}", file=sys.stderr)


def _write(text: str) -> int:
    """Writes on standard output what its encoding has, and the rest escaped; returns a status."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would be written, and fail again, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0  # a reader that has seen enough
        _tell(f"cannot write: {error.strerror}")
        return _CANNOT_WRITE
    return 0


def _help() -> str:
    import argparse

    made = argparse.ArgumentParser(
        prog="vm-list",
        usage="vm-list [--json | --names]",
        description="List virtual machines: what there is, and what runs where.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="for programs; described in vm-list(1)")
    made.add_argument("--names", action="store_true", help="the names only")
    made.add_argument("--version", action="store_true", help="which version this is")
    return made.format_help()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vmman")
    except PackageNotFoundError:
        return "(not installed)"


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
