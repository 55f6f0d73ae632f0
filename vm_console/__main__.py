"""vm-console: the terminal on a console of a running VM, its screen in a browser or a file."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import NoReturn

from vm_console.attach import SIGNALS, Attachment, Options, Signaled, catch_signals, parse_escape
from vm_console.consoles import Console, choose, is_in_use
from vm_spec.fault import Fault, VmError, printable
from vm_state.cli import run_command
from vm_state.parser import Parser

EXAMPLES = """\
examples:
  vm-console my-vm                attach to the first serial port; Ctrl-] detaches
  vm-console my-vm com2           another serial port, or a virtio-console port by its name
  vm-console -n 20 -e ^A my-vm    begin with the last 20 lines; Ctrl-A detaches
  vm-console my-vm </dev/null     print the log and exit
  echo reboot | vm-console --follow my-vm | tee log
  vm-console --web my-vm          show the screen in a browser on this host
  vm-console my-vm --screenshot shot.png

exit status: 0 detached, or the VM has ended; 64 wrong command line, 66 no such VM, console or
screen, 69 the VM does not run, or noVNC is missing, 70 a bug in vmman, 74 the console cannot be
opened, 75 the VM runs on another host, or the console is in use, 129 to 143 ended by a signal
"""


def parser() -> Parser:
    """The parser; vm-console(1) documents the same options."""
    made = Parser(
        "vm-console",
        "vm-console [-e KEY] [-n LINES] [-f] NAME [PORT]\n       vm-console --web NAME\n"
        "       vm-console NAME --screenshot FILE",
        "Attach the terminal to a console of a running virtual machine.",
        EXAMPLES,
    )
    made.add_version()
    made.add_argument("name", metavar="NAME", nargs="?", default="", help="the VM's name")
    made.add_argument("port", metavar="PORT", nargs="?", default="", help="com1 to com4, or a name")
    made.add_argument(
        "-e", "--escape", metavar="KEY", default="^]", help="the key that detaches: ^] is Ctrl-]"
    )
    made.add_argument("-n", "--lines", metavar="LINES", type=_count, help="lines of history")
    made.add_argument("-f", "--follow", action="store_true", help="stay when the input has ended")
    made.add_argument("--web", action="store_true", help="show the screen in a browser instead")
    made.add_argument("--screenshot", metavar="FILE", help="save the screen as PNG; - for stdout")
    return made


def _count(number: str) -> int:
    if number.isascii() and number.isdigit() and len(number) < 10:
        return int(number)
    raise argparse.ArgumentTypeError("must be a whole number from 0")


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-console", _console, argv)


def _console(argv: list[str]) -> int:
    made = parser()
    call = made.parse_args(argv)
    if not call.name:
        made.error("the name of a VM is missing")
    on_screen = call.web or call.screenshot is not None
    if on_screen and (call.port or call.lines is not None or call.follow):
        made.error("--web and --screenshot show the screen: they take no option of a serial port")
    try:
        if call.screenshot is not None:
            return _screenshot(call.name, call.screenshot)
        return _web(call.name) if call.web else _attach(call)
    except Signaled as signaled:
        name = signal.Signals(signaled.number).name
        _report(f"{call.name}: ended by {name}; the guest goes on")
        return 128 + signaled.number


def _screenshot(name: str, file: str) -> int:
    from vm_console.screen import save, take_screenshot

    if file == "-" and sys.stdout.isatty():
        fault = Fault(problem="a terminal cannot show a PNG image", hint="name a file")
        raise VmError(fault, status=os.EX_USAGE)
    image = take_screenshot(name)
    if file == "-":
        sys.stdout.buffer.write(image)
    else:
        save(image, file)
    return 0


def _web(name: str) -> int:
    """Serves the screen; standard output gets the link and nothing else."""
    from vm_console.web import serve

    def report(link: str) -> None:
        _report(f"{name}: open this link in a browser; Ctrl-C ends it, the guest goes on")
        print(link, flush=True)

    _report(f"{name}: {serve(name, report) or 'has ended'}")
    return 0


def _attach(call: argparse.Namespace) -> int:
    escape, key = parse_escape(call.escape)
    console = choose(call.name, call.port)
    _introduce(console, key)
    options = Options(escape=escape, lines=call.lines, follow=call.follow)
    with catch_signals() as wakeup:
        attachment = Attachment(console, options, _report_in_raw_mode)
        reason = _run_raw(attachment, wakeup)
    ended = attachment.lifetime.message or "has ended"
    _report({
        "ended": f"{console.vm}: {ended}",
        "closed": f"{console.vm}: {console.name} was closed: the guest ended or starts again",
        "input": f"{console.vm}: the input has ended; the guest goes on",
        "detached": f"{console.vm}: detached; the guest goes on",
    }[reason])  # fmt: skip
    return 0


def _run_raw(attachment: Attachment, wakeup: int) -> str:
    """Runs an attachment with the terminal in raw mode, and restores the terminal in any case."""
    import termios
    import tty

    from vm_state.terminal import Saved

    saved = Saved()
    try:
        if saved.settings is not None:
            tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed ahead
        return attachment.run(wakeup)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the terminal first, then the signal
        saved.restore()
        if os.isatty(1):
            _report("")
        attachment.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _introduce(console: Console, key: str) -> None:
    """Reports the key that detaches, and what cannot be typed to."""
    name = f"{console.vm} {console.name}"
    if os.isatty(0):
        _report(f"{name}: {key} detaches; the guest goes on" if key else f"{name}: no escape key")
    if not console.to:
        where = "the terminal of its vm-run" if console.kind == "stdio" else "a device"
        _report(f"{name}: read-only: the console is {where}")
    elif is_in_use(console):
        problem = f"another program is connected to {console.to}"
        if not console.log:
            fault = Fault(problem=problem, hint="end that program first")
            raise VmError(fault, status=os.EX_TEMPFAIL)
        _report(f"{name}: {problem}: your input waits until it disconnects")


def _report(message: str) -> None:
    _write(f"{printable(message)}\n")


def _report_in_raw_mode(message: str) -> None:
    """Reports on a line of its own while the terminal is raw."""
    is_terminal = sys.stderr.isatty()
    _write(f"\r\n{printable(message)}\r\n" if is_terminal else f"{printable(message)}\n")


def _write(message: str) -> None:
    try:
        sys.stderr.write(message)
        sys.stderr.flush()
    except OSError:  # the terminal is gone: nothing may be left to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def entry() -> NoReturn:
    """The console script."""
    for fd in range(3):  # so that no file of ours takes the place of a closed stream
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
