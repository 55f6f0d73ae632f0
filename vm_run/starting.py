"""A process that is about to start: what is open for it, and what it became."""

from __future__ import annotations

import _socket  # `import socket` costs 2 ms, for names that nobody here uses
import fcntl
import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.process import spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Descriptors", "Started", "listening", "start"]

_ABOVE = 128  # our own descriptors are moved out of the way of the numbers given to the child


class Started:
    """A hypervisor that has just been started.

    Attributes:
        pid: its process id.
        argv: its command line.
        monitor: descriptor of our end of its QMP socket; None for bhyve.
        note: what the user should know of how it runs; empty for nothing.
    """

    def __init__(self, pid: int, argv: list[str], monitor: int | None, note: str = "") -> None:
        self.pid = pid
        self.argv = argv
        self.monitor = monitor
        self.note = note


class Descriptors:
    """What is opened for one start; all of it is closed again on our side."""

    def __init__(self) -> None:
        self.given: dict[int, int] = {}

    def give(self, ours: int, theirs: int) -> None:
        """Moves a descriptor of ours out of the way; the child gets it as `theirs`."""
        self.given[theirs] = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _ABOVE)

    def open(self, path: str, flags: int, theirs: int) -> None:
        """Opens a file for the child.

        Raises:
            VmError: it cannot be opened (69).
        """
        try:
            ours = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError as error:
            raise VmError(Fault(problem=f"{path}: {error.strerror}"), status=69) from None
        self.give(ours, theirs)
        os.close(ours)

    def close(self) -> None:
        """Closes our side."""
        for fd in self.given.values():
            os.close(fd)


def listening(path: str) -> _socket.socket:
    """A socket at a path that can be connected to before anybody accepts."""
    listener = _socket.socket(_socket.AF_UNIX)
    if os.path.lexists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen(8)
    return listener


def start(
    argv: list[str], descriptors: Descriptors, environment: Mapping[str, str] | None = None
) -> int:
    """Starts a program with what is open for it, and returns its process id.

    Args:
        argv: its words, the first one its path.
        descriptors: what is open for it.
        environment: its variables; ours when left out.

    Raises:
        VmError: it cannot be started (69).
    """
    try:
        return spawn(argv, descriptors.given, os.environ if environment is None else environment)
    except OSError as error:
        problem = f"{argv[0]} cannot be started: {error.strerror}"
        raise VmError(Fault(problem=problem), status=69) from None
