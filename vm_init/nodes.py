"""Device nodes: pinned without being opened, given and taken back through that pin.

A pin is an O_PATH descriptor: no driver wakes, and a node that is swapped for another behind our
back stays untouched. Every folder on the way is root's, and on the filesystem of `/dev`.

The owner of a node may change its mode, group and access list, so that taking back restores all of
them. What he has open stays open: no kernel of ours can revoke it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import struct
import sys
from typing import NamedTuple

from vm_init.record import Record
from vm_init.trusted import Opened
from vm_init.verdict import Caller, Granted, InitError

FORMER = re.compile(r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9}):([0-7]{1,4})")
PART = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:-]{1,64}")
ACCESS_LIST = "system.posix_acl_access"

O_PATH = 0x400000 if sys.platform.startswith("freebsd") else 0x200000
OPENAT2 = 437
NO_XDEV_NO_SYMLINKS_BENEATH = 0x01 | 0x02 | 0x04 | 0x08  # no magic links either
FREEBSD_AT_EMPTY_PATH = 0x4000

_libc = ctypes.CDLL(None, use_errno=True)


class Host(NamedTuple):
    """Where the nodes are; only tests have another.

    Attributes:
        dev: the folder of the nodes.
        numbers: what the kernel says of each device number.
    """

    dev: str = "/dev"
    numbers: str = "/sys/dev/char"


REAL = Host()


def intend(
    granted: Granted, caller: Caller, vm: str, together: object = (), host: Host = REAL
) -> Record:
    """A record of the node as it is now; `target` is the uid that is to have it.

    Args:
        granted: a request for a node.
        caller: who is to have it.
        vm: unused: a node does not know its VM.
        together: unused.
        host: where the nodes are.

    Raises:
        InitError: it is no character device, or not root's to give.
    """
    name = granted.request[0]
    seen = look(name, host)
    if seen.st_uid:
        raise InitError(f"{name}: belongs to uid {seen.st_uid}")
    return Record("node", name, number=seen.st_rdev, target=str(caller.uid), former=owner(seen))


def act(record: Record, caller: Caller, host: Host = REAL) -> Record:
    """Give the node to the caller: its owner changes, its group and mode stay.

    Raises:
        InitError: it is not what the record says any more, or the kernel refused.
    """
    try:
        with Opened(pin(record.name, host)) as fd:
            seen = os.fstat(fd)
            if seen.st_rdev != record.number or record.target != str(caller.uid):
                raise InitError(f"{record.name}: is another device now")
            if seen.st_uid != caller.uid:
                if owner(seen) != record.former:
                    raise InitError(f"{record.name}: its owner or mode has changed meanwhile")
                _chown(fd, caller.uid, -1)
            if (os.fstat(fd).st_uid, os.fstat(fd).st_rdev) != (caller.uid, record.number):
                raise InitError(f"{record.name}: could not be given")
    except OSError as error:
        raise InitError(f"{record.name}: {error.strerror}", 69) from None
    return record._replace(done=True)


def holds(record: Record, caller: Caller, host: Host = REAL) -> bool:
    """Whether the node is still the same device, and the caller's."""
    try:
        seen = look(record.name, host)
    except InitError:
        return False
    return (seen.st_rdev, seen.st_uid) == (record.number, caller.uid)


def undo(record: Record, host: Host = REAL) -> str:
    """Give the node back to its former owner; empty, or why it stays as it is."""
    try:
        with Opened(pin(record.name, host)) as fd:
            if os.fstat(fd).st_rdev != record.number:
                return ""  # its node is gone: this is a later device's
            return restore(fd, record.target, record.former)
    except InitError as error:
        # With the device its node went away, and with the node what was given.
        return "" if error.status == os.EX_UNAVAILABLE else str(error)
    except OSError as error:
        return f"{record.name}: {error.strerror}"


def give(path: str, uid: int, host: Host = REAL) -> None:
    """Give away a node that this run itself made, whoever has it by the system's default.

    Raises:
        InitError: as `pin` does, or the kernel refused.
    """
    try:
        with Opened(pin(path, host)) as fd:
            _chown(fd, uid, -1)
    except OSError as error:
        raise InitError(f"{path}: {error.strerror}", 69) from None


