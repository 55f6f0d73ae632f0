"""Interfaces of the host, read and changed by rtnetlink(7), with messages packed by hand.

The kernel carries each message out before it answers, so nothing here waits. Many changes go to it
in one write.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

# linux/netlink.h, linux/rtnetlink.h
NLMSG_ERROR, NLMSG_DONE, NEWLINK, DELLINK, GETLINK = 2, 3, 16, 17, 18
REQUEST, ACK, INTERRUPTED, DUMP, EXCLUSIVE = 0x1, 0x4, 0x10, 0x300, 0x600
# linux/if_link.h, each IFLA_
ADDRESS, IFNAME, MTU, LINK, MASTER, LINKINFO = 1, 3, 4, 5, 10, 18
IFALIAS, AF_SPEC, GROUP, EXT_MASK, CARRIER = 20, 26, 27, 29, 33
INFO_KIND, INFO_DATA, INFO_SLAVE_DATA = 1, 2, 5
TUN_OWNER, MACVTAP_MODE, BRIDGE_MODE, INET6_ADDR_GEN_MODE = 1, 1, 4, 8
NO_ADDRESS, SKIP_STATISTICS = b"\1", 8  # IN6_ADDR_GEN_MODE_NONE, RTEXT_FILTER_SKIP_STATS
# IFLA_BRPORT_, and what each is other than by default
PORT = {"bpdu-guard": (5, b"\1"), "isolated": (33, b"\1"), "no-learning": (8, b"\0")}
IFF_UP, IFF_LOOPBACK = 0x1, 0x8

HEADER = Struct("=IHHII")  # length, type, flags, the message's number, port
INFO = Struct("=BxHiII")  # family, type, index, flags, which flags
ATTRIBUTE = Struct("=HH")
TIMEOUT_S, MAX_BYTES, DUMPS = 3.0, 1 << 20, 5


class Link(NamedTuple):
    """An interface, as the kernel describes it.

    Attributes:
        number: its index; a later interface of the same name has another.
        name: its first name, never one of its alternative names.
        kind: bridge, tun, macvtap; empty for hardware and lo.
        alias: the tag that a program has given it.
        mac: its Ethernet address.
        mtu: in bytes.
        master: the index of the bridge or bond that it is a port of, or 0.
        parent: the index of the interface below it, or 0.
        group: the number of its group of interfaces.
        flags: IFF_UP and IFF_LOOPBACK (netdevice(7)).
        carrier: whether it has a carrier; a tap has one while a program holds it.
        owner: the uid that may open a tap, or -1.
        is_bridge_mode: whether it is a macvtap of that mode.
        port: of a bridge's port, the words of PORT that are true of it.
    """

    number: int
    name: str
    kind: str
    alias: str
    mac: str
    mtu: int
    master: int
    parent: int
    group: int
    flags: int
    carrier: bool
    owner: int
    is_bridge_mode: bool
    port: str


def pack(kind: int, *content: bytes | int) -> bytes:
    """An attribute of bytes, of other attributes, or of a number of 32 bits."""
    data = b"".join(
        each.to_bytes(4, sys.byteorder) if isinstance(each, int) else each for each in content
    )
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, how: int, index: int, *attributes: bytes, flags: int = 0) -> bytes:
    """A message about a link."""
    body = INFO.pack(0, 0, index, flags, flags) + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | how, 0, 0) + body


def change(index: int, *attributes: bytes, up: bool = False) -> bytes:
    """The message that changes an interface, and switches it on."""
    return message(NEWLINK, 0, index, *attributes, flags=IFF_UP if up else 0)


def alias(tag: str) -> bytes:
    """The attribute for a tag."""
    return pack(IFALIAS, tag.encode())


def address(mac: str) -> bytes:
    """The attribute for an Ethernet address."""
    return pack(ADDRESS, bytes.fromhex(mac.replace(":", "")))


def port(words: str) -> bytes:
    """The attribute that makes words of PORT true of a bridge's port."""
    flags = [pack(*PORT[word]) for word in words.split()]
    return pack(LINKINFO, pack(INFO_SLAVE_DATA, *flags)) if flags else b""


QUIET = pack(AF_SPEC, pack(socket.AF_INET6, pack(INET6_ADDR_GEN_MODE, NO_ADDRESS)))


def create_macvtap(index: int, name: str, parent: int, mac: str) -> bytes:
    """The message that makes a macvtap in bridge mode, down, under an index that is free."""
    data = pack(INFO_DATA, pack(MACVTAP_MODE, BRIDGE_MODE))
    info = pack(LINKINFO, pack(INFO_KIND, b"macvtap"), data)
    named = pack(IFNAME, name.encode() + b"\0")
    return message(NEWLINK, EXCLUSIVE, index, named, address(mac), pack(LINK, parent), info)


