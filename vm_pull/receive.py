"""A box on its way into the room: counted, checked, taken apart, in one pass."""

from __future__ import annotations

import os

from vm_pull.archive import pipe
from vm_pull.catalogs import checksum
from vm_pull.net.urls import shown
from vm_pull.progress import counted
from vm_pull.unpack import unpack
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.find import Found
    from vm_pull.progress import Progress
    from vm_pull.room import Room
    from vm_pull.unpack import Unpacked

__all__ = ["MOST_DISK", "received"]

MOST_DISK = 8 << 40
"""Bytes of the largest disk that is taken: 8 TiB."""
NO_ROOM = 69


def received(found: Found, room: Room, progress: Progress) -> Unpacked:
    """What was in a box; its disks are in the room.

    Raises:
        VmError: it is refused, damaged, not what was published (65), or cannot be had (69).
    """
    stream, digest = found.stream, found.digest
    hashes = [digest.new()] if digest else []
    try:
        _check_space(room, stream.size or 0)
        remark = checksum.remark(digest)
        if remark:
            progress.say(remark)
        what = f"{found.catalog_name} {found.version}".strip()
        if what:
            progress.say(f"from {shown(stream.url)}")
        progress.begin(f"fetching {what or shown(stream.url)}", stream.size or 0)
        blocks = pipe.hashed(counted(stream.blocks(), progress), *hashes)
        box = unpack(
            blocks, room.fd, most_bytes=MOST_DISK, tell=progress.say, interrupt=stream.close
        )
    finally:
        stream.close()
    for each in hashes:
        if digest:
            digest.compare(each.hexdigest(), "the box")
    return box


def _check_space(room: Room, size: int) -> None:
    """A box is never larger than what is in it: less than its size will not do.

    Raises:
        VmError: there is less (69).
    """
    there = os.fstatvfs(room.fd)
    free = there.f_bavail * there.f_frsize
    if free < size:
        problem = f"{room.folder} has {free >> 20} MiB free, and the box alone has {size >> 20} MiB"
        hint = "make room there, or set VMCONF_DIR to a folder that has more"
        raise VmError(Fault(problem=problem, hint=hint), status=NO_ROOM)
