"""The lock of a TPM's state: one VM at a time, and its swtpm has ended before the next begins."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal

from vm_run.process import Process
from vm_run.state import BUSY, boot_id
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING

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
        OSError: the file cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    settle(fd, folder)
    if _taken(fd):
        return fd
    named = os.path.basename(str(_holder(fd).get("folder", "another VM")))
    os.close(fd)
    problem = f"{os.path.dirname(path)} is the TPM of {named}, which is running"
    hint = "stop that VM, or give this one a path of its own"
    raise VmError(Fault(path=("tpm", "path"), problem=problem, hint=hint), status=BUSY)


def sign(fd: int, pid: int, folder: str) -> None:
    """Writes into a lock who has it: an swtpm, started by us for the VM of a state folder."""
    text = json.dumps(_here(folder) | {"pid": pid, "supervisor": os.getpid()})
    os.ftruncate(fd, os.pwrite(fd, text.encode() + b"\n", 0))


def settle(fd: int, folder: str) -> None:
    """Ends the swtpm that has a lock, if it is that of this state folder.

    One that is our child is waited for in any case, or it would stay behind as a zombie.
    """
    holder = _holder(fd)
    pid, is_child = holder.get("pid"), holder.get("supervisor") == os.getpid()
    if not isinstance(pid, int) or not holder.items() >= _here(folder).items():
        return
    if not is_child and _taken(fd):
        return
    try:
        process = Process(pid, is_child=is_child)
    except ProcessLookupError:
        return
    _end(process)
    process.close()
    os.ftruncate(fd, 0)  # its number may be another's from now on


def _end(process: Process) -> None:
    waiting = select.poll()
    waiting.register(process.fd, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send(number)
        if waiting.poll(_PATIENCE_MS):
            process.wait()
            return


def _taken(fd: int) -> bool:
    """Whether a lock could be taken; whoever inherits it has it, and closing gives it up."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _here(folder: str) -> dict[str, Any]:
    return {"folder": folder, "host": os.uname().nodename, "boot_id": boot_id()}


def _holder(fd: int) -> dict[str, Any]:
    try:
        found: object = json.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
