"""Somebody at a guest's console: what the guest writes is shown, what is typed goes in.

Nothing here is in the guest's way: output comes from the console's log, which any number may
read, and a reader that stops keeps nobody waiting.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from vm_console.life import Life
from vm_console.log import Tail, quiet
from vm_console.typing import MOST, Bursts, Line
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_state.file_watch import Growth

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from vm_console.keys import Escape
    from vm_console.ports import Console

    Tell = Callable[[str], None]

__all__ = ["ENDING", "How", "Signalled", "Visit"]

IN, OUT = 0, 1
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_LOST = "what was typed is lost: the guest is being started again, or the port is taken"


class How(Value):
    """How somebody is at a console.

    Attributes:
        escape: the key that leaves.
        lines: how many lines of history are shown; None for all that is kept.
        follow: whether one stays when there is no more input.
    """

    escape: Escape
    lines: int | None = None
    follow: bool = False


class Signalled(BaseException):
    """A signal that ends us; not an Exception, so that nothing on the way takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Visit:
    """One attachment to a console, from the main thread.

    Attributes:
        said: how the VM ended, in vm-run's words; empty when it has not or did not say.
    """

    def __init__(self, console: Console, how: How, tell: Tell) -> None:
        """Opens what is read and typed to.

        Raises:
            VmError: the console cannot be opened (74).
        """
        self.console = console
        self.how = how
        self.tell = tell
        self.said = ""
        self.tail: Tail | None = None
        self.growth: Growth | None = None
        self.input_is_over = False
        self.lost_was_told = False
        self.is_terminal = os.isatty(IN)
        self.is_shown = os.isatty(OUT)
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._former: dict[int, Any] = {each: signal.signal(each, _end) for each in ENDING}
        try:
            self.life = Life(console.vm, console.folder)
            self.port = self._opened()
        except OSError as error:
            self._give_signals_back()
            place = console.log or console.to
            problem = f"{place} cannot be opened: {error.strerror}"
            raise VmError(Fault(problem=problem), status=74) from None

    def _opened(self) -> Bursts | Line | None:
        console = self.console
        if console.log:
            self.tail = Tail(console.log, self.how.lines)
            self.growth = Growth(console.log, _nothing)
            return Bursts(console.to) if console.to else None
        return Line(console.to) if console.to else None

    def stay(self) -> str:
        """Shows and types until it is over, and says why it is.

        Returns:
            left (by the key), input (there is no more), ended (the VM), closed (the port).

        Raises:
            Signalled: a signal ends us.
            BrokenPipeError: nobody reads us any more.
            VmError: the output cannot be written (74).
        """
        if self.tail and self.tail.is_cut and self.how.lines is None:
            self.tell("the oldest part of its history is not kept")
        why = ""
        while not why:
            wrote = self._show()
            over = self.input_is_over and not self.how.follow and not wrote
            if over and (self.port is None or self.port.is_idle):
                return "input"
            why = self._next(wait=not wrote)
        while why != "left" and self._show():
            pass
        return why

    def _show(self) -> bool:
        """Shows what comes next of the log; whether there was anything."""
        if self.tail is None or self.growth is None:
            return False
        self.growth.arm()
        is_history = self.tail.offset < self.tail.history
        chunk = self.tail.read()
        _write(quiet(chunk) if is_history and self.is_shown else chunk)
        return bool(chunk)

    def _next(self, *, wait: bool) -> str:
        """Waits for what happens next and does what is due; why it is over, or nothing."""
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        if not self.input_is_over and (self.port is None or len(self.port.pending) < MOST):
            poll.register(IN, select.POLLIN)
        if self.life.process:
            poll.register(self.life.process.fd, select.POLLIN)
        if self.growth and self.growth.fd >= 0:
            poll.register(self.growth.fd, select.POLLIN)
        port = self.port.register(poll) if self.port else -1
        ready = dict(poll.poll(None if wait else 0))
        self._drain()
        if port in ready and not self._exchange(ready[port]):
            return "closed"
        if IN in ready and self._typed():
            return "left"
        if self.life.process is None or self.life.process.fd in ready:
            return "" if self.life.goes_on() else "ended"
        return ""

    def _drain(self) -> None:
        try:
            os.read(self._read_end, 512)
        except BlockingIOError:
            pass

    def _exchange(self, events: int) -> bool:
        """Types, and shows what a port without a log sends; whether the port is still there."""
        if self.port is None:
            return True
        try:
            _write(self.port.act(events))
        except EOFError:
            return False
        self._tell_loss()
        return True

    def _tell_loss(self) -> None:
        if self.port and self.port.lost and not self.lost_was_told:
            self.lost_was_told = True
            self.tell(_LOST)

    def _typed(self) -> bool:
        """Takes what was typed; whether that was the key that leaves."""
        try:
            keys = os.read(IN, 4096)
        except OSError:  # the terminal is gone
            keys = b""
        if not keys:
            self.input_is_over = True
            return self.is_terminal
        leaves = False
        if self.is_terminal:
            keys, leaves = self.how.escape.split(keys)
        if self.port and keys:
            self.port.type(keys)
            self._tell_loss()
        return leaves

    def close(self) -> None:
        """Lets everything go; what was typed before the key is still typed."""
        if self.port:
            self._finish(self.port)
            self.port.close()
        if self.growth:
            self.growth.close()
        if self.tail:
            self.tail.close()
        self.said = self.said or self.life.said
        self.life.close()
        self._give_signals_back()

    def _finish(self, port: Bursts | Line) -> None:
        """Waits a moment until what is on its way has been read."""
        poll = select.poll()
        fd = port.register(poll)
        while fd >= 0 and not port.is_idle:
            ready = dict(poll.poll(1000))
            if fd not in ready:
                return
            try:
                port.act(ready[fd])
            except EOFError:
                return
            poll = select.poll()
            fd = port.register(poll)

    def _give_signals_back(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self._read_end)
        os.close(self._write_end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Signalled(number)


def _nothing() -> None:
    """The wake-up descriptor says it already."""


def _write(text: bytes) -> None:
    try:
        while text:
            text = text[os.write(OUT, text) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EIO:  # the terminal is gone, and the signal is on its way
            raise Signalled(signal.SIGHUP) from None
        problem = f"the output cannot be written: {error.strerror}"
        raise VmError(Fault(problem=problem), status=74) from None
