"""vm-run: one description, one process."""

from __future__ import annotations

import gc
import os
import sys

from vm_run.events import both, to_terminal
from vm_run.messages import describe_ending, say
from vm_spec.fault import printable, report
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_state.cli import run_command

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from vm_run.events import OnEvent
    from vm_run.options import Options
    from vm_spec.machine import Description


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-run", _main, argv)


def _main(argv: list[str]) -> int:
    if len(argv) == 1 and not argv[0].startswith("-"):  # the plain call: argparse costs 10 ms
        from vm_run.options import Options
        from vm_spec.library import find, load

        return _run(load(find(argv[0])), Options(handle=argv[0]), to_terminal)
    from vm_run import cli

    call = cli.parse(argv)
    if call.imports:
        _execute("vm-import", call.name, *(["--", *call.extra] if call.extra else []))
    if call.screenshot is not None:
        _execute("vm-console", call.name, "--screenshot", call.screenshot)
    if call.check_host:
        return _check_host()
    if call.schema or call.targets or call.debug or call.explain or call.dry_run or call.check:
        from vm_run import dry_run

        print(dry_run.schema() if call.schema else dry_run.inspect(call, _load(call)))
        return os.EX_OK
    if call.autostart:
        return _autostart(call)
    return _detach(call) if call.detach else _run_call(call, to_terminal)


def _execute(command: str, *words: str) -> None:
    """Becomes another command of this installation."""
    from vm_state.cli import argv_of

    argv = [*argv_of(command), *filter(None, words)]
    os.execv(argv[0], argv)  # noqa: S606  our own program, and no shell


def _check_host() -> int:
    """Prints what this host has and lacks."""
    from vm_run.host.report import LINUX, report
    from vm_state import platform

    checks = LINUX
    if platform.is_bsd():
        from vm_run.host import freebsd_report

        checks = freebsd_report.checks()
    lines, status = report(checks)
    print(*lines, sep="\n")
    return status


def _autostart(call: Namespace) -> int:
    """Starts or prints the VMs that start with the host; the highest exit status of all."""
    from vm_run.autostart import find_groups
    from vm_spec.library import confdir

    groups, faults = find_groups(confdir())
    status = os.EX_DATAERR if faults else os.EX_OK
    if faults:
        print(f"vm-run: {report(faults)}", file=sys.stderr)
    if call.names:
        for group in groups:
            print(*group)
        return status
    from vm_run.events import detach

    call.detach = True
    for call.name in (name for group in groups for name in group):
        side = detach()
        if not isinstance(side, int):  # the background of this VM, which starts no other
            return _run_call(call, both(to_terminal, side))
        if side != os.EX_TEMPFAIL:  # what runs already is left alone
            status = max(status, _report_detached(call.name, side))
    return status


def _detach(call: Namespace) -> int:
    """Runs a VM in the background; the foreground returns as soon as its guest runs."""
    from vm_run.events import detach

    side = detach()
    if not isinstance(side, int):
        return _run_call(call, both(to_terminal, side))
    return _report_detached(call.name or "the VM", side)


def _report_detached(name: str, status: int) -> int:
    if status == os.EX_OK:
        print(f"{name} runs in the background; vm-list shows it, vm-stop {name} stops it")
        sys.stdout.flush()  # before the next one is forked, or both would print it
    return status


def _run_call(call: Namespace, on_event: OnEvent) -> int:
    from vm_run import cli

    if call.events:
        from vm_run.events import to_file

        on_event = both(on_event, to_file(call.events))
    # Standard input has been read for the description: the guest's console needs another terminal.
    terminal = "/dev/tty" if call.config == "-" and sys.stdout.isatty() else ""
    return _run(_load(call), cli.options(call, terminal), on_event)


def _load(call: Namespace) -> Description:
    from vm_spec.library import find, load

    if call.recover and not call.config:
        from vm_run.recovery import load_recorded

        return load_recorded(call.name, tuple(call.overrides))
    if call.config:
        return load(call.config, call.name, tuple(call.overrides))
    return load(find(call.name), overrides=tuple(call.overrides))


def _run(description: Description, options: Options, on_event: OnEvent) -> int:
    from vm_run.session import run

    address = os.environ.pop("NOTIFY_SOCKET", "")  # ours: no hypervisor or script inherits it
    if address:
        from vm_run.sd_notify import to_manager

        on_event = both(on_event, to_manager(address))
        # A service's standard input is no terminal: its console is one to connect to.
        options = replace(options, detached=options.detached or not os.isatty(0))
    for note in description.notes:
        say("vm-run", note)
    ending = run(description, options, both(_collect_garbage, on_event))
    say(options.handle or description.name, describe_ending(ending))
    for line in ending.log:
        say("  log", printable(line))
    return ending.status


def _collect_garbage(event: dict[str, Any]) -> None:
    if event["event"] in ("started", "recovered"):
        gc.freeze()
        gc.enable()


def _open_streams() -> None:
    """Opens /dev/null as a stream that we were started without, lest a file of ours become it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def entry() -> None:
    """The console script.

    Nothing is garbage before a guest runs: collecting is put off until then.
    """
    gc.disable()
    _open_streams()
    status = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a terminal that is gone changes nothing about how the guest ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


if __name__ == "__main__":
    entry()
