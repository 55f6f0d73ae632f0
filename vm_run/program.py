"""Programs that vm-run starts: which one runs a machine, what is open for it, how it is started.

Everything that a hypervisor needs is opened and bound before it exists and handed to it as
descriptors, so that there is nothing to wait for.
"""

from __future__ import annotations

import _socket  # `import socket` costs 2 ms, for names that are not used here
import fcntl
import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import platform
from vm_state.platform import which
from vm_state.process import signal_name, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vm_spec.machine import Machine

__all__ = [
    "Descriptors", "Started", "hypervisor", "listen", "program", "run", "start",
]  # fmt: skip

_ABOVE = 128  # our own descriptors are moved out of the way of the numbers that a child gets


def hypervisor(machine: Machine) -> str:
    """The hypervisor of a machine: the description's, else bhyve on FreeBSD and QEMU elsewhere."""
    return machine.hypervisor or ("bhyve" if platform.is_bsd() else "qemu")


def program(machine: Machine) -> str:
    """The path of a machine's hypervisor: $QEMU_BIN, $BHYVE_BIN, or the usual one.

    Raises:
        VmError: it is not installed (69).
    """
    if hypervisor(machine) == "bhyve":
        variable, default, hint = "BHYVE_BIN", "bhyve", "FreeBSD's base system has it"
    else:
        variable, default = "QEMU_BIN", "/usr/bin/qemu-system-x86_64"
        hint = "Debian: sudo apt install qemu-system-x86"
    name = os.environ.get(variable) or default
    path = which(name)
    if path is None:
        hint = f"install it ({hint}), or set {variable}"
        problem = "is not a program that you may run" if os.path.exists(name) else "does not exist"
        raise VmError(Fault(problem=f"{name} {problem}", hint=hint), status=os.EX_UNAVAILABLE)
    return path


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
    """What is opened for one start.

    Attributes:
        fds: the child's descriptor -> ours.
    """

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}

    def add(self, ours: int, theirs: int) -> None:
        """Duplicates a descriptor of ours; the child gets it as `theirs`."""
        self.fds[theirs] = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _ABOVE)

    def open(self, path: str, flags: int, theirs: int) -> None:
        """Opens a file for the child.

        Raises:
            VmError: it cannot be opened (69).
        """
        try:
            ours = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError as error:
            fault = Fault(problem=f"{path}: {error.strerror}")
            raise VmError(fault, status=os.EX_UNAVAILABLE) from None
        self.add(ours, theirs)
        os.close(ours)

    def close(self) -> None:
        """Closes our side."""
        for fd in self.fds.values():
            os.close(fd)


def listen(path: str) -> _socket.socket:
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
        argv: its arguments, the first one its path.
        descriptors: what is open for it.
        environment: its variables; ours when left out.

    Raises:
        VmError: it cannot be started (69).
    """
    try:
        return spawn(argv, descriptors.fds, os.environ if environment is None else environment)
    except OSError as error:
        problem = f"{argv[0]} cannot be started: {error.strerror}"
        raise VmError(Fault(problem=problem), status=os.EX_UNAVAILABLE) from None


def run(argv: Sequence[str], *, terminal: bool = False) -> str:
    """Runs a program to its end and returns its output.

    Args:
        argv: its arguments; no shell reads them.
        terminal: whether it may ask the user, as sudo does; then its output is shown.

    Raises:
        VmError: it does not exist, or fails (69): with the line to copy and its last message.
    """
    import shlex
    import subprocess

    line = shlex.join(argv)
    pipe = None if terminal else subprocess.PIPE
    stdin = None if terminal else subprocess.DEVNULL
    try:
        done = subprocess.run(
            argv, stdin=stdin, stdout=pipe, stderr=pipe, check=False, text=True, errors="replace"
        )
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) or "/" not in argv[0]
        hint = f"install {argv[0]}" if is_missing else ""
        problem = f"{line}: {error.strerror}"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_UNAVAILABLE) from None
    if done.returncode:
        code = done.returncode
        how = signal_name(-code) if code < 0 else f"exit status {code}"
        problem = ": ".join([line, how, *(done.stderr or "").strip().splitlines()[-1:]])
        raise VmError(Fault(problem=problem), status=os.EX_UNAVAILABLE)
    return done.stdout or ""
