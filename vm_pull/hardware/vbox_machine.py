"""The machine as VirtualBox itself notes it inside an OVF: `vbox:Machine`.

Where it is there VirtualBox ignores the OVF's own hardware, and so do we.

Source: VirtualBox, src/VBox/Main/xml/Settings.cpp (the elements), BusAssignmentManager.cpp (slots).
"""

from __future__ import annotations

import re

from vm_pull.hardware.hardware import (
    MOST_CPUS,
    MOST_MEMORY,
    Hardware,
    bus_of,
    nic_of,
    plain,
    refused,
    whole,
)
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_spec.xml import Element

__all__ = ["attached", "hardware"]

_SLOTS = {"0": 3, "1": 8, "2": 9, "3": 10}  # where VirtualBox puts its network cards
_MIB = 1 << 20
MOST_PLACES = 255  # ports of a controller, slots of cards


def hardware(machine: Element) -> Hardware:
    """Everything but the disks.

    Raises:
        VmError: a number is none, or the firmware is unknown.
    """
    own = machine.one("Hardware")
    card = _card(own.one("Network"))
    nic, notes = nic_of(card.get("type") or "82540EM") if card else ("e1000", ())
    return Hardware(
        provider="virtualbox",
        cpus=whole(own.one("CPU").get("count") or "1", "number of processors", MOST_CPUS),
        memory=_memory(own.one("Memory").get("RAMSize")),
        firmware=_firmware(own),
        nic=nic,
        nic_slot=_SLOTS.get(card.get("slot"), 0),
        mac=_mac(card.get("MACAddress")),
        os=plain(machine.get("OSType")),
        notes=notes,
    )


def attached(machine: Element) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each disk's UUID, its bus and notes, by controller, port and device.

    The controllers are below the machine, and since VirtualBox 7 below its hardware.
    """
    for parent in (machine, machine.one("Hardware")):
        for controller in parent.one("StorageControllers").all("StorageController"):
            disks = [disk for disk in controller.all("AttachedDevice") if _is_disk(disk)]
            for disk in sorted(disks, key=_place):
                bus, notes = bus_of(controller.get("type"))
                yield _uuid(disk.one("Image").get("uuid")), bus, notes


def _is_disk(attachment: Element) -> bool:
    return attachment.get("type") == "HardDisk" and bool(attachment.one("Image"))


def _place(attachment: Element) -> tuple[int, int]:
    return _number(attachment, "port"), _number(attachment, "device")


def _number(element: Element, attribute: str) -> int:
    return whole(element.get(attribute) or "0", attribute, MOST_PLACES, least=0)


def _uuid(text: str) -> str:
    return text.strip("{}").lower()


def _memory(text: str) -> int:
    return whole(text, "memory in MiB", MOST_MEMORY // _MIB) * _MIB if text else 0


def _firmware(own: Element) -> str:
    kind = own.one("Firmware").get("type").upper() or "BIOS"
    if kind.startswith("EFI"):
        return "uefi"
    if kind != "BIOS":
        raise refused(f"the box's firmware is {plain(kind)}, and must be BIOS or EFI")
    return "bios"


def _card(network: Element) -> Element:
    """The first card that is plugged in: the one that Vagrant talks through."""
    cards = [card for card in network.all("Adapter") if card.get("enabled") in ("true", "1")]
    return min(cards, key=lambda card: _number(card, "slot")) if cards else network.one("none")


def _mac(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{12}", text):
        return ""
    return ":".join(text[at : at + 2] for at in range(0, 12, 2)).lower()
