"""Realistic boxes: a disk filled with what an operating system consists of, packed as Vagrant's."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pull import virtualbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KINDS", "Box", "make"]

KINDS = ("virtualbox", "virtualbox-qemu", "libvirt", "libvirt-plain")
TITLES = {
    "virtualbox": "a virtualbox box, its VMDK as VirtualBox lays it out",
    "virtualbox-qemu": "a virtualbox box, its VMDK as qemu-img lays it out",
    "libvirt": "a libvirt box, its qcow2 compressed",
    "libvirt-plain": "a libvirt box, its qcow2 not compressed",
}
SOURCES = ("/usr/bin", "/usr/lib", "/usr/share")
EXTENT = 24 << 20  # of data; a hole follows, as file systems leave them
HOLE = 28 << 20
OVF = """<?xml version="1.0"?>
<Envelope ovf:version="1.0" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:href="box-disk001.vmdk" ovf:id="file1"/></References>
 <DiskSection><Info/><Disk ovf:capacity="{size}" ovf:diskId="vmdisk1" ovf:fileRef="file1"/>
 </DiskSection>
 <VirtualSystem ovf:id="box"><Info/><VirtualHardwareSection><Info/>
  <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
   <rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
  <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits>
   <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
   <rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
  <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>AHCI</rasd:ResourceSubType>
   <rasd:ResourceType>20</rasd:ResourceType></Item>
  <Item><rasd:AddressOnParent>0</rasd:AddressOnParent>
   <rasd:HostResource>/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
   <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
 </VirtualHardwareSection></VirtualSystem></Envelope>
"""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box.

    Attributes:
        kind: one of KINDS.
        path: the file.
        disk: its disk's name inside.
        provider: whose box it is.
    """

    kind: str
    path: Path
    disk: str
    provider: str

    @property
    def title(self) -> str:
        """What it is, in words."""
        return TITLES[self.kind]


def make(store: Path, data: int, kinds: list[str]) -> list[Box]:
    """Boxes of some kinds in a folder; those that are there already are taken as they are.

    Args:
        store: the folder.
        data: how many bytes of data are in the disk.
        kinds: which, of KINDS.
    """
    store.mkdir(parents=True, exist_ok=True)
    boxes = [_box(store, data, kind) for kind in kinds]
    lacking = [box for box in boxes if not box.path.exists()]
    if lacking:
        source = store / "source.img"
        size = _fill(source, data)
        for box in lacking:
            _pack(box, source, size)
        source.unlink()
    return boxes


def _box(store: Path, data: int, kind: str) -> Box:
    provider = kind.partition("-")[0]
    disk = "box-disk001.vmdk" if provider == "virtualbox" else "box_0.img"
    return Box(kind=kind, path=store / f"{kind}-{data >> 20}.box", disk=disk, provider=provider)


def _fill(path: Path, data: int) -> int:
    """A disk with the files of this system in it and holes between; its size in bytes."""
    place = written = 0
    with path.open("wb") as disk:
        for block in _system():
            disk.seek(place)
            disk.write(block)
            place += len(block)
            written += len(block)
            if written % EXTENT < len(block):
                place += HOLE
            if written >= data:
                break
        size = -(-place // (1 << 20)) << 20
        disk.truncate(size)
    return size


def _system() -> Iterator[bytes]:
    """What is in this system's files, in order of their names, cut to whole pages."""
    for source in SOURCES:
        for folder, folders, files in os.walk(source):
            folders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                if path.is_symlink() or not os.access(path, os.R_OK):
                    continue
                content = path.read_bytes()
                yield content + bytes(-len(content) % 4096)


def _pack(box: Box, source: Path, size: int) -> None:
    disk = box.path.with_suffix(".disk")
    if box.kind == "virtualbox":
        virtualbox.write(disk, size, virtualbox.grains_in(source))
    else:
        _convert(box, source, disk)
    metadata: dict[str, object] = {"provider": box.provider}
    if box.provider == "libvirt":
        metadata |= {"disks": [{"path": box.disk, "format": "qcow2"}]}
    texts = {"metadata.json": json.dumps(metadata), "Vagrantfile": ""}
    if box.provider == "virtualbox":
        texts["box.ovf"] = OVF.format(size=size)
    folder = box.path.with_suffix(".files")
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    disk.rename(folder / box.disk)
    part = box.path.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=6) as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
            file.unlink()
    folder.rmdir()
    part.rename(box.path)


def _convert(box: Box, source: Path, disk: Path) -> None:
    how = {
        "virtualbox-qemu": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
        "libvirt": ["-O", "qcow2", "-c"],
        "libvirt-plain": ["-O", "qcow2"],
    }[box.kind]
    subprocess.run(["qemu-img", "convert", "-f", "raw", *how, source, disk], check=True)
