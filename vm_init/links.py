"""Taps and macvtaps: made for a user, joined to a bridge or an interface, taken back by their mark.

A tap lasts only from its last step on: killed before, nothing is left, because the kernel removes
it with our descriptor. A macvtap lasts from its first step on. Indexes are chosen here, by
chance, and are in the ledger before: what a kill leaves can be told apart, and no user can guess
the name of a macvtap's node.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from vm_init import netlink, nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.netlink import IFF_UP, Link, pack
from vm_init.policy import Granted
from vm_init.trusted import Opened

TUN = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETIFINDEX = (0x400454CA + n for n in (0, 1, 2, 16))
TAP_NO_PI_EXCL = 0x0002 | 0x1000 | 0x8000  # IFF_TUN_EXCL: never an interface that is there
IFREQ = struct.Struct("=16sH22x")
NET_ADDR_SET = "3"
IN_CREATE, IN_MOVED_TO, NODE_TIMEOUT_S = 0x100, 0x80, 3.0


def check(granted: Granted, caller: Caller) -> Record:
    """A record of an interface that is not there yet.

    Raises:
        InitError: its name or address is taken, or what it is to join cannot take it (77).
    """
    kind, name, mac = granted.request.kind, granted.request.name, granted.request.mac
    with suppress(OSError):  # there is none, nor an alternative name
        socket.if_nametoindex(name)
        raise InitError(f"{name}: there is an interface of this name already")
    if kind == "macvtap":
        _find_parent(granted.target)
        if any(link.mac == mac for link in netlink.list_links()):
            raise InitError(f"{name}: an interface has the address {mac} already")
    elif granted.target:
        bridge = _find_bridge(granted.target)
        if not _is_pinned(bridge.name) and not granted.bridge.get("pin"):
            fix = f"ip link set dev {bridge.name} address {bridge.mac}"
            problem = "its Ethernet address is not fixed, so the owner of a tap could change it"
            raise InitError(f"{bridge.name}: {problem}; as root: {fix}")
    index = (1 << 20) + int.from_bytes(os.urandom(4), "big") % (1 << 29)
    tag = f"vmman:{caller.uid}:{os.urandom(8).hex()}"
    return Record(kind, name, index, granted.target, "", mac, tag, get_port(granted))


def get_port(granted: Granted) -> str:
    """What the policy makes of the port of a tap, in words of `netlink.PORT`."""
    keys = granted.bridge
    words = [word for word in ("bpdu-guard", "isolated") if keys.get(word)]
    return " ".join([*words, *["no-learning"] * (keys.get("learning") is False)])


def give(records: Sequence[Record], caller: Caller) -> None:
    """Makes interfaces, each whole and up, before any tap among them lasts.

    Raises:
        InitError: a name was taken meanwhile, or the kernel refused; `take` undoes the rest.
    """
    try:
        with ExitStack() as stack:
            taps: list[int] = []
            for record in records:
                if record.kind == "tap":
                    taps.append(stack.enter_context(Opened(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))))
                    _create_tap(taps[-1], record, caller)
            steps = [step for one in records if one.kind == "tap" for step in _configure(one)]
            if steps:
                netlink.send(*steps)
            for record in records:
                if record.kind == "macvtap":
                    _create_macvtap(record, caller)
            links = netlink.list_links()
            wrong = [one.name for one in records if not _is_right(one, caller, links)]
            if wrong:
                raise InitError(f"{', '.join(wrong)}: is not as it was made", os.EX_UNAVAILABLE)
            for tap in taps:
                fcntl.ioctl(tap, TUNSETPERSIST, 1)
    except OSError as error:
        names = ", ".join(one.name for one in records)
        status = os.EX_NOPERM if error.errno in (errno.EBUSY, errno.EEXIST) else os.EX_UNAVAILABLE
        raise InitError(f"{names}: {error.strerror or error}", status) from None


def holds(record: Record, caller: Caller) -> bool:
    """Whether the interface is the one that was made, the caller's, up, and joined as recorded."""
    return _is_right(record, caller, netlink.list_links())


def take(records: Sequence[Record], uid: int, *, force: bool = False) -> list[str]:
    """Deletes interfaces, and no others of their names; for each empty, or why it stays.

    Args:
        records: what the ledger says.
        uid: whose they are; their tags say so too.
        force: delete a tap even while a program holds it. Whether one holds a macvtap the kernel
            does not tell.
    """
    del uid
    try:
        links = netlink.list_links()
        mine = [_find(record, links) for record in records]
        kept = [link is not None and link.kind == "tun" and link.carrier and not force
                for link in mine]  # fmt: skip
        gone = [link for link, stays in zip(mine, kept, strict=True) if link and not stays]
        if gone:
            netlink.delete(gone, links)
    except OSError as error:
        return [f"{record.name}: {error.strerror or error}" for record in records]
    both = zip(records, kept, strict=True)
    return [f"{record.name}: in use" if stays else "" for record, stays in both]


def _find(record: Record, links: list[Link]) -> Link | None:
    """The interface that bears the record's mark, or a macvtap that was to get it next."""
    kind = "tun" if record.kind == "tap" else record.kind
    marks = {record.tag} | ({""} if kind == "macvtap" else set[str]())
    for link in links:
        if (link.number, link.kind) == (record.number, kind) and link.alias in marks:
            return link if link.alias or link.name == record.name else None
    return None


