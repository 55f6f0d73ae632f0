"""A lock on a byte of a file, of fcntl(2): it holds between all hosts that share the file's folder.

Linux has locks of the open file: two threads have each their own, a child inherits them, and they
end with the last descriptor. Elsewhere they are the process's, no child's, and end as soon as it
closes any descriptor of the file, a copy too: there nobody may open the file again.

Source: fcntl(2), Open file description locks (Linux); fcntl(2), F_SETLK (FreeBSD).
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["INHERITED", "drop", "holder", "is_at", "is_held", "take"]

INHERITED = hasattr(fcntl, "F_OFD_SETLK")  # whether a child has the lock too
_LINUX = INHERITED  # whose order of fields counts
# struct flock: Linux's begins with type and whence, FreeBSD's ends with them and the host
_FLOCK = "hhqqi4x" if _LINUX else "qqihhi4x"
_SET = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_SET_WAIT = getattr(fcntl, "F_OFD_SETLKW", fcntl.F_SETLKW)
_GET = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)


def take(fd: int, byte: int = 0, *, wait: bool = False) -> None:
    """Locks a byte of an open file, which need not be there in the file.

    Args:
        fd: the file, open for writing.
        byte: which.
        wait: whether until whoever holds it lets go.

    Raises:
        BlockingIOError: somebody else holds it, and we do not wait.
        OSError: the file system has no locks.
    """
    try:
        fcntl.fcntl(fd, _SET_WAIT if wait else _SET, _request(fcntl.F_WRLCK, byte))
    except PermissionError as error:  # the other number that POSIX allows for the same
        raise BlockingIOError from error


def drop(fd: int, byte: int = 0) -> None:
    """Lets go of a byte; closing the file lets go of all."""
    fcntl.fcntl(fd, _SET, _request(fcntl.F_UNLCK, byte))


def is_held(fd: int, byte: int = 0) -> bool:
    """Whether somebody else holds a byte; takes nothing, and reading is enough."""
    return _answer(fd, byte) != _request(fcntl.F_UNLCK, byte)


def holder(fd: int) -> int:
    """The process that holds the first byte, where locks are the process's; 0 for none.

    Untested on FreeBSD.
    """
    _, _, pid, kind, _, _ = struct.unpack(_FLOCK, _answer(fd, 0))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def is_at(fd: int, path: str) -> bool:
    """Whether an open file is the one of this name: whoever held it may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def _answer(fd: int, byte: int) -> bytes:
    return fcntl.fcntl(fd, _GET, _request(fcntl.F_WRLCK, byte))


def _request(kind: int, byte: int) -> bytes:
    if _LINUX:
        return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
    return struct.pack(_FLOCK, byte, 1, 0, kind, os.SEEK_SET, 0)
