"""vm-run: one description, one process."""

from __future__ import annotations

import gc
import os
import sys

from vm_run.messages import line, say, sentence
from vm_spec.fault import Fault, VmError, printable, report
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_state.cli import run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from vm_run.cli import Call
    from vm_run.options import Options
    from vm_spec.machine import Description

    OnEvent = Callable[[dict[str, Any]], None]

_BUSY = 75


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-run", _main, argv)


def _main(argv: list[str]) -> int:
    if len(argv) == 1 and not argv[0].startswith("-"):
        return _run_by_name(argv[0])
    return _run_as_told(argv)


def _run_by_name(name: str) -> int:
    """The plain call: no parser of command lines is loaded for it."""
    from vm_run.options import Options
    from vm_spec.library import find, load

    return _run(load(find(name)), Options(handle=name), _tell_person)


def _run_as_told(argv: list[str]) -> int:
    from vm_run import cli

    call = cli.parse(argv)
    if call.screenshot is not None:
        return _screenshot(call.name, call.screenshot)
    if cli.is_of_host(call):
        return _doctor()
    shown = _shown(call)
    if shown is not None:
        print(shown)
        return 0
    if call.autostart:
        return _autostart(call)
    return _detach(call) if call.detach else _run_called(call, _tell_person)


def _detach(call: Call) -> int:
    from vm_run.detach import fork

    side = fork()
    if isinstance(side, int):
        return _detached(call.name, side)
    return _run_called(call, _both(_tell_person, side.hear))


def _screenshot(name: str, file: str) -> int:
    from vm_console.screen import save, take_screenshot

    if file != "-":
        save(take_screenshot(name), file)
        return 0
    if sys.stdout.isatty():
        problem = "a picture is nothing for a terminal"
        raise VmError(Fault(problem=problem, hint="name a file"), status=64)
    sys.stdout.buffer.write(take_screenshot(name))
    return 0


def _doctor() -> int:
    """Shows what this host has and lacks."""
    from vm_run.host import probe, report

    findings = report.judge(probe.look())
    print(*report.report(findings), sep="\n")
    return report.status(findings)


def _run_called(call: Call, on_event: OnEvent) -> int:
    from vm_run import cli

    if call.events:
        on_event = _both(on_event, _json_lines(call.events))
    return _run(_described(call), cli.options(call, _terminal(call)), on_event)


def _autostart(call: Call) -> int:
    """Starts or shows what starts with the host; the highest exit status of all."""
    from vm_run.autostart import found
    from vm_spec.library import confdir

    there = found(confdir())
    if there.faults:
        print(f"vm-run: {report(there.faults)}", file=sys.stderr)
    status = 65 if there.faults else 0
    if call.names:
        for group in there.groups:
            print(*group)
        return status
    from vm_run.detach import fork

    for name in (name for group in there.groups for name in group):
        side = fork()
        if not isinstance(side, int):  # we are that VM's side from here on
            call.name, call.detach = name, True
            return _run_called(call, _both(_tell_person, side.hear))
        # What runs already is left alone.
        status = max(status, 0 if side == _BUSY else _detached(name, side))
    return status


def _terminal(call: Call) -> str:
    """A terminal for the guest's console when standard input has been read for the description."""
    return "/dev/tty" if call.config == "-" and sys.stdout.isatty() else ""


def _described(call: Call) -> Description:
    from vm_spec.library import find, load

    if call.config:
        return load(call.config, call.name, tuple(call.overrides))
    return load(find(call.name), overrides=tuple(call.overrides))


def _shown(call: Call) -> str | None:
    """What is shown instead of running something; None to run."""
    if call.imports:
        from vm_import.asked import imported

        return imported(call.name, call.extra)
    if not any((call.schema, call.targets, call.debug, call.explain, call.dry_run, call.check)):
        return None
    from vm_run import dry_run

    return dry_run.schema() if call.schema else _looked(call, _described(call))


def _looked(call: Call, description: Description) -> str:
    from vm_run import dry_run

    if call.targets:
        return dry_run.targets(description)
    if call.debug:
        return dry_run.debug(description)
    if call.explain:
        return dry_run.explain(description, call.target)
    if call.dry_run:
        return dry_run.dry_run(description, call.target, call.extra, call.format or "shell")
    dry_run.check(description, call.target, call.name or description.name)
    return f"{description.name}: this host has everything that target {call.target} needs"


def _run(description: Description, options: Options, on_event: OnEvent) -> int:
    from vm_run.session import run

    address = os.environ.pop("NOTIFY_SOCKET", "")  # ours: no hypervisor or script inherits it
    if address:
        from vm_run.sd_notify import Manager

        on_event = _both(on_event, Manager(address).hear)
        # A service's standard input is no terminal: its console is one to connect to.
        options = replace(options, detached=options.detached or not os.isatty(0))
    for note in description.notes:
        say("vm-run", note)
    ending = run(description, options, _both(_collect_garbage, on_event))
    say(options.handle or description.name, sentence(ending))
    for text in ending.log:
        say("  log", printable(text))
    return ending.status


def _tell_person(event: dict[str, Any]) -> None:
    text = line(event)
    if text:
        say(event["vm"], text)


def _collect_garbage(event: dict[str, Any]) -> None:
    if event["event"] in ("started", "recovered"):
        gc.freeze()
        gc.enable()


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def on_event(event: dict[str, Any]) -> None:
        first(event)
        second(event)

    return on_event


def _json_lines(path: str) -> OnEvent:
    """Appends events to a file, a line each, each line whole."""
    import json

    try:
        file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115  open until we end
    except OSError as error:
        raise VmError(Fault(file=path, problem=f"{error.strerror}"), status=69) from None

    def on_event(event: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(event) + "\n")
            file.flush()
        except OSError as error:  # a full disk is no reason to leave a guest alone
            say("vm-run", f"{path}: {error.strerror}")

    return on_event


def _detached(name: str, status: int) -> int:
    if status == 0:
        name = name or "it"
        said = f"{name} runs in the background; vm-list shows it, vm-stop {name} ends it"
        print(said, flush=True)  # before the next one is forked, lest it say so too
    return status


def _open_streams() -> None:
    """Gives /dev/null to a stream that we were started without, lest a file of ours come there."""
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
        except OSError:  # a terminal that is gone takes nothing away from how the guest ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


if __name__ == "__main__":
    entry()
