"""Links of the host, read and changed by rtnetlink(7).

Taps are what most people have, and many: their few attributes are packed and read here, and many
changes go to the kernel in one write. It carries each out before it answers, so nothing here waits.
pyroute2 packs what is rarer, a new macvtap: only its message class is imported, at that moment and
past the package's own `__init__`, which would load 300 modules more.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, NamedTuple

from vm_init import rtnetlink as rt
from vm_init.verdict import InitError

# linux/if_link.h, each IFLA_
ADDRESS, IFNAME, MTU, LINK, MASTER, LINKINFO = 1, 3, 4, 5, 10, 18
IFALIAS, AF_SPEC, GROUP, EXT_MASK, CARRIER = 20, 26, 27, 29, 33
INFO_KIND, INFO_DATA, INFO_SLAVE_DATA = 1, 2, 5
TUN_OWNER, MACVTAP_MODE, INET6_ADDR_GEN_MODE = 1, 1, 8
# IFLA_BRPORT_, and what each is other than by default
PORT = {"bpdu-guard": (5, b"\1"), "isolated": (33, b"\1"), "no-learning": (8, b"\0")}
BRIDGE_MODE = 4  # MACVLAN_MODE_BRIDGE
NO_ADDRESS, NO_STATISTICS = b"\1", b"\10\0\0\0"  # IN6_ADDR_GEN_MODE_NONE, RTEXT_FILTER_SKIP_STATS
IFF_UP, IFF_LOOPBACK = 0x1, 0x8


Change = dict[str, Any]


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
        group: the number of the group of interfaces that it is in.
        up: whether it is on.
        carrier: whether it has a carrier; a tap has one while a program holds it.
        loopback: whether it is lo.
        owner: the uid that may open a tap, or -1.
        is_bridge_mode: whether it is a macvtap of that mode.
        port: of a bridge's port, the words of `PORT` that are true of it.
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
    up: bool
    carrier: bool
    loopback: bool
    owner: int
    is_bridge_mode: bool
    port: str


def link(which: str | int) -> Link | None:
    """The interface of this name or index, or None.

    The kernel finds it by an alternative name as well: whoever asks compares `name`.
    """
    by_name = rt.attribute(IFNAME, which.encode() + b"\0") if isinstance(which, str) else b""
    number = which if isinstance(which, int) else 0
    try:
        question = rt.message(rt.GETLINK, 0, number, by_name, _LEAN)
        return next(map(_link, rt.told(question)), None)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def links() -> list[Link]:
    """Every interface."""
    return list(map(_link, rt.told(rt.message(rt.GETLINK, rt.DUMP, 0, _LEAN))))


def change(*changes: tuple[int, Change]) -> None:
    """Change interfaces, each named by its index, one after the other; what is not given stays.

    Args:
        changes: of each interface its index, and any of

            alias: its tag.
            mac: its Ethernet address.
            mtu: in bytes.
            master: the number of a bridge to join.
            group: the number of a group of interfaces.
            quiet: that it makes no IPv6 address of its own (addrgenmode none).
            port: words of `PORT` that are to be true of a bridge's port.
            up: that it is switched on; in one change the kernel does this after `port` and before
                `quiet`.

    Raises:
        OSError: the kernel refused one of them; its index is `filename`. The others were done.
    """
    rt.tell(*((number, _changed(number, given)) for number, given in changes))


def delete(number: int) -> None:
    """Delete an interface; one that is gone already is as good.

    Raises:
        OSError: the kernel refused.
    """
    rt.tell((number, rt.message(rt.DELLINK, 0, number)), gone_is_fine=True)


def delete_all(doomed: list[Link], everything: list[Link]) -> None:
    """Delete interfaces at once, so that the kernel waits once for all instead of for each.

    They are put in a group that no other interface is in, and the group is deleted.

    Args:
        doomed: the interfaces; one that is gone already is as good.
        everything: all interfaces of the host.

    Raises:
        OSError: the kernel refused.
    """
    group = 1 << 30 | int.from_bytes(os.urandom(3), sys.byteorder)
    while any(each.group == group for each in everything):
        group += 1
    joined = [(each.number, _changed(each.number, {"group": group})) for each in doomed]
    last = (0, rt.message(rt.DELLINK, 0, 0, rt.integer(GROUP, group)))
    rt.tell(*joined, last, gone_is_fine=True)


def create_macvtap(number: int, name: str, parent: int, mac: str) -> None:
    """Make a macvtap, in bridge mode and down, under an index that is free.

    Raises:
        OSError: the kernel refused: EEXIST, EBUSY when there is one of this name or index.
    """
    message = _codec()()
    mode = {"attrs": [("IFLA_MACVTAP_MODE", "bridge")]}
    info = {"attrs": [("IFLA_INFO_KIND", "macvtap"), ("IFLA_INFO_DATA", mode)]}
    message["index"] = number
    message["attrs"] = [
        *(("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_LINK", parent)),
        ("IFLA_LINKINFO", info),
    ]
    message.encode()
    attributes = bytes(message.data[32:])
    rt.tell((number, rt.message(rt.NEWLINK, rt.EXCLUSIVE, number, attributes)))


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


_LEAN = rt.attribute(EXT_MASK, NO_STATISTICS)


_PACKED: dict[str, Callable[[Any], bytes]] = {
    "alias": lambda text: rt.attribute(IFALIAS, text.encode()),
    "mac": lambda text: rt.attribute(ADDRESS, bytes.fromhex(text.replace(":", ""))),
    "mtu": lambda number: rt.integer(MTU, number),
    "master": lambda number: rt.integer(MASTER, number),
    "group": lambda number: rt.integer(GROUP, number),
    "quiet": lambda _: rt.attribute(
        AF_SPEC, rt.attribute(socket.AF_INET6, rt.attribute(INET6_ADDR_GEN_MODE, NO_ADDRESS))
    ),
    "port": lambda words: rt.attribute(LINKINFO, _port(words.split())),
    "up": lambda _: b"",
}


def _port(words: list[str]) -> bytes:
    return rt.attribute(INFO_SLAVE_DATA, *(rt.attribute(*PORT[word]) for word in words))


def _changed(number: int, given: Change) -> bytes:
    data = [_PACKED[key](value) for key, value in given.items() if value]
    return rt.message(rt.NEWLINK, 0, number, *data, flags=IFF_UP if "up" in given else 0)


def _link(body: bytes) -> Link:
    _, _, number, flags, _ = rt.INFO.unpack_from(body)
    told = rt.parts(body[rt.INFO.size :])
    info = rt.parts(told.get(LINKINFO, b""))
    data, port = rt.parts(info.get(INFO_DATA, b"")), rt.parts(info.get(INFO_SLAVE_DATA, b""))
    kind = rt.text(info.get(INFO_KIND))
    return Link(
        number=number,
        name=rt.text(told.get(IFNAME)),
        kind=kind,
        alias=rt.text(told.get(IFALIAS)),
        mac=told.get(ADDRESS, b"").hex(":"),
        mtu=rt.value(told.get(MTU)),
        master=rt.value(told.get(MASTER)),
        parent=rt.value(told.get(LINK)),
        group=rt.value(told.get(GROUP)),
        up=bool(flags & IFF_UP),
        carrier=bool(rt.value(told.get(CARRIER))),
        loopback=bool(flags & IFF_LOOPBACK),
        owner=rt.value(data[TUN_OWNER]) if kind == "tun" and TUN_OWNER in data else -1,
        is_bridge_mode=kind == "macvtap" and rt.value(data.get(MACVTAP_MODE)) == BRIDGE_MODE,
        port=" ".join(word for word, (flag, value) in PORT.items() if port.get(flag) == value),
    )
