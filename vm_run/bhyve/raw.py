"""A device in bhyve's own words: what bhyve makes of them, if the device is known here.

A device that is not known is handed on as it is: a newer bhyve may have it.
"""

from __future__ import annotations

from vm_run.bhyve.settings import is_secret
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_spec.devices import Raw
    from vm_spec.types import PciSlot

__all__ = ["read"]

Keys = tuple[tuple[str, str], ...]


def read(device: Raw, slot: PciSlot) -> tuple[Keys, list[Fault]]:
    """The keys of a raw device, relative to its node, and what bhyve would refuse of its words."""
    from vm_import.bhyve_config import Tree, below
    from vm_import.bhyve_slots import DEVICES, LEGACY
    from vm_import.bhyve_slots import slot as parsed

    name = device.value.partition(",")[0]
    if not name:
        problem = "has a value without a device's name"
        return (), [Fault(problem=problem, hint='value = "virtio-rnd"')]
    if name not in DEVICES and name not in LEGACY:
        return (), []
    tree: Tree = {}
    try:
        parsed(tree, f"{slot},{device.value}")
    except VmError as refused:
        problem = f"is refused by bhyve: {refused.faults[0].problem}"
        return (), [Fault(problem=problem, hint="bhyve(8), -s, has the form")]
    keys = below(tree, f"pci.{slot.bus}.{slot.slot}.{slot.function}")
    return tuple(keys.items()), [_seen() for key in keys if is_secret(key)]


def _seen() -> Fault:
    return Fault(
        problem="has a password in its value, which ps(1) would show to everybody",
        hint='use [graphic] with password, or [bhyve.config] with "pci.0.28.0.password"',
    )