def send(*messages: bytes, gone_is_fine: bool = False) -> None:
    """Has messages carried out, one after the other; only the last one asks for an answer.

    Raises:
        OSError: the first that the kernel refused; `filename` is its place. The others were done.
    """
    sent = bytearray()
    for order, each in enumerate(messages, 1):
        length, kind, how, _, _ = HEADER.unpack_from(each)
        how |= ACK if order == len(messages) else 0
        sent += HEADER.pack(length, kind, how, order, 0) + each[HEADER.size :]
    failed: OSError | None = None
    for number, _, order, _ in _exchange(sent):
        if number and not failed and not (gone_is_fine and number == errno.ENODEV):
            failed = OSError(number, os.strerror(number), order - 1)
        if order == len(messages):
            break
    if failed:
        raise failed


def delete(doomed: list[Link], links: list[Link]) -> None:
    """Deletes interfaces at once, so that the kernel waits once for all instead of for each.

    They join a group that no other interface is in, and the group is deleted.

    Args:
        doomed: the interfaces; one that is gone already is as good.
        links: all interfaces of the host.

    Raises:
        OSError: the kernel refused.
    """
    group = 1 << 30 | int.from_bytes(os.urandom(3), sys.byteorder)
    while any(each.group == group for each in links):
        group += 1
    joined = [change(each.number, pack(GROUP, group)) for each in doomed]
    send(*joined, message(DELLINK, 0, 0, pack(GROUP, group)), gone_is_fine=True)


def find_link(which: str | int) -> Link | None:
    """The interface of this name or index; the kernel finds alternative names too: compare."""
    name = pack(IFNAME, which.encode() + b"\0") if isinstance(which, str) else b""
    index = which if isinstance(which, int) else 0
    question = message(GETLINK, 0, index, name, pack(EXT_MASK, SKIP_STATISTICS))
    for number, _, _, body in _exchange(question):
        if number:
            return None
        return _parse_link(body)
    return None


def list_links() -> list[Link]:
    """Every interface; asked again when they changed meanwhile.

    Raises:
        OSError: the kernel refused, or they change all the time.
    """
    for _ in range(DUMPS):
        found: list[Link] = []
        whole = True
        for number, flags, _, body in _exchange(message(GETLINK, DUMP, 0, pack(EXT_MASK, 8))):
            whole = whole and not flags & INTERRUPTED
            if number:
                raise OSError(number, os.strerror(number))
            if not body:
                break
            found.append(_parse_link(body))
        if whole:
            return found
    raise OSError(errno.EAGAIN, "the interfaces change all the time")


def _exchange(sent: bytes | bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """What the kernel alone answers: error number, flags, the message's number, body."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(TIMEOUT_S)
        kernel.sendto(sent, (0, 0))
        while True:
            data, sender = kernel.recvfrom(MAX_BYTES)
            at = 0
            while sender[0] == 0 and at + HEADER.size <= len(data):
                length, kind, flags, order, _ = HEADER.unpack_from(data, at)
                body = data[at + HEADER.size : at + length] if kind != NLMSG_DONE else b""
                failed = kind == NLMSG_ERROR
                number = -int.from_bytes(body[:4], sys.byteorder, signed=True) if failed else 0
                yield number, flags, order, body
                at += max(HEADER.size, (length + 3) & ~3)


def _unpack(data: bytes) -> dict[int, bytes]:
    """The attributes of a message, or of an attribute, by their kinds."""
    found: dict[int, bytes] = {}
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + ATTRIBUTE.size : at + length]
        at += max(ATTRIBUTE.size, (length + 3) & ~3)
    return found


def _parse_link(body: bytes) -> Link:
    _, _, number, flags, _ = INFO.unpack_from(body)
    given = _unpack(body[INFO.size :])
    info = _unpack(given.get(LINKINFO, b""))
    data, slave = _unpack(info.get(INFO_DATA, b"")), _unpack(info.get(INFO_SLAVE_DATA, b""))

    def text(raw: bytes | None) -> str:
        return (raw or b"").rstrip(b"\0").decode("ascii", "backslashreplace")

    def integer(raw: bytes | None) -> int:
        return int.from_bytes(raw or b"", sys.byteorder)

    kind = text(info.get(INFO_KIND))
    return Link(
        number=number,
        name=text(given.get(IFNAME)),
        kind=kind,
        alias=text(given.get(IFALIAS)),
        mac=given.get(ADDRESS, b"").hex(":"),
        mtu=integer(given.get(MTU)),
        master=integer(given.get(MASTER)),
        parent=integer(given.get(LINK)),
        group=integer(given.get(GROUP)),
        flags=flags & (IFF_UP | IFF_LOOPBACK),
        carrier=bool(integer(given.get(CARRIER))),
        owner=integer(data[TUN_OWNER]) if kind == "tun" and TUN_OWNER in data else -1,
        is_bridge_mode=kind == "macvtap" and integer(data.get(MACVTAP_MODE)) == BRIDGE_MODE,
        port=" ".join(word for word, (flag, value) in PORT.items() if slave.get(flag) == value),
    )
