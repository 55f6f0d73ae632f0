"""From the disks of a box to the disks of a machine: which, in what order, in what format."""

from __future__ import annotations

import os
import posixpath
import sys

from vm_pull.images import convert
from vm_pull.images.image import Image
from vm_pull.images.vmdk_files import PART, joined
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vm_pull.hardware.hardware import Hardware
    from vm_pull.room import Room
    from vm_pull.unpack import Disk, Unpacked

__all__ = ["Made", "default_format", "first_bytes", "grow", "made", "names", "used"]

_ENDINGS = {"raw": "img", "qcow2": "qcow2"}


class Made(Value):
    """A finished disk.

    Attributes:
        file: its name in the room.
        kind: raw or qcow2.
        size: what the guest sees, in bytes.
    """

    file: str
    kind: str
    size: int


def default_format(kind: str, platform: str = sys.platform) -> str:
    """What a disk of some kind becomes when nobody says: bhyve reads raw ones only."""
    return "qcow2" if kind == "qcow2" and not platform.startswith("freebsd") else "raw"


def used(room: Room, box: Unpacked, hardware: Hardware) -> list[Disk]:
    """The disks that the box's hardware names, in its order.

    Raises:
        VmError: one is not a disk that can be used (65).
    """
    by_member = {disk.member: disk for disk in box.disks}
    found: list[Disk] = []
    for use in hardware.disks:
        disk = by_member.get(use.member)
        if disk and PART not in disk.image.notes:
            found.append(disk)
        elif use.member in box.texts:
            found.append(_joined(room, use.member, box))
        else:
            problem = f"{use.member} of the box is not a disk image that is known"
            hint = "another provider's box may do: --list, --provider"
            raise VmError(Fault(problem=problem, hint=hint))
    return found


def _joined(room: Room, member: str, box: Unpacked) -> Disk:
    """A disk that VMware has cut into files, by a descriptor of our own over our own names.

    Raises:
        VmError: a part is not in the box, or is not what the box says (65).
    """
    from vm_pull.unpack import Disk

    folder = posixpath.dirname(member)
    parts = {
        posixpath.basename(disk.member): (disk.file, disk.image.size)
        for disk in box.disks
        if disk.image.kind == "vmdk-sparse" and posixpath.dirname(disk.member) == folder
    }
    descriptor, size = joined(box.texts[member], parts)
    file = f"{next(iter(parts.values()))[0]}.vmdk"
    room.write(file, descriptor)
    return Disk(member=member, file=file, image=Image(kind="vmdk-split", size=size))


def made(room: Room, disk: Disk, to: str, tell: Callable[[str], None]) -> Made:
    """A disk in the format that is wanted; it is converted only if it has another."""
    image = disk.image
    if image.kind == to:
        return Made(file=disk.file, kind=to, size=image.size)
    target = f"{disk.file}.{to}"
    tell(f"converting {disk.member} from {image.kind} to {to}")
    convert.convert(room.path, disk.file, image, target, to, tell=tell)
    os.unlink(disk.file, dir_fd=room.fd)
    return Made(file=target, kind=to, size=image.size)


def grow(room: Room, disk: Made, size: int) -> Made:
    """A disk grown to a size in bytes.

    Raises:
        VmError: it is larger already (65).
    """
    convert.grow(room.path, disk.file, disk.kind, size)
    return Made(file=disk.file, kind=disk.kind, size=size)


def names(stem: str, kinds: Sequence[str]) -> list[str]:
    """What the disks of some formats are called: STEM.img, or STEM-0.img, STEM-1.img, as vmman."""
    if len(kinds) == 1:
        return [f"{stem}.{_ENDINGS[kinds[0]]}"]
    return [f"{stem}-{number}.{_ENDINGS[kind]}" for number, kind in enumerate(kinds)]


def first_bytes(room: Room, disk: Made, count: int) -> bytes:
    """The beginning of a finished disk, as the guest sees it."""
    image = Image(kind=disk.kind, size=disk.size)
    return convert.first_bytes(room.path, disk.file, image, count)
