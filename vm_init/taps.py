"""Taps: made for a user, joined to a bridge, taken back by their mark.

A tap lasts only from its last step on: killed before, we leave nothing, because the kernel removes
it with our descriptor. IFF_VNET_HDR is not asked for: whoever opens the tap says whether he wants
it. All taps of a run are made together, and taken back together: the kernel is asked a few times
for all of them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import chain

from vm_init import netlink
from vm_init.netlink import Change, Link
from vm_init.record import Record, alias
from vm_init.trusted import text
from vm_init.verdict import Caller, Granted, InitError

Links = dict[str | int, Link]


TUN = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_TUN_EXCL = 0x0002, 0x1000, 0x8000
IFREQ = struct.Struct("=16sH22x")
NET_ADDR_SET = "3"
TAKEN = "not allowed on this host"


def intend(granted: Granted, caller: Caller, vm: str, together: object = ()) -> Record:
    """A record of a tap that is not there yet.

    Raises:
        InitError: an interface has this name, or what is to be joined is no bridge.
    """
    name = granted.request[0]
    free(name)
    if granted.target and not os.path.isdir(f"/sys/class/net/{granted.target}/bridge"):
        raise refusal(granted.target, "there is no such bridge")
    nonce = os.urandom(8).hex()
    tag = alias(nonce, caller.uid, vm)
    return Record("tap", name, nonce=nonce, target=granted.target, tag=tag, port=granted.port)


def act(record: Record, caller: Caller) -> Record:
    """Make one tap; see `make`."""
    return make([record], caller)[0]


def make(records: Sequence[Record], caller: Caller) -> list[Record]:
    """Make taps, each whole and up, before any of them is made to last.

    Raises:
        InitError: a name was taken meanwhile, a bridge is none, or the kernel refused.
    """
    bridges = {name: _bridge(name) for name in {record.target for record in records} if name}
    made: list[Record] = []
    try:
        with ExitStack() as stack:
            taps: list[int] = []
            for record in records:
                taps.append(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
                stack.callback(os.close, taps[-1])
                number = _make(taps[-1], record.name)
                made.append(record._replace(number=number, done=True))
                fcntl.ioctl(taps[-1], TUNSETOWNER, caller.uid)
            steps = (_steps(record, bridges.get(record.target)) for record in made)
            netlink.change(*chain.from_iterable(steps))
            links: Links = {link.number: link for link in netlink.links()}
            wrong = [record.name for record in made if not _is_right(record, caller, links.get)]
            if wrong:
                raise InitError(f"{', '.join(wrong)}: not as it was made", os.EX_UNAVAILABLE)
            for tap in taps:
                fcntl.ioctl(tap, TUNSETPERSIST, 1)
    except OSError as error:
        known = {record.number: record for record in made}
        last = records[min(len(made), len(records) - 1)]
        raise failed(known.get(error.filename, last), error) from None
    return made


def holds(record: Record, caller: Caller) -> bool:
    """Whether the tap is the one that was made, the caller's, up, and on its bridge."""
    return _is_right(record, caller, netlink.link)


def undo(record: Record, *, force: bool = False) -> str:
    """Delete one tap; see `remove`."""
    return remove([record], force=force)[0]


def remove(records: Sequence[Record], *, force: bool = False) -> list[str]:
    """Delete taps, and no other interfaces of their names; for each empty, or why it stays.

    Args:
        records: what the ledger says.
        force: delete them even while a program holds them.
    """
    try:
        links = netlink.links()
        known: Links = {key: link for link in links for key in (link.name, link.number)}
        mine = [_mine(record, known.get) for record in records]
        kept = [link is not None and link.carrier and not force for link in mine]
        gone = [link for link, stays in zip(mine, kept, strict=True) if link and not stays]
        netlink.delete_all(gone, links)
    except OSError as error:
        return [f"{record.name}: {error.strerror or error}" for record in records]
    both = zip(records, kept, strict=True)
    return [f"{record.name}: in use" if stays else "" for record, stays in both]


def warning(bridge: str) -> str:
    """What an admin should know about the bridge of a tap; empty when there is nothing.

    A bridge's address follows its ports' until somebody sets it. The tap's own is the highest that
    there can be, but its owner may lower it.
    """
    if text(f"/sys/class/net/{bridge}/addr_assign_type") in ("", NET_ADDR_SET):
        return ""
    problem = "its Ethernet address is not fixed, so that the owner of a tap can change it"
    return f"{bridge}: {problem}: ip link set dev {bridge} address ..."


def free(name: str) -> None:
    """Nothing, if no interface has this name or alternative name.

    Raises:
        InitError: the text of any refusal; the reason is its note.
    """
    with suppress(OSError):  # there is none
        socket.if_nametoindex(name)
        raise refusal(name, "there is an interface of this name")


def refusal(name: str, why: str) -> InitError:
    """What to raise so that the caller is told the same whatever exists; `why` is its note."""
    refused = InitError(f"{name}: {TAKEN}")
    refused.add_note(why)
    return refused


def failed(record: Record, error: OSError) -> InitError:
    """What to raise for the kernel's refusal."""
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return refusal(record.name, "there is an interface of this name")
    return InitError(f"{record.name}: {error.strerror or error}", os.EX_UNAVAILABLE)


def _mine(record: Record, look: Callable[[str | int], Link | None]) -> Link | None:
    """The interface that bears the record's mark."""
    link = look(record.number or record.name)
    return link if link and record.tag and (link.kind, link.alias) == ("tun", record.tag) else None


def _is_right(record: Record, caller: Caller, look: Callable[[str | int], Link | None]) -> bool:
    link = _mine(record, look)
    if link is None or not link.up or (link.name, link.owner) != (record.name, caller.uid):
        return False
    master = look(link.master) if link.master else None
    if not record.target or master is None:
        return not record.target and master is None
    return (master.name, master.kind, link.port) == (record.target, "bridge", record.port)


def _bridge(name: str) -> Link:
    """The bridge of this first name, which is a bridge."""
    link = netlink.link(name)
    if link is None or (link.name, link.kind) != (name, "bridge"):
        raise refusal(name, "there is no such bridge")
    return link


def _make(fd: int, name: str) -> int:
    """A new tap of this name, as long as the descriptor is open; returns its index."""
    wanted = IFREQ.pack(name.encode("ascii"), IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL)
    told = IFREQ.unpack(fcntl.ioctl(fd, TUNSETIFF, wanted))[0].rstrip(b"\0").decode("ascii")
    if told != name:  # the kernel cuts names and fills in a %d
        raise InitError(f"{name}: became {told!a}", os.EX_UNAVAILABLE)
    return socket.if_nametoindex(name)


def _steps(record: Record, bridge: Link | None) -> tuple[tuple[int, Change], ...]:
    """Tag the tap, give it an address above every other, join it; then switch it on."""
    mac = bytes([0xFE, *bytes.fromhex(record.nonce)[:5]]).hex(":")
    first: Change = {"alias": record.tag, "mac": mac, "quiet": True}
    last: Change = {"up": True}
    if bridge:
        first |= {"mtu": bridge.mtu, "master": bridge.number}
        last["port"] = record.port
    return (record.number, first), (record.number, last)
