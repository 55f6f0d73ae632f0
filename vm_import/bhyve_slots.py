"""What `bhyve -s` makes of a device's words, for each device in its own way.

Source: bhyve(8), -s; the `pe_legacy_config` functions of usr.sbin/bhyve.
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import is_node, put, put_word, wrong
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_import.bhyve_config import Tree

__all__ = ["DEVICES", "LEGACY", "slot"]

LEGACY = {"ahci-hd": "ahci", "ahci-cd": "ahci", "amd_hostbridge": "hostbridge"}
"""Names that only `-s` knows, and what they are names of."""
DEVICES = (
    *("hostbridge", "lpc", "passthru", "virtio-blk", "virtio-net", "virtio-scsi", "virtio-9p"),
    *("virtio-console", "virtio-rnd", "virtio-input", "ahci", "nvme", "e1000", "fbuf", "xhci"),
    *("hda", "uart"),
)
AHCI_PORTS = 32
CONSOLE_PORTS = 16
NUMBER = r"\s*([+-]?[0-9]{1,99})"  # one of a place or of a device has three
PLACES = tuple(re.compile(":".join([NUMBER] * count), re.ASCII) for count in (3, 2, 1))
PASSED = tuple(
    re.compile(start + NUMBER + sign + NUMBER + sign + NUMBER, re.ASCII)
    for start, sign in (("pci0:", ":"), ("pci", ":"), ("", "/"))
)


def slot(tree: Tree, given: str) -> None:
    """Puts one `-s` into the tree.

    Raises:
        VmError: bhyve refuses it, in its words.
    """
    where, _, rest = given.partition(",")
    place = _place(where)
    if not rest or place is None:
        raise wrong(f'Invalid PCI slot info field "{given}"')
    name, comma, words = rest.partition(",")
    at = "{}:{}:{}".format(*place)
    if name not in DEVICES and name not in LEGACY:
        raise wrong(f'pci slot {at}: unknown device "{name}"')
    node = "pci.{}.{}.{}".format(*place)
    if is_node(tree, node):
        raise wrong(f"pci slot {at} already occupied!")
    put(tree, f"{node}.device", LEGACY.get(name, name))
    OWN.get(name, _plain)(tree, f"{node}.", words if comma else None)


def _place(text: str) -> tuple[int, int, int] | None:
    """Bus, slot and function, read as sscanf(3) reads them: what follows is ignored."""
    for pattern in PLACES:
        if found := pattern.match(text):
            numbers = [int(part) for part in found.groups()]
            break
    else:
        return None
    if len(numbers) < 3:
        numbers = [0, *numbers, 0][:3]
    bus, number, function = numbers
    good = 0 <= bus <= 255 and 0 <= number <= 31 and 0 <= function <= 7
    return (bus, number, function) if good else None


def _plain(tree: Tree, node: str, words: str | None) -> None:
    if words is not None:
        for word in words.split(","):
            put_word(tree, node, word)


def _first(key: str) -> Callable[[Tree, str, str | None], None]:
    """A device whose first word is taken whole, whatever is in it."""

    def read(tree: Tree, node: str, words: str | None) -> None:
        if words is not None:
            text, comma, rest = words.partition(",")
            put(tree, node + key, text)
            _plain(tree, node, rest if comma else None)

    return read


def _ahci_port(kind: str) -> Callable[[Tree, str, str | None], None]:
    def read(tree: Tree, node: str, words: str | None) -> None:
        if words is not None:
            put(tree, f"{node}port.0.type", kind)
            _first("path")(tree, f"{node}port.0.", words)

    return read


def _ahci(tree: Tree, node: str, words: str | None) -> None:
    ports = re.split(r",(?=hd:|cd:)", words) if words else []
    for number, port in enumerate(ports[:AHCI_PORTS]):
        kind = port[:2] if port.startswith(("hd:", "cd:")) else ""
        text = port.removeprefix(f"{kind}:")
        if kind:
            put(tree, f"{node}port.{number}.type", kind)
        if text:
            _first("path")(tree, f"{node}port.{number}.", text)


def _nvme(tree: Tree, node: str, words: str | None) -> None:
    is_ram = words is not None and words.startswith("ram=")
    (_plain if is_ram else _first("path"))(tree, node, words)


def _shares(tree: Tree, node: str, words: str | None) -> None:
    for word in words.split(",") if words is not None else ():
        name, equals, path = word.partition("=")
        if not equals:
            put_word(tree, node, word)
        elif f"{node}sharename" in tree:
            raise wrong("virtio-9p: more than one share name given")
        else:
            put(tree, f"{node}sharename", name)
            put(tree, f"{node}path", path)


def _console(tree: Tree, node: str, words: str | None) -> None:
    if words is None:
        raise wrong("bhyve crashes on a virtio-console without ports", status=139)
    for number, word in enumerate(words.split(",")):
        name, equals, path = word.partition("=")
        if not equals:
            raise wrong(f"vtcon: port {name} requires a path")
        put(tree, f"{node}port.{number}.name", name)
        put(tree, f"{node}port.{number}.path", path)


def _passthru(tree: Tree, node: str, words: str | None) -> None:
    if words is None:
        return
    source, comma, rest = words.partition(",")
    found = next((found for pattern in PASSED if (found := pattern.match(source))), None)
    if source.startswith("ppt"):
        put(tree, f"{node}pptdev", source)
    elif found:
        for key, number in zip(("bus", "slot", "func"), found.groups(), strict=True):
            put(tree, node + key, str(int(number)))
    else:
        raise wrong(f'passthru: invalid options "{words}"')
    _plain(tree, node, rest if comma else None)


def _usb(tree: Tree, node: str, words: str | None) -> None:
    for number, word in enumerate(words.split(",") if words is not None else (), 1):
        name, equals, rest = word.partition("=")
        put(tree, f"{node}slot.{number}.device", name)
        if equals:
            put_word(tree, f"{node}slot.{number}.", rest)


def _uart(tree: Tree, node: str, words: str | None) -> None:
    if words is not None:
        put(tree, f"{node}path", words)


def _amd(tree: Tree, node: str, words: str | None) -> None:
    put(tree, f"{node}pcireg.vendor", "0x1022")
    put(tree, f"{node}pcireg.device", "0x7432")
    _plain(tree, node, words)


OWN: dict[str, Callable[[Tree, str, str | None], None]] = {
    "ahci": _ahci,
    "ahci-cd": _ahci_port("cd"),
    "ahci-hd": _ahci_port("hd"),
    "amd_hostbridge": _amd,
    "e1000": _first("backend"),
    "nvme": _nvme,
    "passthru": _passthru,
    "uart": _uart,
    "virtio-9p": _shares,
    "virtio-blk": _first("path"),
    "virtio-console": _console,
    "virtio-input": _first("path"),
    "virtio-net": _first("backend"),
    "virtio-scsi": _first("target.0"),
    "xhci": _usb,
}
