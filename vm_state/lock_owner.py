"""Who holds a VM's state folder: the vm-run that watches it, proven by the kernel.

A number in a file proves nothing: its process may be gone and the number another's. What is asked
here is whether the process of that number, held by a descriptor, has the very lock open.
"""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError
from vm_state import lock as locks
from vm_state import statedir
from vm_state.process import Process

__all__ = ["holds", "supervisor"]


def supervisor(folder: str, name: str) -> Process | None:
    """The vm-run that watches the VM of a state folder; None if none does.

    Args:
        folder: the state folder.
        name: the VM's name, for faults.

    Raises:
        VmError: the folder's lock is held by somebody who cannot be told (75).
    """
    path = f"{folder}/lock"
    while statedir.is_locked(path):
        holder = statedir.holder(path)
        pid = holder.get("pid")
        if isinstance(pid, int) and holder.get("boot_id") == statedir.boot_id():
            process = _process(pid)
            if process and holds(pid, path):
                return process
            if process:
                process.close()
        if statedir.is_locked(path) and statedir.holder(path) == holder:
            raise VmError(_unknown(name, pid), status=statedir.BUSY)
    return None


def _process(pid: int) -> Process | None:
    try:
        return Process(pid, is_child=False)
    except (OSError, OverflowError):
        return None


def _unknown(name: str, pid: object) -> Fault:
    problem = f"{name} is held by a process that cannot be told (pid {pid}?)"
    hint = "it may just be starting: try again; or it runs in another container"
    return Fault(problem=problem, hint=hint)


def holds(pid: int, path: str) -> bool:
    """Whether a process of this user's has locked a file.

    Source: proc(5), /proc/PID/fdinfo: `lock: 1: OFDLCK ADVISORY WRITE -1 00:19:12 0 0`.
    """
    if not locks.INHERITED:
        return _locker(path) == pid
    try:
        lock = os.stat(path)
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return False
        return any(_is_locked_by(pid, number, lock) for number in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _is_locked_by(pid: int, number: str, lock: os.stat_result) -> bool:
    """Whether a descriptor of a process is this file's, with a lock on its first byte."""
    try:
        if not os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), lock):
            return False
        with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file if line.startswith("lock:")]
    except OSError:  # a descriptor that was closed meanwhile
        return False
    return any(line[4:5] == ["WRITE"] and line[-2:] == ["0", "0"] for line in lines)


def _locker(path: str) -> int:
    """The process that FreeBSD names as a lock's holder; 0 for none. Untested on FreeBSD."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        return locks.holder(fd)
    except OSError:
        return 0
    finally:
        os.close(fd)
