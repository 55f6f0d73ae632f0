"""Trying again: what may be tried, how often, and how long to wait before."""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["AbsentError", "LostError", "Patience", "Tries"]

_UNAVAILABLE, _BUSY = 69, 75


class LostError(VmError):
    """A failure after which another try may do better.

    Attributes:
        after_s: how long the server asks to be left alone, in seconds; 0 when it did not say.
    """

    def __init__(self, fault: Fault, *, status: int = _UNAVAILABLE, after_s: float = 0) -> None:
        super().__init__(fault, status=status)
        self.after_s = after_s


class AbsentError(LostError):
    """Nobody is there. Worth another try only where somebody was before."""


class Patience(Value):
    """How long we wait for servers.

    Attributes:
        tries: failures in a row, without a byte between them, before we give up.
        connect_s: seconds for a connection.
        read_s: seconds without a byte.
        headers_s: seconds for an answer and its first bytes, however they trickle.
        pause_s: seconds before the second try; they double with each.
        most_pause_s: seconds that we wait at most; a server that asks for more is told to the user.
    """

    tries: int = 5
    connect_s: float = 10
    read_s: float = 30
    headers_s: float = 60
    pause_s: float = 1
    most_pause_s: float = 60


class Tries:
    """The failures since the last byte."""

    def __init__(
        self, patience: Patience, tell: Callable[[str], None], stop: threading.Event
    ) -> None:
        self._patience = patience
        self._tell = tell
        self._stop = stop
        self._failures = 0

    def progressed(self) -> None:
        """Forgets the failures: something came."""
        self._failures = 0

    def say(self, text: str) -> None:
        """Tells what is done instead of failing."""
        self._tell(text)

    def again(self, lost: LostError) -> None:
        """Returns when the next try may begin, or as soon as `stop` is set.

        Raises:
            LostError: the one given: there were enough tries, or the server wants to be left alone.
        """
        self._failures += 1
        most = self._patience.most_pause_s
        if self._failures >= self._patience.tries or lost.after_s > most:
            raise lost
        doubled = min(self._patience.pause_s * 2 ** (self._failures - 1), most)
        jitter = 0.5 + os.urandom(1)[0] / 510  # so that not everybody comes back at once
        pause = lost.after_s or doubled * jitter
        count = f"try {self._failures + 1} of {self._patience.tries}"
        what = "; ".join(printable(fault.problem) for fault in lost.faults)
        self._tell(f"{what}; trying again in {pause:.2g} s ({count})")
        self._stop.wait(pause)
