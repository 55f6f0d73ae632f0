"""vm-list: what there is, and what runs where."""

from __future__ import annotations

import gc
import os
import sys

from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING
from vm_state.cli import run_command

if TYPE_CHECKING:
    from typing import NoReturn

    from vm_list.row import Row

EXAMPLES = """\
examples:
  vm-list                         every VM of $VMCONF_DIR (default ~/vm), and what it is doing
  vm-list web                     one VM, with all that is known of it
  vm-list --names                 their names only, one a line; no description is read
  vm-list --json                  {"version": 1, "vms": [{"name": ..., "state": ...}, ...]}

states:
  running    the guest runs and vm-run watches it
  starting   vm-run is there, and no guest at the moment
  stopping   the guest has been asked to power off
  orphaned   the guest runs, vm-run is gone: vm-run --recover NAME takes it over
  crashed    neither runs, and something is left over; the next vm-run NAME sweeps it away
  stopped    nothing runs
  broken     the description has faults; the first one is shown
  on HOST    another host has it, or went down with it (in JSON: elsewhere)

exit status: 0 done, 64 wrong command line, 66 there is no such VM or the folder cannot be read,
74 cannot be written
"""

_LISTS = ("", "--json", "--names")
_NO_SUCH_VM, _CANNOT_WRITE = 66, 74


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-list", _main, argv)


def _main(argv: list[str]) -> int:
    what, names = _what(argv)
    if what not in _LISTS:
        return _write(_version() if what == "--version" else _help())
    return _list(what, names)


def _what(argv: list[str]) -> tuple[str, list[str]]:
    """The one thing that is asked for, and of whom; no parser of command lines is loaded for it.

    Raises:
        VmError: it is not known, or there are two (64).
    """
    words = list(dict.fromkeys("--help" if word == "-h" else word for word in argv))
    asked = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    for word in asked:
        if word not in (*_LISTS[1:], "--help", "--version"):
            raise VmError(Fault(problem=f"{word} is not known", hint="vm-list --help"), status=64)
    for word in ("--help", "--version"):
        if word in asked:
            return word, []
    if names and "--names" in asked:
        asked.append("NAME")
    if len(asked) > 1:
        problem = f"{' and '.join(asked)} cannot be had at once"
        raise VmError(Fault(problem=problem, hint="vm-list --help"), status=64)
    return asked[0] if asked else "", names


def _list(what: str, wanted: list[str]) -> int:
    from vm_spec.names import confdir, names

    folder = confdir()
    if what == "--names":
        found = [f"{printable(name)}\n" for name, _ in names(folder)]
        return _write("".join(found))

    from vm_list import columns
    from vm_list.survey import survey

    rows = survey(folder, wanted or None)
    status = _write(columns.json(rows) if what == "--json" else _text(rows, bool(wanted)))
    if what != "--json":
        _advise(rows, folder, bool(wanted))
    return _missing(wanted, {row.name for row in rows}, folder) or status


def _text(rows: list[Row], detailed: bool) -> str:
    from vm_list import columns
    from vm_list.look import of_stream

    look = of_stream(sys.stdout)
    if not detailed:
        return columns.table(rows, look)
    from vm_list.detail import detail

    return "\n".join(detail(row, look) for row in rows)


def _advise(rows: list[Row], folder: str, detailed: bool) -> None:
    """Says what should be done about VMs, where what was listed does not say it."""
    from vm_list import columns

    if detailed:
        return
    if not rows:
        _tell(f"there is no VM in {printable(os.path.abspath(folder))}")
        _tell("make one: new.sh NAME, or fetch one: vm-pull USER/BOX")
    for hint in columns.hints(rows):
        _tell(hint)


def _missing(wanted: list[str], found: set[str], folder: str) -> int:
    """Says which of the VMs that were asked for there are not; returns a status."""
    from vm_spec.names import names

    missing = [name for name in wanted if name not in found]
    for name in missing:
        from vm_spec.reader import nearest

        _tell(f"there is no VM {printable(name)} in {printable(os.path.abspath(folder))}")
        close = nearest(name, (known for known, _ in names(folder)))
        _tell(f"  hint: did you mean {printable(close)}?" if close else "  hint: vm-list")
    return _NO_SUCH_VM if missing else 0


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
    from vm_state.parser import Parser

    made = Parser(
        "vm-list",
        "vm-list [--json | --names] | vm-list [--json] NAME...",
        "List virtual machines: what there is, and what runs where.",
        EXAMPLES,
    )
    made.add_argument("NAME", nargs="*", help="tell everything of these; without one, list all")
    made.add_argument("--json", action="store_true", help="for programs; described in vm-list(1)")
    made.add_argument("--names", action="store_true", help="the names only")
    made.add_version()
    return made.format_help()


def _version() -> str:
    from vm_state.parser import version_line

    return version_line("vm-list")


def entry() -> NoReturn:
    """The console script."""
    gc.disable()  # whatever is made is kept to the end: to look for what is not takes long
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
