"""vm-console: a terminal on a running VM's console."""

from __future__ import annotations

import os
import signal
import sys

from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING
from vm_state.cli import guarded

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from vm_console.attach import Visit
    from vm_console.keys import Escape
    from vm_console.ports import Console
    from vm_state.parser import Parser

__all__ = ["entry", "main", "parser"]

EXAMPLES = """\
examples:
  vm-console my-vm                its first serial port; Ctrl-] leaves
  vm-console my-vm com2           another one, or a virtio port by its name
  vm-console -n 20 -e ^A my-vm    the last 20 lines first; Ctrl-A leaves
  vm-console my-vm </dev/null     what it has written up to now
  echo reboot | vm-console --follow my-vm | tee log
  vm-console --web my-vm          its screen, as a page for a browser on this host

exit status: 0 left, or the VM has ended; 64 wrong command line, 66 no such VM, console or
screen, 69 it is not running, or noVNC is missing, 70 our bug, 74 the console cannot be opened,
75 another host or another program has it, 129 to 143 ended by a signal
"""


def parser() -> Parser:
    """The parser; vm-console(1) has the same words."""
    from vm_console.keys import DEFAULT
    from vm_state.parser import Parser

    made = Parser(
        "vm-console",
        "vm-console [-e KEY] [-n LINES] [-f] NAME [PORT]\n       vm-console --web NAME",
        "Attach the terminal to a console of a running virtual machine.",
        EXAMPLES,
    )
    made.add_version()
    made.add_argument("name", metavar="NAME", nargs="?", default="", help="what vm-run calls it")
    made.add_argument("port", metavar="PORT", nargs="?", default="", help="com1 to com4, or a name")
    made.add_argument(
        "-e", "--escape", metavar="KEY", default=DEFAULT, help="the key that leaves: ^] is Ctrl-]"
    )
    made.add_argument("-n", "--lines", metavar="LINES", type=_count, help="lines of history")
    made.add_argument("-f", "--follow", action="store_true", help="stay when the input has ended")
    made.add_argument("--web", action="store_true", help="show its screen to a browser instead")
    return made


def _count(text: str) -> int:
    import argparse

    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise argparse.ArgumentTypeError("must be a whole number from 0")


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return guarded("vm-console", _console, argv)


def _console(argv: list[str]) -> int:
    made = parser()
    call = made.parse_args(argv)
    if not call.name:
        made.error("the name of a VM is missing")
    from vm_console.attach import Signalled

    try:
        return _web(made, call) if call.web else _attached(call)
    except Signalled as signalled:
        ended_by = signal.Signals(signalled.number).name
        _tell(f"{call.name}: ended by {ended_by}; the guest goes on")
        return 128 + signalled.number


def _web(made: Parser, call: argparse.Namespace) -> int:
    """Serves the screen as a page, whose link is all that standard output gets."""
    from vm_console.web.server import show

    if call.port or call.lines is not None or call.follow:
        made.error("--web shows the screen: what is for a serial port cannot go with it")

    def tell(link: str) -> None:
        _tell(f"{call.name}: open this link in a browser, once; Ctrl-C ends it, the guest goes on")
        print(link, flush=True)

    said = show(call.name, tell)
    _tell(f"{call.name}: {said or 'has ended'}")
    return 0


def _attached(call: argparse.Namespace) -> int:
    from vm_console.attach import How, Visit
    from vm_console.keys import escape
    from vm_console.ports import find

    how = How(escape=escape(call.escape), lines=call.lines, follow=call.follow)
    console = find(call.name, call.port)
    _introduce(console, how.escape)
    why, visit = _visited(Visit(console, how, _tell_beside))
    _tell(_farewell(console, why, visit.said))
    return 0


def _visited(visit: Visit) -> tuple[str, Visit]:
    """Why a visit is over; the terminal is as before, whatever happened."""
    import termios
    import tty

    from vm_console.attach import ENDING
    from vm_state.terminal import Saved

    saved = Saved()
    try:
        if saved.settings is not None:
            tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead is kept
        why = visit.stay()
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # first the terminal, then the signal
        saved.restore()
        if visit.is_shown:
            _tell("")
        visit.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return why, visit


def _introduce(console: Console, escape: Escape) -> None:
    """Tells how to leave before anything else, and who can type."""
    from vm_console.ports import is_taken

    if os.isatty(0):
        leaves = f"{escape.shown} leaves, the guest goes on" if escape.shown else "no key leaves"
        _tell(f"{console.vm} {console.name}: {leaves}")
    if not console.to:
        where = "the terminal of its vm-run" if console.kind == "stdio" else "a device"
        _tell(f"{console.vm} {console.name}: this is to look only: its console is {where}")
    elif is_taken(console):
        problem = f"another program is connected to {console.to}"
        if not console.log:
            raise VmError(Fault(problem=problem, hint="end that one first"), status=75)
        _tell(f"{console.vm} {console.name}: {problem}: what you type waits until it leaves")


def _farewell(console: Console, why: str, said: str) -> str:
    name = console.vm
    match why:
        case "ended":
            return f"{name}: {said or 'has ended'}"
        case "closed":
            return f"{name}: {console.name} was closed: the guest ended or is being started again"
        case "input":
            return f"{name}: the input has ended; the guest goes on"
        case _:
            return f"{name}: left; the guest goes on"


def _tell(text: str) -> None:
    """Says something on standard error."""
    _write(f"{printable(text)}\n")


def _tell_beside(text: str) -> None:
    """Says something while the terminal is raw: on a line of its own."""
    _write(f"\r\n{printable(text)}\r\n" if sys.stderr.isatty() else f"{printable(text)}\n")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # a terminal that is gone: nothing is left to be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def entry() -> NoReturn:
    """The console script."""
    for fd in range(3):  # lest a file of ours come where a stream was closed
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
