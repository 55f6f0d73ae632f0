"""QMP: how a running QEMU is asked and what it tells (qemu-qmp-ref(7)).

A small synchronous client of our own: the library for it costs 70 ms and 8 MB for every VM that
runs (bench/start.py measures what this one costs).
"""

from __future__ import annotations

import json
import socket
import time

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, is_table

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Qmp"]

_MOST = 1 << 20


class Qmp:
    """A connection to a monitor.

    Attributes:
        socket: what is read from; non-blocking reads belong to `events`.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._unread = b""
        self._events: list[dict[str, Any]] = []
        self._asked = 0

    @classmethod
    def from_fd(cls, fd: int) -> Qmp:
        """A monitor to which this descriptor is connected, and owned from now on."""
        return cls(socket.socket(fileno=fd))

    @classmethod
    def connect(cls, path: str, timeout_s: float = 5.0) -> Qmp:
        """A monitor that listens at a path, past its greeting.

        Raises:
            VmError: nobody listens there, or no answer came in time.
        """
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(timeout_s)
        try:
            connected.connect(path)
            qmp = cls(connected)
            qmp.execute("qmp_capabilities", timeout_s)
        except (OSError, VmError) as error:
            connected.close()
            why = getattr(error, "strerror", None) or error
            problem = f"the monitor does not answer: {why}"
            raise VmError(Fault(file=path, problem=problem), status=75) from None
        return qmp

    def execute(self, command: str, timeout_s: float = 5.0, **arguments: object) -> Any:
        """What a command returns.

        Raises:
            VmError: QEMU refuses it (70).
            OSError: the connection is gone, or no answer came in time.
        """
        deadline = time.monotonic() + timeout_s
        self.socket.settimeout(timeout_s)
        self._write(self._question(command), arguments)
        return self._answer(command, deadline)

    def send_fd(self, fd: int, name: str, timeout_s: float = 5.0) -> None:
        """Hands QEMU a descriptor, which other commands then mean by this name.

        Raises:
            VmError: QEMU refuses it (70).
            OSError: the connection is gone, or no answer came in time.
        """
        deadline = time.monotonic() + timeout_s
        self.socket.settimeout(timeout_s)
        message = self._question("getfd") | {"arguments": {"fdname": name}}
        socket.send_fds(self.socket, [json.dumps(message).encode()], [fd])
        self._answer("getfd", deadline)

    def _question(self, command: str) -> dict[str, object]:
        self._asked += 1  # answers to what was only told may still be on their way
        return {"execute": command, "id": self._asked}

    def _answer(self, command: str, deadline: float) -> Any:
        while True:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            for message in self._read():
                if message.get("id") == self._asked:
                    return _returned(message, command)

    def send(self, command: str, **arguments: object) -> None:
        """Sends a command and does not wait for its answer."""
        self._write({"execute": command}, arguments)

    def _write(self, message: dict[str, object], arguments: dict[str, object]) -> None:
        more = {"arguments": arguments} if arguments else {}
        self.socket.sendall(json.dumps(message | more).encode())

    def events(self) -> list[dict[str, Any]]:
        """The events that have come since the last call; never waits.

        Raises:
            EOFError: QEMU has closed the connection, and every event was given out before.
        """
        self.socket.setblocking(False)
        try:
            while True:
                self._read()
        except BlockingIOError:
            pass
        except OSError as error:
            if not self._events:
                raise EOFError from error
        events, self._events = self._events, []
        return events

    def _read(self) -> list[dict[str, Any]]:
        """Answers that came with one read; events are kept for `events`."""
        chunk = self.socket.recv(65536)
        if not chunk or len(self._unread) > _MOST:
            raise ConnectionResetError("it has closed the connection, or makes no sense")
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        messages = [_table(line) for line in lines if line.strip()]
        self._events += [message for message in messages if "event" in message]
        return [message for message in messages if "event" not in message]

    def is_halted(self) -> bool:
        """Whether every processor has stopped for good: halted with interrupts off.

        Source: qemu(1), monitor command `info registers`: HLT=1, and bit 9 (IF) of EFL clear.
        """
        asked: Any = {"command-line": "info registers -a"}
        shown = str(self.execute("human-monitor-command", **asked))
        halted = shown.count("HLT=1")
        flags = [int(part[:8], 16) for part in shown.split("EFL=")[1:]]
        flags += [int(part[:8], 16) for part in shown.split("RFL=")[1:]]
        return bool(flags) and halted == len(flags) and not any(flag & 0x200 for flag in flags)

    def close(self) -> None:
        """Ends the connection; QEMU goes on."""
        self.socket.close()


def _table(line: bytes) -> dict[str, Any]:
    """A line of QMP.

    Raises:
        ConnectionResetError: whoever is at the other end does not speak it.
    """
    try:
        message: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConnectionResetError("what it says is no QMP") from error
    if not is_table(message):
        raise ConnectionResetError("what it says is no QMP")
    return message


def _returned(message: dict[str, Any], command: str) -> Any:
    if "return" in message:
        return message["return"]
    error = message.get("error")
    problem = f"QEMU refused {command}: {error.get('desc') if is_table(error) else error}"
    raise VmError(Fault(problem=problem), status=70)
