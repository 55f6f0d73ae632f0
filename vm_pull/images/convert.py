"""One image format into another, with qemu-img, for images that the gate let through."""

from __future__ import annotations

import json
import os

from vm_pull.images import confine
from vm_pull.images.confine import Limits
from vm_pull.images.image import FIRST, Image, sniff
from vm_pull.images.imagefile import SECTOR, refused
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["convert", "first_bytes", "grow", "opened"]

GIB = 1 << 30
BUG = 70

DRIVERS: Mapping[str, Mapping[str, object]] = {
    "raw": {"driver": "raw"},
    "qcow2": {"driver": "qcow2", "backing": None},
    "vmdk-sparse": {"driver": "vmdk", "backing": None},
    "vmdk-split": {"driver": "vmdk", "backing": None},
    "vdi": {"driver": "vdi"},
    # the size is the footer's, as for Hyper-V and VirtualBox, not that of cylinders and heads
    "vhd": {"driver": "vpc", "force_size_calc": "current_size"},
    "vhdx": {"driver": "vhdx"},
}
"""How QEMU is told what a file is, layer by layer, so that it guesses nothing and opens no other
file. Source: QEMU QMP Reference Manual, BlockdevOptions."""


def convert(
    folder: str, source: str, image: Image, target: str, to: str, *, tell: Callable[[str], None]
) -> None:
    """Makes a new image of another format beside one that was judged.

    Args:
        folder: a private folder with nothing in it but images.
        source: the name of the image in it; of our own descriptor for a vmdk-split.
        image: what `judge` said of it.
        target: the name of the new image, which is not there yet.
        to: its format, raw or qcow2.
        tell: is told what the user should know.

    Raises:
        VmError: qemu-img is missing or the disk is full (69), it fails (74), or what comes out
            would be taken for something else (77). Then there is no target.
    """
    path = f"{folder}/{_plain(target)}"
    if os.path.lexists(path):
        raise VmError(Fault(problem=f"{target} is already there"), status=BUG)
    driver = str(DRIVERS[image.kind]["driver"])
    words = ["convert", "-f", driver, "-O", to, opened(source, image.kind), f"./{target}"]
    try:
        confine.run(folder, words, _limits(image.size), tell=tell)
        _settle(path, image.size, to)
    except BaseException:
        _remove(path)
        raise


def grow(folder: str, name: str, kind: str, size: int) -> None:
    """Makes the disk of an image larger; one that is as large already stays as it is.

    Args:
        folder: a private folder.
        name: of the image in it.
        kind: raw or qcow2.
        size: of the disk that the guest sees, in bytes; rounded up to whole sectors.

    Raises:
        VmError: the disk is larger now (65), or it cannot be done (69, 74).
    """
    size = -(-size // SECTOR) * SECTOR
    fd = os.open(f"{folder}/{_plain(name)}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # a qcow2 header has its disk's size in bytes 24 to 31
        now = os.fstat(fd).st_size
        if kind != "raw":
            now = int.from_bytes(os.pread(fd, 8, 24), "big")
        if now > size:
            hint = f"leave the size out, or take {-(-now // GIB)}G or more"
            problem = f"the disk has {now} bytes and would lose data at {size}"
            raise VmError(Fault(problem=problem, hint=hint))
        if kind == "raw":
            os.ftruncate(fd, size)
    finally:
        os.close(fd)
    if kind != "raw" and now < size:
        words = ["resize", "-f", kind, f"./{name}", str(size)]
        confine.run(folder, words, _limits(size), tell=_nothing)


def first_bytes(folder: str, name: str, image: Image, count: int) -> bytes:
    """The beginning of the disk that the guest sees.

    Args:
        folder: a private folder.
        name: of the image in it.
        image: what `judge` said of it.
        count: how many bytes; fewer come back from a smaller disk.
    """
    if image.kind == "raw":
        return _beginning(f"{folder}/{_plain(name)}", count)
    if image.kind == "qcow2":
        found = _of_qcow2(f"{folder}/{_plain(name)}", count)
        if found is not None:
            return found
    part = f"{_plain(name)}.first"
    words = ["dd", "-O", "raw", f"bs={-(-count // SECTOR) * SECTOR}", "count=1"]
    words += [f"if={opened(name, image.kind)}", f"of=./{part}"]
    try:
        confine.run(folder, words, _limits(count), tell=_nothing)
        return _beginning(f"{folder}/{part}", count)
    finally:
        _remove(f"{folder}/{part}")


def opened(name: str, kind: str) -> str:
    """An image as QEMU is told to open it."""
    file: Mapping[str, object] = {"driver": "file", "filename": f"./{_plain(name)}"}
    return "json:" + json.dumps({**DRIVERS[kind], "file": file})


def _plain(name: str) -> str:
    """The name, which is one of ours: no path leads out of the folder."""
    if "/" in name or name in {"", ".", ".."}:
        raise VmError(Fault(problem=f"{name!r} is not the name of an image"), status=BUG)
    return name


def _limits(size: int) -> Limits:
    """What a disk of so many bytes may cost: 30 s a GiB, and tables beside the data."""
    return Limits(cpu_s=120 + 30 * (size // GIB), file=size + size // 64 + (16 << 20))


def _settle(path: str, size: int, to: str) -> None:
    """Checks and keeps what qemu-img wrote."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        if to == "raw":
            made = os.fstat(fd).st_size
            if made != size:
                problem = f"qemu-img wrote {made} bytes of a disk of {size}"
                raise VmError(Fault(problem=problem), status=confine.FAILED)
            found = sniff(os.pread(fd, FIRST, 0))
            if found not in {"", "raw", "iso"}:
                raise refused(f"the disk itself begins like another image ({found})")
        os.fsync(fd)
    finally:
        os.close(fd)


def _beginning(path: str, count: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(fd, count, 0)
    finally:
        os.close(fd)


def _of_qcow2(path: str, count: int) -> bytes | None:
    from vm_pull.images import qcow2_first

    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return qcow2_first.first_bytes(fd, count)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _nothing(text: str) -> None:
    """Hears what was said when the image was converted or never will be."""
    del text
