"""QMP, the protocol of a running QEMU's monitor: commands and events (qemu-qmp-ref(7)).

A small synchronous client of our own: the library for it costs 70 ms and 8 MB for every VM that
runs (bench/start.py measures what this one costs).
"""

from __future__ import annotations

import json
import os
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
        self._last_id = 0

    @classmethod
    def from_fd(cls, fd: int) -> Qmp:
        """A monitor to which this descriptor is connected, and owned from now on."""
        return cls(socket.socket(fileno=fd))

    @classmethod
    def connect(cls, path: str, timeout_s: float = 5.0) -> Qmp:
        """A monitor that listens at a path, past its greeting.

        Raises:
            VmError: no QEMU listens there, or no answer came in time.
        """
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(timeout_s)
        try:
            connected.connect(path)
            qmp = cls(connected)
            qmp.execute("qmp_capabilities", timeout_s)
        except (OSError, VmError) as error:
            connected.close()
            reason = getattr(error, "strerror", None) or error
            problem = f"the monitor does not answer: {reason}"
            raise VmError(Fault(file=path, problem=problem), status=os.EX_TEMPFAIL) from None
        return qmp

    def execute(self, command: str, timeout_s: float = 5.0, **arguments: object) -> Any:
        """Executes a command and returns what it returns.

        Raises:
            VmError: QEMU refuses it (70).
            OSError: the connection is gone, or no answer came in time.
        """
        deadline = time.monotonic() + timeout_s
        self.socket.settimeout(timeout_s)
        self._write(self._new_command(command), arguments)
        return self._answer(command, deadline)

    def send_fd(self, fd: int, name: str, timeout_s: float = 5.0) -> None:
        """Passes QEMU a descriptor, which other commands then refer to by this name.

        Raises:
            VmError: QEMU refuses it (70).
            OSError: the connection is gone, or no answer came in time.
        """
        deadline = time.monotonic() + timeout_s
        self.socket.settimeout(timeout_s)
        message = self._new_command("getfd") | {"arguments": {"fdname": name}}
        socket.send_fds(self.socket, [json.dumps(message).encode()], [fd])
        self._answer("getfd", deadline)

    def _new_command(self, command: str) -> dict[str, object]:
        self._last_id += 1  # answers to `send` may still be on their way
        return {"execute": command, "id": self._last_id}

    def _answer(self, command: str, deadline: float) -> Any:
        while True:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            for message in self._read():
                if message.get("id") == self._last_id:
                    return _unpack(message, command)

    def send(self, command: str, **arguments: object) -> None:
        """Sends a command and does not wait for its answer."""
        self._write({"execute": command}, arguments)

    def _write(self, message: dict[str, object], arguments: dict[str, object]) -> None:
        more = {"arguments": arguments} if arguments else {}
        self.socket.sendall(json.dumps(message | more).encode())

    def events(self) -> list[dict[str, Any]]:
        """The events that have come since the last call; never waits.

        Raises:
            EOFError: QEMU has closed the connection, and every event was returned before.
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
        """Whether every processor is halted with interrupts off.

        Source: qemu(1), monitor command `info registers`: HLT=1, and bit 9 (IF) of EFL clear.
        """
        arguments: Any = {"command-line": "info registers -a"}
        text = str(self.execute("human-monitor-command", **arguments))
        halted = text.count("HLT=1")
        flags = [int(part[:8], 16) for part in text.split("EFL=")[1:]]
        flags += [int(part[:8], 16) for part in text.split("RFL=")[1:]]
        return bool(flags) and halted == len(flags) and not any(flag & 0x200 for flag in flags)

    def close(self) -> None:
        """Closes the connection; QEMU continues."""
        self.socket.close()


def _table(line: bytes) -> dict[str, Any]:
    """A line of QMP.

    Raises:
        ConnectionResetError: it is none.
    """
    try:
        message: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConnectionResetError("it does not speak QMP") from error
    if not is_table(message):
        raise ConnectionResetError("it does not speak QMP")
    return message


def _unpack(message: dict[str, Any], command: str) -> Any:
    if "return" in message:
        return message["return"]
    error = message.get("error")
    problem = f"QEMU refused {command}: {error.get('desc') if is_table(error) else error}"
    raise VmError(Fault(problem=problem), status=os.EX_SOFTWARE)
