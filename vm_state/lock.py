"""All locks: one beside each description, one in each state directory, and who owns them.

A lock is one byte of a file, locked by fcntl(2): it holds between all hosts that share the file's
directory. Linux locks the open file: two threads have each their own, a child inherits it, and it
ends with the last descriptor. Elsewhere a lock is the process's, no child's, and ends as soon as
the process closes any descriptor of the file: nothing there may open the file again.

Source: fcntl(2), Open file description locks (Linux); fcntl(2), F_SETLK (FreeBSD).
"""

from __future__ import annotations

import fcntl
import json
import os
import struct

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import boot_id
from vm_state.process import Process, started_at
from vm_state.record import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypeVar

    from vm_state.record import Record

    T = TypeVar("T")

__all__ = [
    "INHERITED", "Lock", "drop", "find_supervisor", "holds", "is_at", "is_foreign", "is_held",
    "is_locked", "lock_path", "owner_pid", "read_owner", "take", "take_flock",
]  # fmt: skip

INHERITED = hasattr(fcntl, "F_OFD_SETLK")  # whether a child has the lock too
_LINUX = INHERITED  # whose order of fields counts
# struct flock: Linux's begins with type and whence, FreeBSD's ends with them and the host
_FLOCK = "hhqqi4x" if _LINUX else "qqihhi4x"
_SET = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_SET_WAIT = getattr(fcntl, "F_OFD_SETLKW", fcntl.F_SETLKW)
_GET = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)
_RUNNING, _NAMING = 0, 1  # bytes of a lock's file: who runs, and who is just finding that out


# One byte of an open file.


def take(fd: int, byte: int = 0, *, wait: bool = False) -> None:
    """Locks a byte of an open file, which may lie past the file's end.

    Args:
        fd: the file, open for writing.
        byte: which.
        wait: whether to wait until it is unlocked.

    Raises:
        BlockingIOError: another holds it, and we do not wait.
        OSError: the file system has no locks.
    """
    try:
        fcntl.fcntl(fd, _SET_WAIT if wait else _SET, _request(fcntl.F_WRLCK, byte))
    except PermissionError as error:  # the other number that POSIX allows for the same
        raise BlockingIOError from error


def drop(fd: int, byte: int = 0) -> None:
    """Unlocks a byte; closing the file unlocks all."""
    fcntl.fcntl(fd, _SET, _request(fcntl.F_UNLCK, byte))


def is_held(fd: int, byte: int = 0) -> bool:
    """Whether another holds a byte; takes nothing, and reading is enough."""
    return _ask(fd, byte) != _request(fcntl.F_UNLCK, byte)


def owner_pid(fd: int) -> int:
    """The process that holds the first byte, where locks are the process's; 0 for none.

    Untested on FreeBSD.
    """
    _, _, pid, kind, _, _ = struct.unpack(_FLOCK, _ask(fd, 0))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def is_at(fd: int, path: str) -> bool:
    """Whether an open file is the one of this name: its last owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def _ask(fd: int, byte: int) -> bytes:
    return fcntl.fcntl(fd, _GET, _request(fcntl.F_WRLCK, byte))


def _request(kind: int, byte: int) -> bytes:
    if _LINUX:
        return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
    return struct.pack(_FLOCK, byte, 1, 0, kind, os.SEEK_SET, 0)


def take_flock(fd: int) -> bool:
    """Whether a whole file could be locked by flock(2), which children inherit on FreeBSD too.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# The lock of a VM.


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
        """Locks a file and writes its owner into it.

        Args:
            path: the file; it is created.
            name: the VM's name, for faults.
            force: whether to take over a lock that another host left behind.

        Raises:
            VmError: it is held (75), with the owner's name.
            OSError: the file cannot be created.
        """
        fd, owner = _open_locked(path, name)
        if is_foreign(owner) and not force:
            os.close(fd)
            raise VmError(_left_behind(name, owner), status=os.EX_TEMPFAIL)
        try:
            lock = cls(fd, path)
            lock.write(os.getpid())
            drop(fd, _NAMING)
        except BaseException:
            os.close(fd)
            raise
        return lock

    def write(self, pid: int) -> None:
        """Writes the owner: this host, a process, this boot."""
        text = json.dumps({"host": os.uname().nodename, "pid": pid, "boot_id": boot_id()})
        os.ftruncate(self.fd, os.pwrite(self.fd, text.encode() + b"\n", 0))

    def release(self) -> None:
        """Removes the file and unlocks it."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        os.close(self.fd)


def _open_locked(path: str, name: str) -> tuple[int, Record]:
    """A locked file, and what its last owner has left in it.

    Each contender holds a second byte meanwhile, so that the loser finds the winner's name.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            take(fd, _NAMING, wait=True)
            take(fd, _RUNNING)
            if is_at(fd, path):
                return fd, _read_owner(fd)
            os.close(fd)  # its last owner has just removed it
        except BlockingIOError:
            owner = _read_owner(fd)
            os.close(fd)
            raise VmError(_already_running(name, owner), status=os.EX_TEMPFAIL) from None
        except BaseException:
            os.close(fd)
            raise


