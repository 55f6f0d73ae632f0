"""The Ethernet addresses that bhyve makes for cards without one: a guest keeps its DHCP lease.

Source: usr.sbin/bhyve/net_utils.c, net_genmac.
"""

from __future__ import annotations

import hashlib
import os

from vm_import.bhyve_known import devices
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["addresses", "generated"]

CARDS = ("virtio-net", "e1000")
START = "00:a0:98"  # the same in each release
LONGEST = 79  # bytes that are hashed


def generated(slot: int, function: int, name: str) -> str:
    """The address of a card: of where it sits, though not on which bus, and of the VM's name."""
    text = os.fsencode(f"{slot}-{function}-{name}")[:LONGEST]
    digest = hashlib.md5(text, usedforsecurity=False).digest()
    return f"{START}:{digest[:3].hex(':')}"


def addresses(tree: Mapping[str, str]) -> dict[str, str]:
    """The key and the address of each card that has none, in a tree without variables."""
    return {
        f"pci.{bus}.{slot}.{function}.mac": generated(slot, function, tree["name"])
        for (bus, slot, function), keys in devices(tree).items()
        if keys.get("device") in CARDS and "mac" not in keys
    }
