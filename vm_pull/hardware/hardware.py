"""The hardware that a box was made for, in the words of vm.toml(5)."""

from __future__ import annotations

import re

from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import Value

__all__ = ["DiskUse", "Hardware", "bus_of", "nic_of", "plain", "refused", "whole"]

MOST_CPUS = 1024  # of a socket, vm.toml(5)
MOST_MEMORY = 1 << 44  # bytes
MOST_DISKS = 32
LONGEST = 200  # characters of a stranger's text in a sentence of ours


class DiskUse(Value):
    """A disk that the machine has.

    Attributes:
        member: the box's member that is its image.
        bus: the device that shows it: ahci-hd, nvme, virtio-blk or virtio-scsi.
        capacity: how large the box says it is, in bytes; 0 when it does not say.
    """

    member: str
    bus: str
    capacity: int = 0


class Hardware(Value):
    """What the box's own description says of its machine.

    Attributes:
        provider: virtualbox, libvirt, qemu, bhyve or vmware_desktop.
        cpus: how many processors; 0 when the box does not say.
        memory: in bytes; 0 when the box does not say.
        firmware: uefi, bios, or empty when the box does not say: then its first disk tells.
        disks: in the order of their controllers and of their places there.
        nic: the first network card: virtio-net or e1000.
        nic_slot: the PCI slot of that card, by which guests name it; 0 when the box does not say.
        mac: its address as six pairs; empty when unknown. Two pulls of a box share it.
        os: what the maker called the operating system; a stranger's text.
        user: who logs in.
        own_key: whether the box wants its own key, and not the one that all boxes share.
        notes: sentences for the user about what could not be kept.
    """

    provider: str
    cpus: int = 0
    memory: int = 0
    firmware: str = ""
    disks: tuple[DiskUse, ...] = ()
    nic: str = "virtio-net"
    nic_slot: int = 0
    mac: str = ""
    os: str = ""
    user: str = "vagrant"
    own_key: bool = False
    notes: tuple[str, ...] = ()


_BUSES = {
    "ahci-hd": "ide piix3 piix4 ich6 ahci sata intelahci vmware.sata.ahci",
    "nvme": "nvme vmware.nvme.controller",
    "virtio-blk": "virtio virtio-blk",
    "virtio-scsi": "virtioscsi virtio-scsi",
}
_CARDS = {
    "e1000": "82540em 82543gc 82545em e1000 e1000e",
    "virtio-net": "virtio virtio-net virtio-net-pci",
}


def bus_of(controller: str) -> tuple[str, tuple[str, ...]]:
    """The device for a disk on this kind of controller, and a note where it is another kind.

    SATA stands for what neither hypervisor has: every system since 2005 has its driver, and a
    disk keeps its name sda there.
    """
    for bus, kinds in _BUSES.items():
        if controller.lower() in kinds.split():
            return bus, ()
    shown = plain(controller) or "unnamed"
    return "ahci-hd", (f"a disk of its {shown} controller is a SATA disk here",)


def nic_of(model: str) -> tuple[str, tuple[str, ...]]:
    """The device for a network card of this model, and a note where it is another one."""
    for card, models in _CARDS.items():
        if model.lower() in models.split():
            return card, ()
    return "e1000", (f"its network card {plain(model) or 'without a model'} is an e1000 here",)


def plain(text: str) -> str:
    """A stranger's text on one line, without what a terminal or an editor would obey."""
    shown = printable(" ".join(text.split()))
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def refused(problem: str, hint: str = "") -> VmError:
    """The error for a box that says something it must not (65)."""
    return VmError(Fault(problem=problem, hint=hint))


def whole(text: str, what: str, most: int, least: int = 1) -> int:
    """A whole number.

    Raises:
        VmError: it is none, or not from `least` to `most`.
    """
    if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and least <= int(text) <= most:
        return int(text)
    raise refused(f"the box's {what} is {plain(text) or 'empty'}, and must be {least} to {most}")
