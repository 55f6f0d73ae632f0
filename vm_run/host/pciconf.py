"""The PCI devices of a FreeBSD host, as pciconf(8) -l lists them.

Source: pciconf(8); usr.sbin/pciconf/pciconf.c. Up to FreeBSD 12 the ids are two numbers (card,
chip) whose lower half is the vendor's; from 13 on they are four.
"""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BRIDGES", "FAILED", "Card", "cards", "find"]

FAILED = 0x7F  # the header type of a device that does not answer, such as a VF without SR-IOV
BRIDGES = (1, 2)  # the header types of bridges to PCI and to CardBus

# A driver's name may have digits in it; what follows them is the unit.
_LINE = re.compile(r"([a-z][a-z0-9_]*?)[0-9]+@pci([0-9]+):([0-9]+):([0-9]+):([0-9]+):\s+(.*)")
_FIELD = re.compile(r"\b([a-z]+)=0x([0-9a-f]+)\b")


class Card(Value):
    """A PCI device.

    Attributes:
        address: where it sits, as Linux writes it: 0000:01:00.0.
        driver: what drives it: ppt for guests, empty for nothing.
        header: its header type: 0 for a device, 1 and 2 for bridges, 127 for one that fails.
        ids: vendor, subvendor, device and subdevice, each four hex digits in lower case.
    """

    address: str
    driver: str
    header: int
    ids: tuple[str, str, str, str]


def cards(listing: str) -> list[Card]:
    """The devices that `pciconf -l` lists, with -v or without, in order of their addresses."""
    found = (_card(line) for line in listing.splitlines())
    return sorted((card for card in found if card), key=lambda card: card.address)


def _card(line: str) -> Card | None:
    """The device of a line; None for the lines between, which -v writes."""
    matched = _LINE.fullmatch(line)
    if not matched:
        return None
    driver, *where = matched.groups()[:5]
    domain, bus, slot, function = map(int, where)
    fields = {name: int(digits, 16) for name, digits in _FIELD.findall(matched[6])}
    for old, vendor, device in (("chip", "vendor", "device"), ("card", "subvendor", "subdevice")):
        if old in fields:
            fields |= {vendor: fields[old] & 0xFFFF, device: fields[old] >> 16}
    return Card(
        address=f"{domain:04x}:{bus:02x}:{slot:02x}.{function}",
        driver="" if driver == "none" else driver,
        header=fields.get("hdr", 0),
        ids=(
            _hex(fields.get("vendor", 0)),
            _hex(fields.get("subvendor", 0)),
            _hex(fields.get("device", 0)),
            _hex(fields.get("subdevice", 0)),
        ),
    )


def _hex(number: int) -> str:
    return f"{number:04x}"


def find(listed: Iterable[Card], lookup: tuple[str, str]) -> Card | None:
    """The first device of this vendor and kind; None when there is none.

    Args:
        listed: where to look.
        lookup: (vendor, device), each 0x and 8 hex digits: the main id, then the subsystem's.
    """
    wanted = tuple(part[start : start + 4].lower() for part in lookup for start in (2, 6))
    return next((card for card in listed if card.ids == wanted), None)
