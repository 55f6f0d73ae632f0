"""Where a guest's events go: the terminal, a file, the waiting parent of --detach."""

from __future__ import annotations

import os

from vm_run.messages import describe, say
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    OnEvent = Callable[[dict[str, Any]], None]

__all__ = ["both", "detach", "to_file", "to_terminal"]


def both(first: OnEvent, second: OnEvent) -> OnEvent:
    """Passes each event on to two."""

    def on_event(event: dict[str, Any]) -> None:
        first(event)
        second(event)

    return on_event


def to_terminal(event: dict[str, Any]) -> None:
    """Prints an event that needs a line."""
    text = describe(event)
    if text:
        say(event["vm"], text)


def to_file(path: str) -> OnEvent:
    """Appends events to a file as JSON, each a whole line.

    Raises:
        VmError: it cannot be opened (69).
    """
    import json

    try:
        file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115  open until we end
    except OSError as error:
        fault = Fault(file=path, problem=f"{error.strerror}")
        raise VmError(fault, status=os.EX_UNAVAILABLE) from None

    def on_event(event: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(event) + "\n")
            file.flush()
        except OSError as error:  # a full disk is no reason to leave a guest alone
            say("vm-run", f"{path}: {error.strerror}")

    return on_event


def detach() -> OnEvent | int:
    """Forks: the background gets a function for its events, the foreground an exit status.

    The foreground waits until the guest runs (0), or the background has ended without: then with
    its exit status.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        return _release_foreground(write)
    os.close(write)
    runs = os.read(read, 7) == b"running"
    os.close(read)
    if runs:
        return 0
    return max(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) or os.EX_SOFTWARE


def _release_foreground(pipe: int) -> OnEvent:
    """Lets the foreground end, and gives the terminal up, as soon as the guest runs."""
    waiting = [pipe]

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] not in ("running", "recovered") or not waiting:
            return
        os.write(pipe, b"running")
        os.close(waiting.pop())
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)

    return on_event
