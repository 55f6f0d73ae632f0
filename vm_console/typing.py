"""What is typed to a guest.

QEMU's socket of a serial port takes one client at a time; the others wait in the kernel's queue.
So each burst of keys is a connection of its own, which ends when QEMU has read all of it: whoever
types next comes next, nobody holds the port, and no key is lost. What QEMU sends there is thrown
away, since it is in the log too.
"""

from __future__ import annotations

import os
import select
import socket
import struct

__all__ = ["Bursts", "Line"]

MOST = 1 << 16  # bytes that wait to be typed; then no more is read
_QUEUED_S = 1  # to wait for a place in the kernel's queue


class Bursts:
    """A serial port's socket, to type to.

    Attributes:
        pending: what QEMU has not been sent yet.
        lost: whether something could not be typed, since nobody listened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pending = b""
        self.lost = False
        self._socket: socket.socket | None = None
        self._sent = False

    @property
    def is_idle(self) -> bool:
        """Whether everything has come to QEMU."""
        return self._socket is None and not self.pending

    def type(self, keys: bytes) -> None:
        """Takes more to type."""
        self.pending += keys
        self._begin()

    def _begin(self) -> None:
        if self._socket is not None or not self.pending:
            return
        connected = socket.socket(socket.AF_UNIX)
        try:
            seconds = struct.pack("ll", _QUEUED_S, 0)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
            connected.connect(self.path)
        except OSError:  # the guest is being started again, or too many wait before us
            connected.close()
            self._lose()
            return
        connected.setblocking(False)
        self._socket = connected
        self._sent = False

    def _lose(self) -> None:
        self.lost = self.lost or bool(self.pending)
        self.pending = b""

    def register(self, poll: select.poll) -> int:
        """Has this polled for; the descriptor, -1 if there is nothing to wait for."""
        if self._socket is None:
            return -1
        events = select.POLLIN if self._sent else select.POLLIN | select.POLLOUT
        poll.register(self._socket, events)
        return self._socket.fileno()

    def act(self, events: int) -> bytes:
        """Does what can be done now; nothing is read here."""
        if self._socket is None:
            return b""
        try:
            if events & select.POLLOUT and not self._sent:
                self.pending = self.pending[self._socket.send(self.pending) :]
                if not self.pending:
                    self._socket.shutdown(socket.SHUT_WR)
                    self._sent = True
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._socket.recv(
                1 << 16
            ):
                self._end()
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            self._end()
        return b""

    def _end(self) -> None:
        """QEMU has read everything: the next one may type."""
        if self._socket:
            self._socket.close()
        self._socket = None
        self._begin()

    def close(self) -> None:
        """Lets the port go."""
        self.pending = b""
        self._end()


class Line:
    """A port that is read and typed to by one only: a virtio port's socket, a null modem.

    Attributes:
        pending: what has not been sent yet.
        lost: never.
    """

    def __init__(self, path: str) -> None:
        """Opens it.

        Raises:
            OSError: it cannot be opened.
        """
        self.pending = b""
        self.lost = False
        self._socket: socket.socket | None = None
        if path.startswith("/dev/"):
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            _make_raw(self.fd)
            return
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()

    @property
    def is_idle(self) -> bool:
        """Whether everything has been sent."""
        return not self.pending

    def type(self, keys: bytes) -> None:
        """Takes more to type."""
        self.pending += keys

    def register(self, poll: select.poll) -> int:
        """Has this polled for; the descriptor."""
        poll.register(self.fd, select.POLLIN | (select.POLLOUT if self.pending else 0))
        return self.fd

    def act(self, events: int) -> bytes:
        """Does what can be done now, and returns what was read.

        Raises:
            EOFError: the other end is gone.
        """
        try:
            if events & select.POLLOUT and self.pending:
                self.pending = self.pending[os.write(self.fd, self.pending) :]
            if not events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                return b""
            chunk = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise EOFError from error
        if not chunk:
            raise EOFError
        return chunk

    def close(self) -> None:
        """Lets the port go."""
        if self._socket:
            self._socket.close()
        else:
            os.close(self.fd)


def _make_raw(fd: int) -> None:
    import termios
    import tty

    if os.isatty(fd):
        tty.setraw(fd, termios.TCSANOW)  # what the guest has written already is kept
