"""The lock of a TPM's state: one VM at a time, and its swtpm has ended before the next begins.

It is of flock(2), which swtpm inherits on FreeBSD as well; on an NFS other hosts see it.

Source: flock(2), NFS details (Linux).
"""

from __future__ import annotations

import json
import os
import select
import signal

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.lock import take_flock
from vm_state.platform import boot_id
from vm_state.process import Process, started_at

if TYPE_CHECKING:
    from typing import Any

__all__ = ["settle", "sign", "take"]

_PATIENCE_MS = 5000  # swtpm writes its state at each command, and so has little to do at its end


def take(path: str, folder: str) -> int:
    """The lock in a file, which is made; swtpm inherits it, so that it lasts as long as swtpm.

    Args:
        path: the file.
        folder: the state folder of the VM that asks. Its own swtpm of before is ended.

    Raises:
        VmError: another VM has the lock (75).
        OSError: the file cannot be made, or its file system has no locks.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        settle(fd, folder)
        if take_flock(fd):
            return fd
        named = os.path.basename(str(_holder(fd).get("folder", "another VM")))
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    problem = f"{os.path.dirname(path)} is the TPM of {named}, which is running"
    hint = "stop that VM, or give this one a path of its own"
    raise VmError(Fault(path=("tpm", "path"), problem=problem, hint=hint), status=os.EX_TEMPFAIL)


def sign(fd: int, pid: int, folder: str) -> None:
    """Writes into a lock who has it: an swtpm, started by us for the VM of a state folder."""
    text = json.dumps(_here(folder) | {"pid": pid, "started_at": started_at(pid)})
    os.ftruncate(fd, os.pwrite(fd, text.encode() + b"\n", 0))


def settle(fd: int, folder: str) -> None:
    """Ends the swtpm that has a lock, if it is that of this state folder.

    One that is our child is waited for in any case, or it would stay behind as a zombie.

    Raises:
        OSError: the file system has no locks.
    """
    holder = _holder(fd)
    pid = holder.get("pid")
    if not isinstance(pid, int) or not holder.items() >= _here(folder).items():
        return
    is_child = _is_child(pid)
    if not is_child and take_flock(fd):
        return
    try:
        process = Process(pid, is_child=is_child)
    except OSError:  # it has ended, or its number is a thread's by now
        return
    try:
        if started_at(pid) not in (0, holder.get("started_at")):  # the number is another's
            return
        _end(process)
    finally:
        process.close()
    os.ftruncate(fd, 0)


def _end(process: Process) -> None:
    waiting = select.poll()
    waiting.register(process.fd, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send(number)
        if waiting.poll(_PATIENCE_MS):
            process.wait()
            return


def _is_child(pid: int) -> bool:
    """Whether a process is ours to wait for; asks, and does not wait."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def _here(folder: str) -> dict[str, Any]:
    return {"folder": folder, "host": os.uname().nodename, "boot_id": boot_id()}


def _holder(fd: int) -> dict[str, Any]:
    try:
        found: object = json.loads(os.pread(fd, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
