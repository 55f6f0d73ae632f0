"""Links of the host, read and changed by rtnetlink(7).

pyroute2 encodes and decodes the messages; a plain socket carries them. Only its message classes are
imported, at the first call, past the package's own `__init__`: that one loads 300 modules more.
Every change is answered by the kernel when it is carried out, so nothing here waits.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from vm_init.verdict import InitError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Change", "Link", "change", "create_macvtap", "delete", "link", "links"]

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP, EXCLUSIVE = 0x1, 0x4, 0x300, 0x600  # the last: NLM_F_CREATE | NLM_F_EXCL
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
NAMES = {
    "alias": "IFLA_IFALIAS",
    "mac": "IFLA_ADDRESS",
    "mtu": "IFLA_MTU",
    "master": "IFLA_MASTER",
}
NO_ADDRESS = 1  # IN6_ADDR_GEN_MODE_NONE
HEADER = struct.Struct("=IH10x")
ATTRIBUTE = struct.Struct("=HH")
# IFLA_ADDRESS, IFNAME, MTU, LINK, MASTER, LINKINFO, IFALIAS, CARRIER
WANTED = {1, 3, 4, 5, 10, 18, 20, 33}
MOST_BYTES = 1 << 20
PATIENCE_S = 3.0


class Link(NamedTuple):
    """An interface of the host, as the kernel tells it.

    Attributes:
        number: its index; a later interface of the same name has another.
        name: its first name, never one of its alternative names.
        kind: bridge, tun, macvtap; empty for hardware and lo.
        alias: the text that a program has tagged it with.
        mac: its Ethernet address.
        mtu: in bytes.
        master: the number of the bridge or bond that it is a port of, or 0.
        parent: the number of the interface below it, or 0.
        up: whether it is on.
        carrier: whether it has a carrier; a tap has one while a program holds it.
        loopback: whether it is lo.
        owner: the uid that may open a tap, or -1.
        mode: of a macvtap.
    """

    number: int
    name: str
    kind: str
    alias: str
    mac: str
    mtu: int
    master: int
    parent: int
    up: bool
    carrier: bool
    loopback: bool
    owner: int
    mode: str


def link(which: str | int) -> Link | None:
    """The interface of this name or index, or None.

    The kernel finds it by an alternative name as well: whoever asks compares `name`.
    """
    message = _message(which if isinstance(which, int) else 0)
    if isinstance(which, str):
        message["attrs"] = [("IFLA_IFNAME", which)]
    try:
        return next(_answers(message, GETLINK, 0), None)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def links() -> list[Link]:
    """Every interface."""
    return list(_answers(_message(0), GETLINK, DUMP))


class Change(TypedDict, total=False):
    """What to change of an interface; what is not given stays.

    Attributes:
        alias: its tag.
        mac: its Ethernet address.
        mtu: in bytes.
        master: the number of a bridge to join.
        quiet: that it makes no IPv6 address of its own (addrgenmode none).
        up: that it is switched on; in one change the kernel does this before `quiet`.
    """

    alias: str
    mac: str
    mtu: int
    master: int
    quiet: Literal[True]
    up: Literal[True]


def change(number: int, given: Change) -> None:
    """Change an interface.

    Raises:
        OSError: the kernel refused.
    """
    message = _message(number)
    attributes = [(key, given.get(name)) for name, key in NAMES.items() if name in given]
    if "quiet" in given:
        family = _nested(("IFLA_INET6_ADDR_GEN_MODE", NO_ADDRESS))
        attributes.append(("IFLA_AF_SPEC", _nested(("AF_INET6", family))))
    message["attrs"] = attributes
    if "up" in given:
        message["flags"] = message["change"] = IFF_UP
    _told(message, NEWLINK, 0)


def create_macvtap(number: int, name: str, parent: int, mac: str) -> None:
    """Make a macvtap, in bridge mode and down, under an index that is free.

    Raises:
        OSError: the kernel refused: EEXIST, EBUSY when there is one of this name or index.
    """
    message = _message(number)
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac),
        ("IFLA_LINK", parent),
        (
            "IFLA_LINKINFO",
            _nested(
                ("IFLA_INFO_KIND", "macvtap"),
                ("IFLA_INFO_DATA", _nested(("IFLA_MACVTAP_MODE", "bridge"))),
            ),
        ),
    ]
    _told(message, NEWLINK, EXCLUSIVE)


def delete(number: int) -> None:
    """Delete an interface; one that is gone already is as good.

    Raises:
        OSError: the kernel refused.
    """
    try:
        _told(_message(number), DELLINK, 0)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _nested(*attributes: tuple[str, Any]) -> dict[str, Any]:
    return {"attrs": list(attributes)}


def _message(number: int) -> Any:
    message = _codec()()
    message["index"] = number
    return message


def _codec() -> Any:
    """pyroute2's `ifinfmsg`, and of pyroute2 nothing that it does not need."""
    if "pyroute2" not in sys.modules:
        spec = PathFinder.find_spec("pyroute2", sys.path)
        if spec is None or spec.submodule_search_locations is None:
            raise InitError("pyroute2 is not installed beside vm-init", os.EX_CONFIG)
        package = ModuleType("pyroute2")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["pyroute2"] = package
    return import_module("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg


def _told(message: Any, kind: int, flags: int) -> None:
    for _ in _answers(message, kind, flags | ACK):
        pass


def _answers(message: Any, kind: int, flags: int) -> Iterator[Link]:
    """The links that the kernel, and nobody else, answers with."""
    message["header"]["type"] = kind
    message["header"]["flags"] = REQUEST | flags
    message["header"]["sequence_number"] = 1
    message.encode()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(PATIENCE_S)
        kernel.sendto(message.data, (0, 0))
        more = True
        while more:
            data, sender = kernel.recvfrom(MOST_BYTES)
            if sender[0] != 0:
                continue
            more = flags == DUMP
            for part, body in _parts(data):
                if part == NLMSG_DONE:
                    return
                if part == NEWLINK:
                    yield _link(type(message)(_wanted(body)))


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of a datagram, each with its type; an error that one of them tells is raised."""
    while len(data) >= HEADER.size:
        length, part = HEADER.unpack_from(data)
        if part == NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", data, 16)
            if number:
                raise OSError(-number, os.strerror(-number))
        yield part, data[:length]
        data = data[max(HEADER.size, (length + 3) & ~3) :]


def _wanted(body: bytes) -> bytes:
    """The message without the attributes that nobody asks for: they are most of the decoding."""
    kept, rest = body[:32], body[32:]
    while len(rest) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(rest)
        aligned = max(ATTRIBUTE.size, (length + 3) & ~3)
        if kind & 0x3FFF in WANTED:
            kept += rest[:aligned]
        rest = rest[aligned:]
    return len(kept).to_bytes(4, sys.byteorder) + kept[4:]


def _link(message: Any) -> Link:
    message.decode()
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""

    def told(name: str, otherwise: Any = 0) -> Any:
        value = message.get_attr(name)
        return otherwise if value is None else value

    def data(name: str, otherwise: Any) -> Any:
        value = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", name)
        return otherwise if value is None else value

    return Link(
        number=message["index"],
        name=told("IFLA_IFNAME", ""),
        kind=kind,
        alias=told("IFLA_IFALIAS", ""),
        mac=told("IFLA_ADDRESS", ""),
        mtu=told("IFLA_MTU"),
        master=told("IFLA_MASTER"),
        parent=told("IFLA_LINK"),
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(told("IFLA_CARRIER")),
        loopback=bool(message["flags"] & IFF_LOOPBACK),
        owner=data("IFLA_TUN_OWNER", -1) if kind == "tun" else -1,
        mode=data("IFLA_MACVTAP_MODE", "") if kind == "macvtap" else "",
    )
