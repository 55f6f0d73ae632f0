"""Going on in the background, once the guest runs."""

from __future__ import annotations

import os

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Background", "fork"]


class Background:
    """The side that goes on; it lets the waiting side go when the guest runs."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def hear(self, event: dict[str, Any]) -> None:
        """Takes notice of an event: at the first `running`, the terminal is given up."""
        if event["event"] != "running" or self.pipe < 0:
            return
        os.write(self.pipe, b"running")
        os.close(self.pipe)
        self.pipe = -1
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.close(nothing)


def fork() -> Background | int:
    """Splits in two: the background side gets a Background, the other an exit status.

    The other side waits until the guest runs (0), or the background side has ended without: then
    with its exit status.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        return Background(write)
    os.close(write)
    runs = os.read(read, 7) == b"running"
    return 0 if runs else max(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) or 70
