"""The machine that an OVF describes, and which of its files are the disks.

Only what hangs on a controller as a disk is one: References list CDs, `.nvram` and others too.
A manifest (`.mf`) is not looked at: Packer renames the OVF after it was made, so that it is wrong
in good boxes, and the checksum of the whole box and of its compression say more.

Source: DSP0243 (OVF 1.1 and 2.1), References, DiskSection, VirtualSystem.
"""

from __future__ import annotations

import re

from vm_pull.hardware import ovf_hardware, vbox_machine
from vm_pull.hardware.hardware import MOST_DISKS, DiskUse, Hardware, plain, refused
from vm_spec import xml
from vm_spec.frozen import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_spec.xml import Element

__all__ = ["read"]

_DISK = re.compile(r"(?:ovf:)?/(disk|file)/(.+)")
_VBOX = "http://www.virtualbox.org/ovf/machine"
_MOST_BYTES = 1 << 62
_WHO_MADE_IT = "this is not what VirtualBox or Packer write: ask who made the box"


def read(data: bytes, what: str = "box.ovf") -> Hardware:
    """The hardware of the one machine of an OVF; `member` of its disks is the href as written.

    Args:
        data: the file.
        what: how messages call it.

    Raises:
        VmError: it is no OVF of one machine, or has what no disk can be made of: a delta, a
            compressed file, one in pieces.
    """
    envelope = xml.read(data, what, _WHO_MADE_IT)
    if envelope.name != "Envelope":
        raise refused(f"{what} is no OVF: it begins with {plain(envelope.name)}")
    system = _system(envelope, what)
    section = system.one("VirtualHardwareSection")
    machine = _machine(system)
    found = vbox_machine.hardware(machine) if machine else ovf_hardware.hardware(section)
    disks, notes = _Disks(envelope).used(machine, section)
    if len(disks) > MOST_DISKS:
        raise refused(f"{what} has {len(disks)} disks, and the most is {MOST_DISKS}")
    return replace(
        found, disks=disks, os=found.os or _os(system), notes=_once([*found.notes, *notes])
    )


def _system(envelope: Element, what: str) -> Element:
    systems = list(envelope.all("VirtualSystem"))
    for collection in envelope.all("VirtualSystemCollection"):
        systems += collection.all("VirtualSystem")
    if len(systems) != 1:
        raise refused(f"{what} describes {len(systems)} machines, and a box has one")
    return systems[0]


def _machine(system: Element) -> Element:
    named = [one for one in system.all("Machine") if one.namespace in (_VBOX, "")]
    return named[0] if named else system.one("none")


def _os(system: Element) -> str:
    section = system.one("OperatingSystemSection")
    return plain(section.get("osType") or section.one("Description").text)


def _once(notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))


class _Disks:
    """The disks and files that an envelope lists, by their ids."""

    def __init__(self, envelope: Element) -> None:
        self.files = _by("id", envelope.one("References").all("File"))
        listed = _by("diskId", envelope.one("DiskSection").all("Disk"))
        self.disks = {name: disk for name, disk in listed.items() if not _is_cd(disk)}
        self.cds = len(listed) - len(self.disks)
        self.uuids = {
            disk.get("uuid").strip("{}").lower(): disk
            for disk in self.disks.values()
            if disk.get("uuid")
        }

    def used(self, machine: Element, section: Element) -> tuple[tuple[DiskUse, ...], list[str]]:
        """The disks that hang on a controller, in order, and notes."""
        notes = ["a CD of the box was left out"] if self.cds else []
        made: list[DiskUse] = []
        taken: set[str] = set()
        for disk, bus, words in self._attached(machine, section):
            notes += words
            if not disk.get("fileRef") and disk.name == "Disk":
                self._refuse_delta(disk)
                notes.append("a disk of the box is empty and was left out")
                continue
            use = self._use(disk, bus)
            if use.member in taken:
                raise refused(f"the box attaches {plain(use.member)} twice")
            taken.add(use.member)
            made.append(use)
        idle = sum(disk.get("fileRef") in self.files for disk in self.disks.values()) - len(made)
        if idle > 0:
            notes.append("a disk of the box hangs on no controller and was left out")
        return tuple(made), notes

    def _attached(
        self, machine: Element, section: Element
    ) -> Iterator[tuple[Element, str, tuple[str, ...]]]:
        """Each disk as VirtualBox attaches it, else as the OVF does, else as the OVF lists it."""
        known = list(vbox_machine.attached(machine))
        if known and all(uuid in self.uuids for uuid, _, _ in known):
            for uuid, bus, notes in known:
                yield self.uuids[uuid], bus, notes
            return
        listed = list(ovf_hardware.attached(section))
        for resource, bus, notes in listed:
            yield self._resource(resource), bus, notes
        if not listed:
            for disk in self.disks.values():
                yield disk, "ahci-hd", ("the box does not say where its disks are attached",)

    def _resource(self, resource: str) -> Element:
        """The Disk, or the File, that an item's HostResource names."""
        found = _DISK.fullmatch(resource)
        table = self.files if found and found[1] == "file" else self.disks
        if found is None or found[2] not in table:
            raise refused(f"the box attaches {plain(resource) or 'a disk without a name'},"
                          " which it does not list")  # fmt: skip
        return table[found[2]]

    def _refuse_delta(self, disk: Element) -> None:
        if disk.get("parentRef"):
            raise refused("a disk of the box is only what differs from another one (parentRef)")

    def _use(self, disk: Element, bus: str) -> DiskUse:
        self._refuse_delta(disk)
        file = disk if disk.name == "File" else self.files.get(disk.get("fileRef"))
        if file is None:
            raise refused(f"a disk of the box is of the file {plain(disk.get('fileRef'))},"
                          " which it does not list")  # fmt: skip
        if file.get("compression") not in ("", "identity"):
            raise refused(f"the box's {plain(file.get('href'))} is compressed once more")
        if file.get("chunkSize"):
            raise refused(f"the box's {plain(file.get('href'))} is cut into chunks")
        return DiskUse(member=file.get("href"), bus=bus, capacity=_capacity(disk))


def _is_cd(disk: Element) -> bool:
    """Whether a Disk is a CD, by its format: VirtualBox lists them together."""
    return "ecma-119" in disk.get("format").lower()


def _by(attribute: str, elements: Iterable[Element]) -> dict[str, Element]:
    """Elements by an id.

    Raises:
        VmError: two have one id: which is meant cannot be known.
    """
    found: dict[str, Element] = {}
    for element in elements:
        name = element.get(attribute)
        if name in found:
            raise refused(f"the box has two of {element.name} {plain(name)}")
        found[name] = element
    return found


def _capacity(disk: Element) -> int:
    """How large the disk is said to be, in bytes; 0 where that is not understood."""
    text = disk.get("capacity")
    unit = ovf_hardware.bytes_in(disk.get("capacityAllocationUnits") or "byte")
    if not re.fullmatch("[0-9]{1,19}", text, re.ASCII):
        return 0
    return min(int(text) * unit, _MOST_BYTES)
