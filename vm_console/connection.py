"""The connection that carries input to a guest's console.

QEMU's socket of a serial port takes one client at a time; the others wait in the kernel's queue.
So each burst of input is a connection of its own, which ends when QEMU has read all of it: several
users can type at one port, nobody blocks it, and no byte is lost. QEMU's output there is dropped,
since the log has it too. A virtio port and a null modem are one lasting connection, both ways.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import termios
import tty
from collections.abc import Callable

LIMIT = 1 << 16  # bytes of pending input; above it no more is read
_QUEUE_S = 1  # how long to wait for a place in the kernel's queue
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Connection:
    """Input to a console, and output from one that has no log.

    Attributes:
        pending: what has not been sent yet.
    """

    def __init__(self, path: str, on_loss: Callable[[], None], *, bursts: bool) -> None:
        """Opens a lasting connection; one for bursts is opened when there is input.

        Args:
            path: a socket or a device; empty for neither, which drops all input.
            on_loss: is called once when input is dropped because nobody listens.
            bursts: whether each burst of input is a connection of its own.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = path
        self.pending = b""
        self._on_loss = on_loss
        self._is_lost = False
        self._bursts = bursts
        self._is_sent = False
        self._socket: socket.socket | None = None
        self._fd = -1
        if path and not bursts:
            self._open()

    def _open(self) -> None:
        if self.path.startswith("/dev/"):
            self._fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            if os.isatty(self._fd):
                tty.setraw(self._fd, termios.TCSANOW)  # keeps what the guest has written
            return
        connected = socket.socket(socket.AF_UNIX)
        try:
            timeout = struct.pack("ll", _QUEUE_S, 0)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            connected.connect(self.path)
        except OSError:
            connected.close()
            raise
        connected.setblocking(False)
        self._socket, self._fd, self._is_sent = connected, connected.fileno(), False

    @property
    def is_idle(self) -> bool:
        """Whether all input has been sent, and that of a burst been read."""
        return not self.pending and not (self._bursts and self._fd >= 0)

    def send(self, data: bytes) -> None:
        """Adds to the pending input."""
        if self.path:
            self.pending += data
            self._begin()

    def _begin(self) -> None:
        """Opens the connection of the next burst."""
        if self._fd >= 0 or not self.pending:
            return
        try:
            self._open()
        except OSError:  # the guest is being started again, or the queue is full
            self._lose()

    def _lose(self) -> None:
        """Drops the pending input."""
        if self.pending and self._bursts and not self._is_lost:
            self._is_lost = True
            self._on_loss()
        self.pending = b""

    def register(self, poll: select.poll) -> int:
        """Registers with a poll object; the descriptor, -1 when there is nothing to wait for."""
        if self._fd >= 0:
            sends = self.pending and not self._is_sent
            poll.register(self._fd, select.POLLIN | (select.POLLOUT if sends else 0))
        return self._fd

    def exchange(self, events: int) -> bytes:
        """Sends and receives what is possible now; the output of a console without a log.

        Raises:
            EOFError: the other end of a lasting connection is closed.
        """
        try:
            if events & select.POLLOUT:
                self._write()
            output = os.read(self._fd, 1 << 16) if events & _READABLE else None
        except BlockingIOError:
            return b""
        except OSError:
            self._lose()
            output = b""
        if output == b"":
            self._end()
        return b"" if self._bursts or output is None else output

    def _write(self) -> None:
        self.pending = self.pending[os.write(self._fd, self.pending) :]
        if self._bursts and self._socket and not self.pending:
            self._socket.shutdown(socket.SHUT_WR)
            self._is_sent = True

    def _end(self) -> None:
        """The other end is closed: of a burst, QEMU has read all of it."""
        if not self._bursts:
            raise EOFError
        self.close()
        self._begin()

    def finish(self) -> None:
        """Sends the pending input; gives up when nothing moves for a second."""
        while not self.is_idle:
            poll = select.poll()
            fd = self.register(poll)
            ready = dict(poll.poll(1000)) if fd >= 0 else {}
            if fd not in ready:
                return
            try:
                self.exchange(ready[fd])
            except EOFError:
                return

    def close(self) -> None:
        """Closes the connection."""
        if self._socket:
            self._socket.close()
        elif self._fd >= 0:
            os.close(self._fd)
        self._socket, self._fd = None, -1
