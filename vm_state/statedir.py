"""What is kept of a running VM: its lock, its sockets and logs, and who watches it."""

from __future__ import annotations

import json
import os
import stat

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import lock as locks
from vm_state.process import started_at

if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["BUSY", "Lock", "Record", "boot_id", "folder", "lock_path", "make_folder", "read"]

BUSY, REFUSED = 75, 77
Record = dict[str, "Any"]
_RUNNING, _NAMING = 0, 1  # bytes of a lock's file: who runs, and who is just finding that out


def folder(name: str) -> str:
    """Where the state of the VM of this name is kept."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):  # the XDG specification: a relative one is to be ignored
        runtime = f"/tmp/vm-{os.getuid()}"  # noqa: S108  checked below
    return f"{runtime}/vm/{name}"


def longest_socket() -> int:
    """How many bytes the path of a socket may have: unix(7), and unix(4) of FreeBSD."""
    return 103 if os.uname().sysname == "FreeBSD" else 107


def make_folder(name: str) -> str:
    """The state folder of a VM, made for this user alone.

    Raises:
        VmError: it is not this user's alone, or its path is too long for sockets.
    """
    path = folder(name)
    if len(os.fsencode(path)) + len("/supervisor.sock") > longest_socket():
        problem = f"{path} is too long a path for sockets"
        raise VmError(
            Fault(problem=problem, hint="set XDG_RUNTIME_DIR to a shorter one"), status=69
        )
    runtime = os.path.dirname(os.path.dirname(path))
    for part in (runtime, os.path.dirname(path), path):
        try:
            os.mkdir(part, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            hint = "set XDG_RUNTIME_DIR to a folder of your own, or unset it"
            problem = f"{part} cannot be made: {error.strerror}"
            raise VmError(Fault(problem=problem, hint=hint), status=REFUSED) from None
        _own(part)
    return path


def names() -> list[str]:
    """The names of the state folders; none where their place is not this user's alone."""
    place = os.path.dirname(folder("-"))
    try:
        _own(os.path.dirname(place))
        _own(place)
        return os.listdir(place)
    except (OSError, VmError):
        return []


def _own(path: str) -> None:
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        problem = f"{path} is not a folder that only you can write to"
        hint = f"look at it: ls -ld {path}"
        raise VmError(Fault(problem=problem, hint=hint), status=REFUSED)


def boot_id() -> str:
    """What tells this start of the host from any other."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def lock_path(file: str) -> str:
    """The lock of the description in a file: beside it, so that every host sees it."""
    stem = os.path.splitext(os.path.basename(file))[0]
    return os.path.join(os.path.dirname(file) or ".", f".{stem}.lock")


class Lock:
    """The right to run a VM; the hypervisor inherits it, so that it lasts as long as either.

    Attributes:
        fd: what the hypervisor inherits.
        path: the file that is locked.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    @classmethod
    def take(cls, path: str, name: str, *, force: bool = False) -> Self:
        """Locks a file and writes into it who holds it.

        Args:
            path: the file; it is made.
            name: the VM's name, for faults.
            force: whether a lock that another host left behind is taken over.

        Raises:
            VmError: somebody holds it (75), with the holder's name.
            OSError: the file cannot be made.
        """
        fd, holder = _taken(path, name)
        if is_elsewhere(holder) and not force:
            os.close(fd)
            raise VmError(_left_behind(name, holder), status=BUSY)
        try:
            lock = cls(fd, path)
            lock.write(os.getpid())
            locks.drop(fd, _NAMING)
        except BaseException:
            os.close(fd)
            raise
        return lock

    def write(self, pid: int) -> None:
        """Writes who holds the lock: this host, a process, this start of the host."""
        text = json.dumps({"host": os.uname().nodename, "pid": pid, "boot_id": boot_id()})
        os.ftruncate(self.fd, os.pwrite(self.fd, text.encode() + b"\n", 0))

    def release(self) -> None:
        """Removes the file and lets go."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        os.close(self.fd)


def _taken(path: str, name: str) -> tuple[int, Record]:
    """A locked file, and what its last holder has left in it.

    Whoever tries holds a second lock while it does: so that the loser finds the winner's name.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            locks.take(fd, _NAMING, wait=True)
            locks.take(fd, _RUNNING)
            if locks.is_at(fd, path):
                return fd, _holder(fd)
            os.close(fd)  # its last holder has just removed it
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise VmError(_held(name, holder), status=BUSY) from None
        except BaseException:
            os.close(fd)
            raise


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock in a file; asks the kernel, and takes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return locks.is_held(fd, _RUNNING)
    except OSError:
        return False
    finally:
        os.close(fd)


def _holder(fd: int) -> Record:
    return _table(os.pread(fd, 4096, 0))


def holder(path: str) -> Record:
    """What stands in a lock's file: host, pid and boot_id; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return {}
    try:
        return _holder(fd)
    except OSError:
        return {}
    finally:
        os.close(fd)


def is_elsewhere(holder: Record) -> bool:
    """Whether a holder is on another host; one renamed since is the same by its boot.

    FreeBSD tells no boot from another, so there the name alone counts.
    """
    host, boot = holder.get("host"), boot_id()
    if not isinstance(host, str) or host in ("", os.uname().nodename):
        return False
    return not boot or holder.get("boot_id") != boot


def _held(name: str, holder: Record) -> Fault:
    host, pid = holder.get("host", "some host"), holder.get("pid", "?")
    if host != os.uname().nodename:
        hint = f"stop it on {host}"
    elif started_at(pid if isinstance(pid, int) else 0):
        hint = f"stop it: vm-stop {name}"
    else:
        hint = f"its supervisor is gone and its guest goes on: vm-run --recover {name}"
    return Fault(problem=f"{name} is already running on {host} (pid {pid})", hint=hint)


def _left_behind(name: str, holder: Record) -> Fault:
    host, pid = holder.get("host"), holder.get("pid")
    problem = f"{name} was started on {host} (pid {pid}) and never ended there"
    hint = f"if {host} is really down: vm-run --force {name}"
    return Fault(problem=problem, hint=hint)


def read(path: str) -> Record:
    """The record of a running VM in a state folder; empty when there is none."""
    try:
        with open(f"{path}/state.json", "rb") as file:
            return _table(file.read(1 << 20))
    except OSError:
        return {}


def _table(content: bytes) -> Record:
    try:
        table: object = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def write(path: str, record: Record) -> None:
    """Writes the record of a running VM; a reader sees the old one or the new one."""
    replace_file(f"{path}/state.json", json.dumps(record, indent=1) + "\n")


def replace_file(path: str, text: str) -> None:
    """Writes a file so that a reader sees all of it or what was there before."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def lives(record: Record) -> bool:
    """Whether the hypervisor of a record still runs: its number, its start and the host's start."""
    pid, started = record.get("pid"), record.get("started_at")
    if not isinstance(pid, int) or record.get("boot_id") != boot_id():
        return False
    return started_at(pid) == started != 0