def _is_right(record: Record, caller: Caller, links: list[Link]) -> bool:
    link = _find(record, links)
    if link is None or not link.flags & IFF_UP or (link.name, link.alias) != (
        record.name, record.tag,
    ):  # fmt: skip
        return False
    below = {each.number: each for each in links}.get(link.master or link.parent)
    if (below.name if below else "") != record.target:
        return False
    if record.kind == "tap":
        is_port = not below or below.kind == "bridge"
        return is_port and (link.owner, link.port) == (caller.uid, record.port)
    return link.is_bridge_mode and link.mac == record.mac and _owns_node(record, caller)


def _find_bridge(name: str) -> Link:
    """The bridge of this first name.

    Raises:
        InitError: there is none (77).
    """
    link = netlink.find_link(name)
    if link is None or (link.name, link.kind) != (name, "bridge"):
        raise InitError(f"{name}: there is no such bridge")
    return link


def _is_pinned(bridge: str) -> bool:
    """Whether a bridge's Ethernet address is fixed; else it follows its ports'."""
    with open(f"/sys/class/net/{bridge}/addr_assign_type", encoding="ascii") as file:
        return file.read().strip() == NET_ADDR_SET


def _create_tap(tap: int, record: Record, caller: Caller) -> None:
    """Makes a tap, which lasts as long as its descriptor is open."""
    fcntl.ioctl(tap, TUNSETIFINDEX, struct.pack("=i", record.number))
    wanted = IFREQ.pack(record.name.encode("ascii"), TAP_NO_PI_EXCL)
    name = IFREQ.unpack(fcntl.ioctl(tap, TUNSETIFF, wanted))[0].rstrip(b"\0").decode("ascii")
    if name != record.name:  # the kernel cuts names and fills in a %d
        raise InitError(f"{record.name}: became {name!a}", os.EX_UNAVAILABLE)
    fcntl.ioctl(tap, TUNSETOWNER, caller.uid)


def _configure(record: Record) -> tuple[bytes, bytes]:
    """Tag the tap, give it an address above every other, join it; then switch it on."""
    mac = f"fe:{bytes.fromhex(record.tag[-16:])[:5].hex(':')}"
    joined: list[bytes] = []
    if record.target:
        bridge = _find_bridge(record.target)
        if not _is_pinned(bridge.name):  # `check` has seen that the policy says `pin = true`
            netlink.send(netlink.change(bridge.number, netlink.address(bridge.mac)))
        joined = [pack(netlink.MTU, bridge.mtu), pack(netlink.MASTER, bridge.number)]
    first = [netlink.alias(record.tag), netlink.address(mac), *joined, netlink.QUIET]
    last = netlink.change(record.number, netlink.port(record.port), up=True)
    return netlink.change(record.number, *first), last


def _find_parent(name: str) -> Link:
    """The interface below a macvtap: the host's own, and no port of another.

    Raises:
        InitError: it cannot carry one (77).
    """
    link = netlink.find_link(name)
    if link is None or link.name != name or link.flags & netlink.IFF_LOOPBACK or link.master:
        raise InitError(f"{name}: there is no such interface, or it is lo or a port of another")
    return link


def _create_macvtap(record: Record, caller: Caller) -> None:
    parent = _find_parent(record.target)
    create = netlink.create_macvtap(record.number, record.name, parent.number, record.mac)
    netlink.send(create, netlink.change(record.number, netlink.alias(record.tag), netlink.QUIET))
    with Opened(_wait_for_node(f"/dev/tap{record.number}")) as fd:
        seen = os.fstat(fd)
        # Another network namespace's macvtap may have taken the name of the node.
        if seen.st_rdev != _get_device(record) or seen.st_uid not in (0, caller.uid):
            raise InitError(f"{record.name}: its node is another's", os.EX_UNAVAILABLE)
        os.chown(f"/proc/self/fd/{fd}", caller.uid, -1)
    netlink.send(netlink.change(record.number, up=True))


def _get_device(record: Record) -> int:
    """The device number that the kernel gave to this interface's node."""
    path = f"/sys/class/net/{record.name}/tap{record.number}/dev"
    with open(path, encoding="ascii") as file:
        major, minor = file.read().split(":")
    return os.makedev(int(major), int(minor))


def _owns_node(record: Record, caller: Caller) -> bool:
    with suppress(InitError, OSError), Opened(nodes.pin(f"/dev/tap{record.number}")) as fd:
        seen = os.fstat(fd)
        return (seen.st_uid, seen.st_rdev) == (caller.uid, _get_device(record))
    return False


def _wait_for_node(path: str) -> int:
    """The pinned node, as soon as it is there: inotify(7) on its directory.

    Raises:
        InitError: it did not come in time, or is not what it should be (69).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Opened(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)) as events:
        libc.inotify_add_watch(events, os.fsencode(os.path.dirname(path)), IN_CREATE | IN_MOVED_TO)
        until = time.monotonic() + NODE_TIMEOUT_S
        while not os.path.lexists(path) and (left := until - time.monotonic()) > 0:
            if select.select([events], [], [], left)[0]:
                os.read(events, 1 << 16)
        return nodes.pin(path)
