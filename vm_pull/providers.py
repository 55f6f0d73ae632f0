"""Which boxes can be used, by what they were made for."""

from __future__ import annotations

__all__ = ["USABLE", "canonical", "order", "why_not"]

USABLE = ("libvirt", "qemu", "virtualbox", "bhyve", "vmware_desktop")
_ALIASES = {
    "vmware": "vmware_desktop",
    "vmware_fusion": "vmware_desktop",
    "vmware_workstation": "vmware_desktop",
    "vbox": "virtualbox",
}
_WHY_NOT = {
    "docker": "boxes for docker are containers and have no disk",
    "lxc": "boxes for lxc are containers and have no disk",
    "aws": "boxes for aws only name an image in Amazon's cloud",
    "azure": "boxes for azure only name an image in Microsoft's cloud",
    "google": "boxes for google only name an image in Google's cloud",
    "hyperv": "boxes for hyperv keep their settings in a form that only Hyper-V reads",
    "parallels": "boxes for parallels have disks that only Parallels reads",
    "utm": "boxes for utm are bundles that only UTM reads",
}


def canonical(name: str) -> str:
    """A provider's name as the others spell it: vmware is vmware_desktop; lower case."""
    lower = name.strip().lower()
    return _ALIASES.get(lower, lower)


def order(system: str) -> tuple[str, ...]:
    """The usable providers, those first whose boxes this system runs with the least change.

    Args:
        system: what `os.uname().sysname` says.
    """
    if system.lower() == "freebsd":
        return ("bhyve", *(name for name in USABLE if name != "bhyve"))
    return USABLE


def why_not(name: str) -> str:
    """Why boxes for a provider cannot be used, as a sentence; empty when they can be."""
    if name in USABLE:
        return ""
    return _WHY_NOT.get(name, f"boxes for {name} are not known to vm-pull")
