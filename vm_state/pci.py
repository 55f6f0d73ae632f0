"""PCI devices of this host, as Linux's sysfs shows them."""

from __future__ import annotations

import os

__all__ = ["find"]

_DEVICES = "/sys/bus/pci/devices"
_IDS = ("vendor", "subsystem_vendor", "device", "subsystem_device")


def find(lookup: tuple[str, str]) -> str:
    """The address of the first PCI device of this vendor and kind; empty when there is none.

    Args:
        lookup: each 0x and 8 hex digits, the main id then the subsystem's.
    """
    ids = [part[start : start + 4].lower() for part in lookup for start in (2, 6)]
    try:
        addresses = sorted(os.listdir(_DEVICES))
    except OSError:
        return ""
    for address in addresses:
        if [_id(f"{_DEVICES}/{address}/{file}") for file in _IDS] == ids:
            return address
    return ""


def _id(path: str) -> str:
    """A vendor or device id, four hex digits; empty when it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()[2:].lower()
    except OSError:
        return ""
