"""Device nodes: pinned without being opened, given and taken back through that pin.

A pin is an O_PATH descriptor: no driver wakes, and a node that is swapped for another meanwhile
stays untouched. Every directory on the way is root's, and on the filesystem of `/dev`.

The owner of a node may change its mode, group and access list, so taking back restores all of them.
What they have open stays open: the kernel cannot revoke it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import OWNER, Record
from vm_init.policy import Granted
from vm_init.trusted import Opened

DEV, NUMBERS = "/dev", "/sys/dev/char"
CONSOLES = "/sys/class/tty/console/active"
ACCESS_LIST = "system.posix_acl_access"
O_PATH = 0x400000 if sys.platform.startswith("freebsd") else 0x200000
OPENAT2, NO_XDEV_NO_SYMLINKS_BENEATH = 437, 0x01 | 0x02 | 0x04 | 0x08  # no magic links either
FREEBSD_AT_EMPTY_PATH = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


def check(granted: Granted, caller: Caller) -> Record:
    """A record of the node as it is now.

    Raises:
        InitError: it is not a character device, not root's to give, open to everybody or to an
            access list, or a console of the host.
    """
    name = granted.request.name
    with Opened(pin(name)) as fd:
        seen = os.fstat(fd)
        has_list = sys.platform == "linux" and ACCESS_LIST in os.listxattr(f"/proc/self/fd/{fd}")
    if seen.st_uid:
        raise InitError(f"{name}: belongs to uid {seen.st_uid}")
    if has_list or seen.st_mode & 0o006:
        who = "an access list" if has_list else "its mode"
        raise InitError(f"{name}: {who} opens it to others, whom its owner could lock out")
    with suppress(OSError), open(CONSOLES, encoding="ascii") as file:
        if os.path.basename(name) in file.read().split():
            raise InitError(f"{name}: is a console of the host")
    return Record("node", name, seen.st_rdev, former=show_owner(seen))


def give(records: Sequence[Record], caller: Caller) -> None:
    """Gives nodes to the caller: the owner changes, group and mode stay.

    Raises:
        InitError: a node is not what its record says any more, or the kernel refused.
    """
    for record in records:
        with Opened(pin(record.name)) as fd:
            seen = os.fstat(fd)
            if seen.st_rdev != record.number:
                raise InitError(f"{record.name}: is another device now")
            if show_owner(seen) != record.former:
                raise InitError(f"{record.name}: its owner or mode has changed meanwhile")
            change_owner(fd, caller.uid, -1)


def holds(record: Record, caller: Caller) -> bool:
    """Whether the node is still the same device, and the caller's."""
    with suppress(InitError), Opened(pin(record.name)) as fd:
        seen = os.fstat(fd)
        return (seen.st_rdev, seen.st_uid) == (record.number, caller.uid)
    return False


def take(records: Sequence[Record], uid: int, *, force: bool = False) -> list[str]:
    """Gives nodes back to their former owners; for each empty, or why it stays as it is."""
    del force
    return [_take(record, uid) for record in records]


def _take(record: Record, uid: int) -> str:
    try:
        with Opened(pin(record.name)) as fd:
            is_same = os.fstat(fd).st_rdev == record.number  # else it is a later device's
            return restore(fd, record.name, uid, record.former) if is_same else ""
    except InitError as error:
        # With the device its node went away, and with the node what was given.
        return "" if error.status == os.EX_UNAVAILABLE else str(error)


def restore(fd: int, path: str, uid: int, former: str) -> str:
    """Restores `uid:gid:mode` if the pinned node's owner is `uid` or that one; empty, or why not.

    Root's own node is restored again: a kill may have come between owner and mode.
    """
    found = re.fullmatch(OWNER, former)
    seen = os.fstat(fd)
    if not found or show_owner(seen) == former:
        return "" if found else f"{path}: {former!a} is not uid:gid:mode"
    if seen.st_uid not in {uid, int(found[1])}:
        return f"{path}: belongs to uid {seen.st_uid} now, who did not get it here"
    change_owner(fd, int(found[1]), int(found[2]))
    if sys.platform == "linux":
        with suppress(OSError):  # there is none
            os.removexattr(f"/proc/self/fd/{fd}", ACCESS_LIST)
        os.chmod(f"/proc/self/fd/{fd}", int(found[3], 8))
    elif _libc.fchmodat(fd, b"", int(found[3], 8), FREEBSD_AT_EMPTY_PATH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "" if show_owner(os.fstat(fd)) == former else f"{path}: could not be made {former} again"


def show_owner(seen: os.stat_result) -> str:
    """A node's `uid:gid:mode`, as records have it."""
    return f"{seen.st_uid}:{seen.st_gid}:{stat.S_IMODE(seen.st_mode):o}"


def pin(path: str) -> int:
    """An O_PATH descriptor of a character device below /dev; the caller closes it.

    Raises:
        InitError: there is no such node (69), it is of another kind, the way to it is not root's
            alone, or the kernel knows its number by another name (77).
    """
    parts = path.split("/")[2:]
    try:
        fd = _walk(parts)
    except FileNotFoundError:
        raise InitError(f"{path}: is not there", os.EX_UNAVAILABLE) from None
    except OSError as error:
        raise InitError(f"{path}: {error.strerror}") from None
    seen = os.fstat(fd)
    if not stat.S_ISCHR(seen.st_mode) or not _is_named(seen.st_rdev, "/".join(parts)):
        os.close(fd)
        raise InitError(f"{path}: is not a character device of that name")
    return fd


def _walk(parts: list[str]) -> int:
    """Pins what lies below /dev, one name at a time: no link, no other filesystem."""
    fd = os.open(DEV, O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        with Opened(fd):
            seen = os.fstat(fd)
            if not stat.S_ISDIR(seen.st_mode) or seen.st_uid or seen.st_mode & 0o022:
                raise PermissionError(errno.EPERM, "a directory on the way is not root's alone")
            flags = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            following = _openat2(fd, part, flags) if sys.platform == "linux" else -1
            fd = os.open(part, flags, dir_fd=fd) if following < 0 else following
        if os.fstat(fd).st_dev != seen.st_dev:  # devfs has one device number
            os.close(fd)
            raise PermissionError(errno.EXDEV, "lies on another filesystem")
    return fd


def _openat2(directory: int, part: str, flags: int) -> int:
    """A descriptor; -1 where the kernel has no openat2 (before 5.6) or a filter hides it."""
    how = struct.pack("QQQ", flags, 0, NO_XDEV_NO_SYMLINKS_BENEATH)  # Source: openat2(2)
    fd: int = _libc.syscall(OPENAT2, directory, part.encode(), how, len(how))
    if fd < 0 and (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EPERM):
        raise OSError(number, os.strerror(number))
    return fd


def _is_named(number: int, name: str) -> bool:
    """Whether the kernel has a device of this number and name.

    A node that was made under another name has none, nor has the macvtap of another network
    namespace.
    """
    if sys.platform != "linux":
        return True
    path = f"{NUMBERS}/{os.major(number)}:{os.minor(number)}/uevent"
    with suppress(OSError), open(path, encoding="ascii", errors="replace") as lines:
        return f"DEVNAME={name}\n" in lines
    return False


def change_owner(fd: int, uid: int, gid: int) -> None:
    """Changes the owner of a pinned node."""
    if sys.platform == "linux":
        os.chown(f"/proc/self/fd/{fd}", uid, gid)
    elif _libc.fchownat(fd, b"", uid, gid, FREEBSD_AT_EMPTY_PATH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
