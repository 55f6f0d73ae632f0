"""How large numbers may be and how long texts in bhyve's keys, and which words it knows.

bhyve ends, cuts a text off or says nothing and takes its default for what is beyond.
Source: bhyve_config(5); usr.sbin/bhyve: block_if.c, pci_ahci.c, pci_nvme.c, pci_virtio_scsi.c.
"""

from __future__ import annotations

import re

from vm_run.bhyve.settings import is_secret
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = tuple[Callable[[str], bool], str]

__all__ = ["LONGEST_SOCKET", "beyond"]

NUMBER = re.compile("0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}", re.ASCII)
SECTORS = re.compile("([0-9]{1,9})(?:/([0-9]{1,9}))?", re.ASCII)
NUMBERED = re.compile(r"(port|slot|target)\.([0-9]+)(.*)", re.ASCII)
COUNTS = {  # device -> its numbered parts, from and to
    "ahci": (0, 31),
    "virtio-console": (0, 15),
    "virtio-scsi": (0, 255),
    "xhci": (1, 4),
}
LONGEST_SOCKET = 103  # bytes of a path that fits into sockaddr_un, unix(4)


def beyond(kind: str, key: str, text: str) -> Iterator[Fault]:
    """A fault if bhyve does not take this text for a key.

    Args:
        kind: the device in bhyve_config(5); empty for the machine itself.
        key: of a device, relative to its node.
        text: its value; one with a variable is not judged.
    """
    part = NUMBERED.fullmatch(key)
    if part and kind in COUNTS:
        low, high = COUNTS[kind]
        if not low <= int(part[2]) <= high:
            hint = f"number them from {low} to {high}"
            yield Fault(problem=f"{kind} has no {part[1]} {part[2]} for {key}", hint=hint)
        key = f"{part[1]}{part[3]}"
    rule = RULES.get(kind, {}).get(key)
    if rule and "%" not in text and not rule[0](text):
        shown = key if is_secret(key) else f"{key} {text!r}"
        yield Fault(problem=f"{shown} is nothing that bhyve takes", hint=f"it takes {rule[1]}")


def _whole(low: int, high: int) -> Rule:
    def fits(text: str) -> bool:
        base = 16 if text[:2].lower() == "0x" else 10
        return bool(NUMBER.fullmatch(text)) and low <= int(text, base) <= high

    return fits, f"{low} to {high}"


def _longest(most: int) -> Rule:
    return lambda text: len(text.encode()) <= most, f"at most {most} bytes"


def _one_of(*words: str) -> Rule:
    return words.__contains__, "one of " + ", ".join(words)


def _sectors(text: str) -> bool:
    """A logical size, or that and a physical one."""
    found = SECTORS.fullmatch(text)
    logical, physical = (int(size or 0) for size in found.groups()) if found else (0, 0)
    even = not logical & (logical - 1) and not physical & (physical - 1)
    return logical >= 512 and even and not physical % logical


def _listens(text: str) -> bool:
    path = text.removeprefix("unix:")
    return path == text or len(path.encode()) <= LONGEST_SOCKET


FLAG: Rule = (
    lambda text: text.lower() in ("yes", "on", "true", "1", "no", "off", "false", "0"),
    "true or false",
)
LISTENS: Rule = (_listens, f"a path of at most {LONGEST_SOCKET} bytes")
BLOCK: dict[str, Rule] = {
    **dict.fromkeys(("nocache", "direct", "sync", "ro", "nodelete"), FLAG),
    "sectorsize": (_sectors, "512, or 512/4096: powers of two, the second no smaller"),
    "bootindex": _whole(0, 65535),
}
PORT: dict[str, Rule] = {
    **BLOCK,
    "type": _one_of("hd", "cd"),
    "ser": _longest(20),
    "rev": _longest(8),
    "model": _longest(40),
    "nmrr": _whole(0, 65535),
}
CARD: dict[str, Rule] = {"open": FLAG}
RING = _whole(4, 4096)
RULES: dict[str, dict[str, Rule]] = {
    "": {
        "acpi_tables_in_memory": FLAG,
        "config.dump": FLAG,
        "pci.enable_bars": FLAG,
        "x86.verbosemsr": FLAG,
        "lpc.pc-testdev": FLAG,
        "lpc.fwcfg": _one_of("bhyve", "qemu"),
        "name": _longest(229),
    },
    "ahci": {f"port.{key}": rule for key, rule in PORT.items()},
    "e1000": CARD,
    "fbuf": {"rfb": LISTENS, "tcp": LISTENS, "wait": FLAG, "password": _longest(8)},
    "nvme": {
        **BLOCK,
        "maxq": _whole(1, 16),
        "qsz": _whole(1, 65536),
        "ioslots": _whole(1, 65535),
        "sectsz": _one_of("512", "4096", "8192"),
        "ser": _longest(20),
        "eui64": _whole(0, (1 << 64) - 1),
        "dsm": _one_of("auto", "enable", "disable"),
    },
    "virtio-9p": {"ro": FLAG, "sharename": _longest(256)},
    "virtio-blk": {**BLOCK, "ser": _longest(20), "serial": _longest(20)},
    "virtio-net": CARD,
    "virtio-scsi": {
        "seg_max": _whole(3, 4092),
        "num_queues": _whole(1, 30),
        **dict.fromkeys(("ctl_ringsz", "evt_ringsz", "req_ringsz"), RING),
        "thr_per_q": _whole(1, 256),
    },
    "xhci": {"slot.device": _one_of("tablet")},
}