def _already_running(name: str, owner: Record) -> Fault:
    host, pid = owner.get("host", "some host"), owner.get("pid", "?")
    if host != os.uname().nodename:
        hint = f"stop it on {host}"
    elif started_at(pid if isinstance(pid, int) else 0):
        hint = f"stop it: vm-stop {name}"
    else:
        hint = f"its vm-run is gone and its guest runs on; take it over: vm-run --recover {name}"
    return Fault(problem=f"{name} is already running on {host} (pid {pid})", hint=hint)


def _left_behind(name: str, owner: Record) -> Fault:
    host, pid = owner.get("host"), owner.get("pid")
    problem = f"{name} was started on {host} (pid {pid}) and never ended there"
    hint = f"if {host} is really down: vm-run --force {name}"
    return Fault(problem=problem, hint=hint)


# The owner of a lock.


def is_locked(path: str) -> bool:
    """Whether the lock in a file is held; asks the kernel, and takes nothing."""
    return _probe(path, is_held, False)


def read_owner(path: str) -> Record:
    """What a lock's file says of its owner: host, pid and boot_id; empty if it cannot be read."""
    return _probe(path, _read_owner, {})


def _probe(path: str, ask: Callable[[int], T], default: T) -> T:
    """The answer about a file that is opened for this; the default if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return default
    try:
        return ask(fd)
    except OSError:
        return default
    finally:
        os.close(fd)


def _read_owner(fd: int) -> Record:
    return parse(os.pread(fd, 4096, 0))


def is_foreign(owner: Record) -> bool:
    """Whether an owner is on another host; a host renamed since is recognized by its boot.

    FreeBSD tells no boot from another, so there the name alone counts.
    """
    host, boot = owner.get("host"), boot_id()
    if not isinstance(host, str) or host in ("", os.uname().nodename):
        return False
    return not boot or owner.get("boot_id") != boot


def find_supervisor(directory: str, name: str) -> Process | None:
    """The vm-run that supervises the VM of a state directory; None if none does.

    A number in a file proves nothing: its process may be gone and the number another's. So the
    process of that number must have the very lock open.

    Args:
        directory: the state directory.
        name: the VM's name, for faults.

    Raises:
        VmError: an unknown process holds the directory's lock (75).
    """
    path = f"{directory}/lock"
    while is_locked(path):
        owner = read_owner(path)
        pid = owner.get("pid")
        if isinstance(pid, int) and owner.get("boot_id") == boot_id():
            process = _open_process(pid)
            if process and holds(pid, path):
                return process
            if process:
                process.close()
        if is_locked(path) and read_owner(path) == owner:
            problem = f"an unknown process (pid {pid}?) has locked {name}"
            hint = "it may just be starting: try again; or it runs in another container"
            raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    return None


def _open_process(pid: int) -> Process | None:
    try:
        return Process(pid, is_child=False)
    except (OSError, OverflowError):
        return None


def holds(pid: int, path: str) -> bool:
    """Whether a process of this user's has locked a file.

    Source: proc(5), /proc/PID/fdinfo: `lock: 1: OFDLCK ADVISORY WRITE -1 00:19:12 0 0`.
    """
    if not INHERITED:
        return _probe(path, owner_pid, 0) == pid
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
