"""The hardware section of an OVF: what VMware and others write, and VirtualBox beside its own.

Source: DSP0243 (OVF 1.1 and 2.1), VirtualHardwareSection; DSP0004, programmatic units; CIM schema,
CIM_ResourceAllocationSettingData.ResourceType. `vmw:Config` is VMware's.
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

__all__ = ["attached", "bytes_in", "hardware"]

CPU, MEMORY, IDE, SCSI, NIC, DISK = "3", "4", "5", "6", "10", "17"
_CONTROLLERS = {IDE: "ide", SCSI: "scsi", "20": "sata"}
_UNITS = {
    "byte": 1, "bytes": 1, "kb": 1 << 10, "kilobytes": 1 << 10, "mb": 1 << 20,
    "megabytes": 1 << 20, "gb": 1 << 30, "gigabytes": 1 << 30, "tb": 1 << 40, "terabytes": 1 << 40,
}  # fmt: skip
_MOST_UNITS = 255


def hardware(section: Element) -> Hardware:
    """Everything but the disks.

    Raises:
        VmError: a number is none, or a unit is unknown.
    """
    cards = list(_items(section, NIC))
    nic, notes = nic_of(_subtype(cards[0])) if cards else ("e1000", ())
    return Hardware(
        provider="virtualbox",
        cpus=_cpus(section),
        memory=_memory(section),
        firmware=_firmware(section),
        nic=nic,
        notes=notes,
    )


def attached(section: Element) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each disk's HostResource, its bus and notes, by controller and AddressOnParent.

    A disk whose controller is not there comes last.
    """
    controllers = {
        _own(item, "InstanceID"): (place, _controller(item))
        for place, item in enumerate(_items(section, *_CONTROLLERS))
    }
    last = len(controllers), "sata"
    found: list[tuple[tuple[int, int], str, str]] = []
    for item in _items(section, DISK):
        place, kind = controllers.get(_own(item, "Parent"), last)
        address = whole(_own(item, "AddressOnParent") or "0", "place of a disk", _MOST_UNITS, 0)
        found.append(((place, address), _own(item, "HostResource"), kind))
    for _, resource, kind in sorted(found, key=lambda disk: disk[0]):
        bus, notes = bus_of(kind)
        yield resource, bus, notes


def bytes_in(units: str) -> int:
    """How many bytes a unit is: `byte * 2^20`, `MegaBytes`; 0 for one that is unknown."""
    words = units.lower().strip()
    found = re.fullmatch(r"bytes? *\* *2 *\^ *([0-9]{1,2})", words, re.ASCII)
    if found:
        return 1 << int(found[1]) if int(found[1]) <= 60 else 0
    return _UNITS.get(words, 0)


def _items(section: Element, *types: str) -> Iterator[Element]:
    """The items of these resource types; OVF 2 has disks and cards in elements of their own."""
    for item in section.all("Item", "StorageItem", "EthernetPortItem"):
        if _own(item, "ResourceType") in types:
            yield item


def _own(item: Element, name: str) -> str:
    return item.one(name).text


def _subtype(item: Element) -> str:
    return _own(item, "ResourceSubType").partition(",")[0].strip()


def _controller(item: Element) -> str:
    return _subtype(item) or _CONTROLLERS[_own(item, "ResourceType")]


def _cpus(section: Element) -> int:
    for item in _items(section, CPU):
        return whole(_own(item, "VirtualQuantity"), "number of processors", MOST_CPUS)
    return 0


def _memory(section: Element) -> int:
    for item in _items(section, MEMORY):
        units = _own(item, "AllocationUnits")
        unit = bytes_in(units) if units else 1 << 20
        if not unit:
            raise refused(f"the box's memory is in an unknown unit: {plain(units)}")
        amount = whole(_own(item, "VirtualQuantity"), "memory", MOST_MEMORY) * unit
        return whole(str(amount), "memory in bytes", MOST_MEMORY, least=1 << 20)
    return 0


def _firmware(section: Element) -> str:
    for config in section.all("Config"):
        if config.get("key") == "firmware":
            return "uefi" if config.get("value").lower() == "efi" else "bios"
    return ""
