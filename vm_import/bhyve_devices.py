"""What bhyve refuses of the devices on its PCI bus, before any file of the host is opened.

Source: usr.sbin/bhyve: pci_emul.c, pci_lpc.c, pci_fbuf.c, pci_virtio_net.c, net_backends.c.
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import get, is_true, strtol, wrong
from vm_import.bhyve_known import devices
from vm_import.bhyve_slots import DEVICES, LEGACY
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vm_spec.fault import VmError

__all__ = ["checked"]

FAILED = "Device emulation initialization error: No such file or directory"
INVALID = "Device emulation initialization error: Invalid argument"
BACKENDS = ("tap", "vmnet", "netgraph", "netmap", "vale", "slirp", "ngd")
MAC = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}", re.ASCII)
TCP = re.compile(r"tcp=(\[[^]]*\]|[^:]*):([0-9]+)", re.ASCII)
VNC = re.compile(r"unix:.+|(([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9A-Za-z._-]+)?\])?:)?[0-9]*", re.ASCII)
SMALLEST, LARGEST = (640, 480), (3840, 2160)
MTU = range(46, 65536)


def checked(tree: Mapping[str, str]) -> list[str]:
    """What bhyve says while it starts the devices, and starts all the same.

    Raises:
        VmError: it ends there, in its words and with its exit status.
    """
    messages: list[str] = []
    kinds: list[str] = []
    bootindexes: dict[str, str] = {}
    for place, keys in devices(tree).items():
        node = "pci.{}.{}.{}".format(*place)
        kind = _kind("{}:{}:{}".format(*place), keys)
        if kind in ("fbuf", "lpc") and kind in kinds:
            raise wrong(ONLY_ONE[kind], FAILED)
        kinds.append(kind)
        if kind == "lpc" and place[0]:
            raise wrong("LPC bridge can be present only on bus 0.", FAILED)
        messages += OF.get(kind, _nothing)(tree, node)
        _bootindex(bootindexes, f"{kind}@{node}", get(tree, f"{node}.bootindex"))
    return messages


ONLY_ONE = {
    "fbuf": "Only one frame buffer device is allowed.",
    "lpc": "Only one LPC bridge is allowed.",
}


def _kind(at: str, keys: Mapping[str, str]) -> str:
    kind = keys.get("device", "")
    if not kind:
        raise wrong(f'pci slot {at}: missing "device" value', FAILED)
    if kind in LEGACY:
        said = f'pci slot {at}: legacy device "{kind}", use "{LEGACY[kind]}" instead'
        raise wrong(said, FAILED)
    if kind not in DEVICES:
        raise wrong(f'pci slot {at}: unknown device "{kind}"', FAILED)
    return kind


def _bootindex(taken: dict[str, str], device: str, index: str) -> None:
    if index in taken:
        said = f"Could not set bootindex {index} for {device}."
        raise wrong(f"bhyve: {said} Bootindex already occupied by {taken[index]}")
    if index:
        taken[index] = device


def _nothing(_tree: Mapping[str, str], _node: str) -> Iterator[str]:
    yield from ()


def _lpc(tree: Mapping[str, str], _node: str) -> Iterator[str]:
    terminals = 0
    for number in range(1, 5):
        end = get(tree, f"lpc.com{number}.path")
        failed = f"Unable to initialize backend '{end}' for LPC device com{number}"
        terminals += end == "stdio"
        if end == "stdio" and terminals > 1:
            raise wrong(failed, FAILED)
        if end.startswith("tcp"):
            _listens(end, failed)
    yield from ()


def _listens(end: str, failed: str) -> None:
    found = TCP.fullmatch(end)
    if not found:
        raise wrong("bhyve: Invalid number of parameter", failed, FAILED)
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[0-9.]+", found[1], re.ASCII):
        raise wrong(f"bhyve: Invalid address {end.removeprefix('tcp=')}", failed, FAILED)


def _disk(tree: Mapping[str, str], node: str) -> Iterator[str]:
    if not get(tree, f"{node}.path") and not get(tree, f"{node}.ram"):
        missing = "Could not open backing file: No such file or directory"
        raise wrong('Missing "path" for block device.', missing, FAILED)
    yield from ()


def _share(tree: Mapping[str, str], node: str) -> Iterator[str]:
    for key in ("path", "sharename"):
        if not get(tree, f"{node}.{key}"):
            raise wrong(f"virtio-9p: {key} required", FAILED)
    yield from ()


def _card(tree: Mapping[str, str], node: str) -> Iterator[str]:
    mac, mtu, backend = (get(tree, f"{node}.{key}") for key in ("mac", "mtu", "backend"))
    if not backend:
        raise wrong("bhyve crashes on a network card without a backend", status=139)
    if f"{node}.mac" in tree and not _is_unicast(mac):
        raise wrong(f"Invalid MAC {mac}", FAILED)
    has_mtu = tree[f"{node}.device"] == "virtio-net" and f"{node}.mtu" in tree
    if has_mtu and strtol(mtu) not in MTU:
        raise wrong(INVALID)
    if not get(tree, f"{node}.type", backend).startswith(BACKENDS):
        raise wrong(FAILED)
    yield from ()


def _is_unicast(mac: str) -> bool:
    octets = [int(part, 16) for part in mac.split(":")] if MAC.fullmatch(mac) else [1]
    return any(octets) and not octets[0] & 1


def _passthru(tree: Mapping[str, str], _node: str) -> Iterator[str]:
    if not is_true(tree, "memory.wired"):
        raise wrong("passthru requires guest memory to be wired", FAILED)
    yield from ()


def _screen(tree: Mapping[str, str], node: str) -> Iterator[str]:
    vga = get(tree, f"{node}.vga", "io")
    if vga not in ("io", "on", "off"):
        raise wrong(f'fbuf: Invalid vga setting: "{vga}"', FAILED)
    size = [_pixels(get(tree, f"{node}.{key}", low)) for key, low in (("w", "1024"), ("h", "768"))]
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        raise wrong("fbuf: minimum resolution is 640x480", FAILED)
    if size[0] > LARGEST[0] or size[1] > LARGEST[1]:
        raise wrong("fbuf: maximum resolution is 3840x2160", FAILED)
    if not VNC.fullmatch(get(tree, f"{node}.rfb") or get(tree, f"{node}.tcp")):
        raise wrong("getaddrinfo: Name or service not known", FAILED)
    if vga == "on":
        yield "pci_fbuf: VGA rendering not enabled"


def _pixels(text: str) -> int:
    """A number as strtol(3) reads it in base 10: what follows it is ignored, and none is 0."""
    found = re.match(r"\s*([+-]?[0-9]{1,18})", text, re.ASCII)
    return int(found[1]) if found else 0


def _tty(tree: Mapping[str, str], node: str) -> Iterator[str]:
    if not get(tree, f"{node}.path"):
        raise _crash("a uart without its host's end")
    yield from ()


def _ports(tree: Mapping[str, str], node: str) -> Iterator[str]:
    if not any(key.startswith(f"{node}.port.") for key in tree):
        raise _crash("a virtio-console without ports")
    yield from ()


def _crash(what: str) -> VmError:
    return wrong(f"bhyve crashes on {what}", status=139)


OF: dict[str, Callable[[Mapping[str, str], str], Iterator[str]]] = {
    "e1000": _card,
    "fbuf": _screen,
    "lpc": _lpc,
    "nvme": _disk,
    "passthru": _passthru,
    "uart": _tty,
    "virtio-9p": _share,
    "virtio-blk": _disk,
    "virtio-console": _ports,
    "virtio-net": _card,
}
