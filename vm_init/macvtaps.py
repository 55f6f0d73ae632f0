"""Macvtaps: made on one of the host's interfaces, with their node in /dev given to a user.

A macvtap lasts from its first step on and gets its tag in the second. So its index is chosen here,
by chance, and is in the ledger before: a kill between the two leaves what can be told apart. Nor
can anybody who makes macvtaps in a network namespace of his own guess the name of its node.

The kernel does not tell whether somebody has the node open, so that undoing takes it from him.
"""

from __future__ import annotations

import ctypes
import os
import select
import time

from vm_init import netlink, nodes
from vm_init.record import Record, alias
from vm_init.request import Macvtap
from vm_init.taps import failed, free, refusal
from vm_init.trusted import Opened
from vm_init.verdict import Caller, Granted, InitError

LOWEST, SPAN = 1 << 20, 1 << 29
IN_CREATE, IN_MOVED_TO = 0x100, 0x80
PATIENCE_S = 3.0


def intend(granted: Granted, caller: Caller, vm: str, together: object = ()) -> Record:
    """A record of a macvtap that is not there yet, with its index.

    Raises:
        InitError: its name or address is taken, or the interface cannot carry one.
    """
    request = granted.request
    assert isinstance(request, Macvtap)  # noqa: S101  # carry sends each kind to its module
    free(request.name)
    _parent(granted.target)
    if any(link.mac == request.mac for link in netlink.links()):
        raise refusal(request.name, f"an interface has the address {request.mac}")
    number = LOWEST + int.from_bytes(os.urandom(4), "big") % SPAN
    nonce = os.urandom(8).hex()
    new = Record("macvtap", request.name, nonce=nonce, number=number, mac=request.mac)
    return new._replace(target=granted.target, tag=alias(nonce, caller.uid, vm))


def act(record: Record, caller: Caller) -> Record:
    """Make the macvtap, give its node, switch it on. What fails leaves it to `undo`.

    Raises:
        InitError: the name was taken meanwhile, the node is another's or does not come, or the
            kernel refused.
    """
    try:
        parent = _parent(record.target)
        netlink.create_macvtap(record.number, record.name, parent.number, record.mac)
        netlink.change((record.number, {"alias": record.tag, "quiet": True}))
        _give(record, caller.uid)
        netlink.change((record.number, {"up": True}))
    except OSError as error:
        raise failed(record, error) from None
    if not holds(record, caller):
        raise InitError(f"{record.name}: is not as it was made", os.EX_UNAVAILABLE)
    return record._replace(done=True)


def holds(record: Record, caller: Caller) -> bool:
    """Whether the macvtap is the one that was made, on its interface, and its node the caller's."""
    link = _mine(record)
    if link is None or not link.up or link.name != record.name or link.mac != record.mac:
        return False
    parent = netlink.link(link.parent)
    if parent is None or parent.name != record.target or not link.is_bridge_mode:
        return False
    try:
        with Opened(nodes.pin(f"/dev/tap{record.number}")) as fd:
            seen = os.fstat(fd)
            return (seen.st_uid, seen.st_rdev) == (caller.uid, _device(record))
    except (InitError, OSError):
        return False


def undo(record: Record) -> str:
    """Delete the macvtap, and with it its node; empty, or why it stays."""
    try:
        if link := _mine(record):
            netlink.delete(link.number)
    except OSError as error:
        return f"{record.name}: {error.strerror or error}"
    return ""


def _mine(record: Record) -> netlink.Link | None:
    """The interface that bears the record's mark, or none yet if it was to get it next."""
    link = netlink.link(record.number) if record.number else None
    if link is None or not record.tag or link.kind != "macvtap":
        return None
    just_made = not record.done and (link.name, link.alias) == (record.name, "")
    return link if link.alias == record.tag or just_made else None


def _parent(name: str) -> netlink.Link:
    """The interface below, which must be the host's own and no port of another."""
    link = netlink.link(name)
    if link is None or link.name != name or link.loopback or link.master:
        raise refusal(name, "there is no such interface, or it is lo, or a port of another")
    return link


def _give(record: Record, uid: int) -> None:
    """Give the node, if it is this interface's: another namespace's may have taken its name."""
    with Opened(_node(f"/dev/tap{record.number}")) as fd:
        seen = os.fstat(fd)
        if seen.st_rdev != _device(record):
            raise InitError(f"{record.name}: its node is another's", os.EX_UNAVAILABLE)
        if seen.st_uid not in (0, uid):
            raise InitError(f"{record.name}: its node is not root's", os.EX_UNAVAILABLE)
        os.chown(f"/proc/self/fd/{fd}", uid, -1)


def _device(record: Record) -> int:
    """The device number that the kernel gave to this interface's node."""
    with open(f"/sys/class/net/{record.name}/tap{record.number}/dev", encoding="ascii") as told:
        major, minor = told.read().split(":")
    return os.makedev(int(major), int(minor))


def _node(path: str) -> int:
    """The pinned node, as soon as it is there.

    Raises:
        InitError: it did not come in time (69), or is not what it should be.
    """
    if os.path.lexists(path):
        return nodes.pin(path)
    with Opened(_watched(os.path.dirname(path))) as events:
        end = time.monotonic() + PATIENCE_S
        while not os.path.lexists(path):
            left = end - time.monotonic()
            if left <= 0 or not select.select([events], [], [], left)[0]:
                break
            os.read(events, 1 << 16)
        return nodes.pin(path)


def _watched(folder: str) -> int:
    """An inotify(7) descriptor that becomes readable when a name appears in the folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), IN_CREATE | IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd
