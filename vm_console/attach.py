"""The terminal on a guest's console: shows the output, sends the input.

Output comes from the console's log, so that a slow or stopped reader blocks nobody.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from vm_console.connection import LIMIT, Connection
from vm_console.consoles import Console
from vm_console.lifetime import Lifetime
from vm_console.log import Tail, remove_queries
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import Value
from vm_state.file_watch import FileWatch

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_IN, _OUT = 0, 1
_CONTROL = "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"
_LOST = "input is lost: the guest is being started again, or the port is in use"


class Options(Value):
    """How to attach.

    Attributes:
        escape: the byte of the key that detaches; empty for none.
        lines: how many lines of history to show; None for all.
        follow: whether to stay when the input has ended.
    """

    escape: bytes
    lines: int | None = None
    follow: bool = False


def parse_escape(key: str) -> tuple[bytes, str]:
    """The byte and the name of the key that detaches.

    Args:
        key: ^] for Ctrl-], any other single ASCII character, or none.

    Raises:
        VmError: it is not a key (64).
    """
    if key == "none":
        return b"", ""
    if len(key) == 2 and key[0] == "^" and key[1].upper() in _CONTROL:
        key = chr(_CONTROL.index(key[1].upper()))
    if len(key) != 1 or not key.isascii():
        fault = Fault(problem=f"{key} is not a key", hint="^] is Ctrl-]; none disables the key")
        raise VmError(fault, status=os.EX_USAGE)
    return key.encode(), key if key.isprintable() else f"Ctrl-{_CONTROL[ord(key) & 31]}"


class Signaled(BaseException):
    """A signal that ends this program; not an Exception, so that no handler mistakes it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def catch_signals() -> Generator[int]:
    """Raises Signaled for SIGNALS; gives a descriptor that is readable after any signal."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Signaled(number)

    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    handlers = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


class Attachment:
    """One user at one console; for the main thread.

    Attributes:
        lifetime: of the VM.
    """

    def __init__(self, console: Console, options: Options, report: Callable[[str], None]) -> None:
        """Opens the console.

        Raises:
            VmError: the console cannot be opened (74).
        """
        self.options = options
        self.report = report
        self.input_ended = False
        try:
            self.tail = Tail(console.log, options.lines) if console.log else None
            self.watch = FileWatch(console.log, lambda: None) if console.log else None
            bursts = self.tail is not None
            self.connection = Connection(console.to, lambda: report(_LOST), bursts=bursts)
        except OSError as error:
            problem = f"{console.log or console.to} cannot be opened: {error.strerror}"
            raise VmError(Fault(problem=problem), status=os.EX_IOERR) from None
        self.lifetime = Lifetime(console.vm, console.directory)

    def run(self, wakeup: int) -> str:
        """Shows and sends until there is a reason to end.

        Args:
            wakeup: a descriptor that is readable after any signal.

        Returns:
            detached (by the key), input (it has ended), ended (the VM), closed (the port).

        Raises:
            BrokenPipeError: nobody reads standard output.
            VmError: standard output cannot be written to (74).
        """
        if self.tail and self.tail.is_cut and self.options.lines is None:
            self.report("the oldest part of the log is discarded")
        reason = ""
        while not reason:
            has_output = self._show()
            is_done = self.input_ended and not self.options.follow and self.connection.is_idle
            if is_done and not has_output:
                return "input"
            reason = self._wait(wakeup, 0 if has_output else None)
        while reason != "detached" and self._show():
            pass
        return reason

    def _show(self) -> bool:
        """Shows the next part of the log; whether there was any."""
        if self.tail is None or self.watch is None:
            return False
        self.watch.arm()
        chunk, is_history = self.tail.read()
        _write(remove_queries(chunk) if is_history and os.isatty(_OUT) else chunk)
        return bool(chunk)

    def _wait(self, wakeup: int, timeout_ms: int | None) -> str:
        """Waits for the next event and handles it; the reason to end, or nothing."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        port = self.connection.register(poll)
        if not self.input_ended and len(self.connection.pending) < LIMIT:
            poll.register(_IN, select.POLLIN)
        if self.lifetime.process:
            poll.register(self.lifetime.process.fd, select.POLLIN)
        if self.watch and self.watch.fd >= 0:
            poll.register(self.watch.fd, select.POLLIN)
        ready = dict(poll.poll(timeout_ms))
        if wakeup in ready:
            os.read(wakeup, 512)
        if port in ready:
            try:
                _write(self.connection.exchange(ready[port]))
            except EOFError:
                return "closed"
        if _IN in ready and self._read_input():
            return "detached"
        if self.lifetime.process is None or self.lifetime.process.fd in ready:
            return "" if self.lifetime.goes_on() else "ended"
        return ""

    def _read_input(self) -> bool:
        """Reads input; whether it has the key that detaches."""
        is_terminal = os.isatty(_IN)
        try:
            data = os.read(_IN, 4096)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self.input_ended = True
            return is_terminal
        key = b""
        if is_terminal and self.options.escape:
            data, key, _ = data.partition(self.options.escape)
        self.connection.send(data)
        return bool(key)

    def close(self) -> None:
        """Closes the console; input before the key is still sent."""
        self.connection.finish()
        for each in (self.connection, self.watch, self.tail, self.lifetime):
            if each:
                each.close()


def _write(output: bytes) -> None:
    try:
        while output:
            output = output[os.write(_OUT, output) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EIO:  # the terminal is gone; its signal is still to come
            raise Signaled(signal.SIGHUP) from None
        fault = Fault(problem=f"standard output cannot be written to: {error.strerror}")
        raise VmError(fault, status=os.EX_IOERR) from None