def restore(fd: int, given: str, former: str) -> str:
    """Restore what `former` says if the pinned node's owner is still `given`; or why not.

    Root's own node is done again: a kill may have come between owner and mode.
    """
    found = FORMER.fullmatch(former)
    if not found:
        return f"{former!a} is no uid:gid:mode"
    uid, gid, mode = int(found[1]), int(found[2]), int(found[3], 8)
    seen = os.fstat(fd)
    if owner(seen) == former:
        return ""
    if str(seen.st_uid) not in {given, found[1]}:
        return f"belongs to uid {seen.st_uid} now, who did not get it here"
    _chown(fd, uid, gid)
    if sys.platform == "linux":
        try:
            os.removexattr(f"/proc/self/fd/{fd}", ACCESS_LIST)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise
    _chmod(fd, mode)
    return "" if owner(os.fstat(fd)) == former else f"could not be made {former} again"


def owner(seen: os.stat_result) -> str:
    """A node's `uid:gid:mode`, as records have it."""
    return f"{seen.st_uid}:{seen.st_gid}:{stat.S_IMODE(seen.st_mode):o}"


def pin(path: str, host: Host = REAL) -> int:
    """An O_PATH descriptor of a character device below /dev; the caller closes it.

    Raises:
        InitError: status 69 when there is no such node, 77 when it is something else, or when the
            way to it is not root's alone, or when the kernel knows its number by another name.
    """
    parts = path.split("/")
    if parts[:2] != ["", "dev"] or not parts[2:] or not all(map(PART.fullmatch, parts[2:])):
        raise InitError(f"{path!a}: is no path below /dev")
    try:
        fd = _walk(parts[2:], host.dev)
    except FileNotFoundError:
        raise InitError(f"{path}: is not there", os.EX_UNAVAILABLE) from None
    except OSError as error:
        raise InitError(f"{path}: {error.strerror}") from None
    seen = os.fstat(fd)
    if not stat.S_ISCHR(seen.st_mode) or not _is_named(seen.st_rdev, parts[2:], host):
        os.close(fd)
        raise InitError(f"{path}: is no character device of that name")
    return fd


def look(path: str, host: Host = REAL) -> os.stat_result:
    """What a node is and whose; refuses as `pin` does."""
    with Opened(pin(path, host)) as fd:
        return os.fstat(fd)


def _walk(parts: list[str], start: str) -> int:
    """Pin what lies below a folder, one name at a time: no link, no other filesystem."""
    fd = os.open(start, O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        with Opened(fd):
            seen = os.fstat(fd)
            if not stat.S_ISDIR(seen.st_mode) or seen.st_uid or seen.st_mode & 0o022:
                raise PermissionError(errno.EPERM, "a folder on the way is not root's alone")
            flags = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            following = _openat2(fd, part, flags) if sys.platform == "linux" else -1
            fd = os.open(part, flags, dir_fd=fd) if following < 0 else following
        # devfs has one device number, and a node's st_dev is its folder's.
        if os.fstat(fd).st_dev != seen.st_dev:
            os.close(fd)
            raise PermissionError(errno.EXDEV, "lies on another filesystem")
    return fd


def _openat2(folder: int, part: str, flags: int) -> int:
    """A descriptor; -1 where the kernel has no openat2 (before 5.6) or a filter hides it."""
    how = struct.pack("QQQ", flags, 0, NO_XDEV_NO_SYMLINKS_BENEATH)  # Source: openat2(2)
    fd: int = _libc.syscall(OPENAT2, folder, part.encode(), how, len(how))
    if fd < 0 and (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EPERM):
        raise OSError(number, os.strerror(number))
    return fd


def _is_named(number: int, parts: list[str], host: Host) -> bool:
    """Whether the kernel has a device of this number and name.

    A node that somebody made under another name has none, nor has the macvtap that lives in another
    network namespace.
    """
    if sys.platform != "linux":
        return True
    at = f"{host.numbers}/{os.major(number)}:{os.minor(number)}/uevent"
    try:
        with open(at, encoding="ascii", errors="replace") as lines:
            return f"DEVNAME={'/'.join(parts)}\n" in lines
    except OSError:
        return False


def _chown(fd: int, uid: int, gid: int) -> None:
    if sys.platform == "linux":
        os.chown(f"/proc/self/fd/{fd}", uid, gid)
    elif _libc.fchownat(fd, b"", uid, gid, FREEBSD_AT_EMPTY_PATH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _chmod(fd: int, mode: int) -> None:
    if sys.platform == "linux":
        os.chmod(f"/proc/self/fd/{fd}", mode)
    elif _libc.fchmodat(fd, b"", mode, FREEBSD_AT_EMPTY_PATH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
