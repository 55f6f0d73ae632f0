"""vm-run: one description, one process."""

from __future__ import annotations

import gc
import os
import sys

from vm_run.say import line, say, sentence
from vm_spec.fault import Fault, VmError, printable, report
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from vm_run.cli import Call
    from vm_run.options import Options
    from vm_spec.machine import Description

    OnEvent = Callable[[dict[str, Any]], None]


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        if len(argv) == 1 and not argv[0].startswith("-"):
            return _run_by_name(argv[0])
        return _run_as_told(argv)
    except VmError as error:
        print(f"vm-run: {report(error.faults)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has enough
        return 141
    except Exception:  # noqa: BLE001  a bug of ours: says so
        return _our_bug()


def _our_bug() -> int:
    import traceback

    traceback.print_exc()
    print(
        "vm-run: this is a bug of vmman, not a mistake of yours: please report it", file=sys.stderr
    )
    return 70


def _run_by_name(name: str) -> int:
    """The plain call: no parser of command lines is loaded for it."""
    from vm_run.options import Options
    from vm_spec.library import find, load

    return _run(load(find(name)), Options(handle=name), _tell_person)


def _run_as_told(argv: list[str]) -> int:
    from vm_run import cli

    call = cli.parse(argv)
    shown = _shown(call)
    if shown is not None:
        print(shown)
        return 0
    on_event: OnEvent = _tell_person
    if call.detach:
        from vm_run.detach import fork

        side = fork()
        if isinstance(side, int):
            return _detached(call, side)
        on_event = _both(on_event, side.hear)
    if call.events:
        on_event = _both(on_event, _json_lines(call.events))
    return _run(_described(call), cli.options(call, _terminal(call)), on_event)


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
    if not (call.schema or call.debug or call.explain or call.dry_run or call.check):
        return None
    from vm_run import look

    if call.schema:
        return look.schema()
    description = _described(call)
    if call.debug:
        return look.debug(description)
    if call.explain:
        return look.explain(description, call.target)
    if call.dry_run:
        return look.dry_run(description, call.target, call.extra, call.format or "shell")
    look.check(description, call.target, call.name or description.name)
    return f"{description.name}: this host has everything that target {call.target} needs"


def _run(description: Description, options: Options, on_event: OnEvent) -> int:
    from vm_run.session import run

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


def _detached(call: Call, status: int) -> int:
    if status == 0:
        name = call.name or "it"
        print(f"{name} runs in the background; vm-list shows it, vm-stop {name} ends it")
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
