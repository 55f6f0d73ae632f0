"""Taps: made for a user, joined to a bridge, taken back by their mark.

A tap lasts only from its last step on: killed before, we leave nothing, because the kernel removes
it with our descriptor. IFF_VNET_HDR is not asked for: whoever opens the tap says whether he wants
it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from vm_init import netlink
from vm_init.record import Record, alias
from vm_init.verdict import InitError

if TYPE_CHECKING:
    from vm_init.verdict import Caller, Granted

__all__ = ["TAKEN", "act", "failed", "free", "holds", "intend", "undo", "warning"]

TUN = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_TUN_EXCL = 0x0002, 0x1000, 0x8000
IFREQ = struct.Struct("=16sH22x")
NET_ADDR_SET = "3"
TAKEN = "not allowed on this host"


def intend(granted: Granted, caller: Caller, vm: str) -> Record:
    """A record of a tap that is not there yet.

    Raises:
        InitError: an interface has this name, or what is to be joined is no bridge.
    """
    name = granted.request[0]
    free(name)
    if granted.target:
        _bridge(granted.target)
    nonce = os.urandom(8).hex()
    tag = alias(nonce, caller.uid, vm)
    return Record("tap", name, nonce=nonce, target=granted.target, tag=tag)


def act(record: Record, caller: Caller) -> Record:
    """Make the tap, whole and up, before it is made to last.

    Raises:
        InitError: the name was taken meanwhile, the bridge is none, or the kernel refused.
    """
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise failed(record, error) from None
    try:
        number = _make(fd, record.name)
        fcntl.ioctl(fd, TUNSETOWNER, caller.uid)
        _join(record, number)
        made = record._replace(number=number, done=True)
        if not holds(made, caller):
            raise InitError(f"{record.name}: is not as it was made", os.EX_UNAVAILABLE)
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    except OSError as error:
        raise failed(record, error) from None
    finally:
        os.close(fd)
    return made


def holds(record: Record, caller: Caller) -> bool:
    """Whether the tap is the one that was made, the caller's, up, and on its bridge."""
    link = _mine(record)
    if link is None or not link.up or (link.name, link.owner) != (record.name, caller.uid):
        return False
    master = netlink.link(link.master) if link.master else None
    if not record.target:
        return master is None
    return master is not None and (master.name, master.kind) == (record.target, "bridge")


def undo(record: Record, *, force: bool = False) -> str:
    """Delete the tap, and no other interface of its name; empty, or why it stays.

    Args:
        record: what the ledger says.
        force: delete it even while a program holds it.
    """
    try:
        link = _mine(record)
        if link is None:
            return ""
        if link.carrier and not force:
            return f"{record.name}: in use"
        netlink.delete(link.number)
    except OSError as error:
        return f"{record.name}: {error.strerror or error}"
    return ""


def warning(record: Record) -> str:
    """What an admin should know about the bridge of a tap; empty when there is nothing.

    A bridge's address follows its ports' until somebody sets it. The tap's own is the highest that
    there can be, but its owner may lower it.
    """
    try:
        with open(f"/sys/class/net/{record.target}/addr_assign_type", encoding="ascii") as told:
            pinned = told.read().strip() == NET_ADDR_SET
    except OSError:
        return ""
    if not record.target or pinned:
        return ""
    return (
        f"{record.target}: its Ethernet address is not fixed, so that the owner of a tap can change"
        f" it: ip link set dev {record.target} address ..."
    )


def free(name: str) -> None:
    """Nothing, if no interface has this name or alternative name.

    Raises:
        InitError: the text of any refusal; the reason is its note.
    """
    if netlink.link(name):
        raise _taken(name)


def failed(record: Record, error: OSError) -> InitError:
    """What to raise for the kernel's refusal."""
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return _taken(record.name)
    return InitError(f"{record.name}: {error.strerror or error}", os.EX_UNAVAILABLE)


def _taken(name: str) -> InitError:
    refusal = InitError(f"{name}: {TAKEN}")
    refusal.add_note("there is an interface of this name")
    return refusal


def _mine(record: Record) -> netlink.Link | None:
    """The interface that bears the record's mark."""
    link = netlink.link(record.number or record.name)
    return link if link and record.tag and (link.kind, link.alias) == ("tun", record.tag) else None


def _bridge(name: str) -> netlink.Link:
    """The bridge of this first name, which is a bridge."""
    link = netlink.link(name)
    if link is None or (link.name, link.kind) != (name, "bridge"):
        refusal = InitError(f"{name}: {TAKEN}")
        refusal.add_note("there is no such bridge")
        raise refusal
    return link


def _make(fd: int, name: str) -> int:
    """A new tap of this name, as long as the descriptor is open; returns its index."""
    wanted = IFREQ.pack(name.encode("ascii"), IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL)
    told = IFREQ.unpack(fcntl.ioctl(fd, TUNSETIFF, wanted))[0].rstrip(b"\0").decode("ascii")
    link = netlink.link(told)
    # The kernel cuts names and fills in a %d.
    if told != name or link is None or (link.name, link.kind) != (name, "tun"):
        raise InitError(f"{name}: became {told!a}", os.EX_UNAVAILABLE)
    return link.number


def _join(record: Record, number: int) -> None:
    """Tag the tap, give it an address above every other, join it, switch it on."""
    mac = bytes([0xFE, *bytes.fromhex(record.nonce)[:5]]).hex(":")
    netlink.change(number, {"alias": record.tag, "mac": mac, "quiet": True})
    last: netlink.Change = {"up": True}
    if record.target:
        bridge = _bridge(record.target)
        last = {"mtu": bridge.mtu, "master": bridge.number, "up": True}
    netlink.change(number, last)
