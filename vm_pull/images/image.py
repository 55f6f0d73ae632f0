"""What a disk image is, by its content, and whether it may be used."""

from __future__ import annotations

from vm_pull.images.imagefile import SECTOR, ImageFile, refused
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vm_spec.fault import VmError

    Buffer = bytes | bytearray | memoryview
    Reader = Callable[[ImageFile], tuple[int, tuple[str, ...]]]

__all__ = ["FIRST", "Image", "judge", "sniff"]

FIRST = 1 << 16
"""How many first bytes tell everything that can be told from them."""

ISO_AT = 32769
COMPRESSED = 0x10000
"""Flag of a VMDK header: its grains are compressed."""

MAGICS = {b"QFI\xfb": "qcow2", b"conectix": "vhd", b"vhdxfile": "vhdx"}

UNUSABLE = {
    b"COWD": "a VMDK of the old COWD kind",
    b"\xbe\xba\xfe\xca\0\0\0\0": "a VMDK of the seSparse kind",
    b"LUKS\xba\xbe": "encrypted with LUKS",
    b"QED\0": "a QED image",
    b"WithoutFreeSpace": "a Parallels image",
    b"WithouFreSpacExt": "a Parallels image",
    b"Bochs Virtual HD Image": "a Bochs image",
    b"#!/bin/sh\n#V2.0 Format\n": "a cloop image",
    b"encrcdsa": "an encrypted DMG image",
}
"""First bytes of what is refused by name."""

NAMES = {
    "vmdk-stream": "a VMDK",
    "vmdk-sparse": "a VMDK",
    "vmdk-text": "a VMDK descriptor",
    "qcow2": "a qcow2 image",
    "vdi": "a VDI image",
    "vhd": "a VHD image",
    "vhdx": "a VHDX image",
    "raw": "a raw disk",
    "iso": "a CD image",
}


class Image(Value):
    """A disk image that was judged.

    Attributes:
        kind: raw, qcow2, vmdk-sparse, vmdk-split, vdi, vhd or vhdx.
        size: of the disk that the guest sees, in bytes.
        notes: sentences for the user about what is odd and yet no reason to refuse.
    """

    kind: str
    size: int
    notes: tuple[str, ...] = ()


def sniff(first: Buffer) -> str:
    """The kind of an image by its beginning.

    Args:
        first: its first bytes, `FIRST` of them or all there are.

    Returns:
        vmdk-stream, vmdk-sparse, vmdk-text, qcow2, vdi, vhd, vhdx, raw (a boot sector or a
        partition table), iso, or nothing when it is none of these. A fixed VHD looks like a raw
        disk from here: what tells it is at its end, where `judge` looks.

    Raises:
        VmError: it is something that is never used, or several things at once (77).
    """
    head = bytes(first[:FIRST])
    found = list(_formats(head))
    unusable = [words for magic, words in UNUSABLE.items() if head.startswith(magic)]
    if len(found) + len(unusable) > 1:
        raise _several(*(NAMES[kind] for kind in found), *unusable)
    if unusable:
        hint = "choose a box of another provider or version"
        raise refused(f"the disk image is {unusable[0]}, which cannot be used", hint)
    return found[0] if found else ""


def _formats(head: bytes) -> Iterator[str]:
    """Every format whose mark is there. A boot sector alone does not contradict a CD."""
    yield from (kind for magic, kind in MAGICS.items() if head.startswith(magic))
    if head.startswith(b"KDMV"):
        flags, compression = int.from_bytes(head[8:12], "little"), head[77:79]
        stream = flags & COMPRESSED or compression.strip(b"\0")
        yield "vmdk-stream" if stream else "vmdk-sparse"
    if head[:21].lower() == b"# disk descriptorfile":
        yield "vmdk-text"
    if head[0x40:0x44] == b"\x7f\x10\xda\xbe":
        yield "vdi"
    if head[ISO_AT : ISO_AT + 5] in {b"CD001", b"BEA01"}:
        yield "iso"
    elif _is_bootable(head):
        yield "raw"


def _is_bootable(head: bytes) -> bool:
    """Whether a boot sector or a GUID partition table is there, for sectors of 512 or 4096."""
    return head[510:512] == b"\x55\xaa" or b"EFI PART" in {head[512:520], head[4096:4104]}


def _several(*names: str) -> VmError:
    together = " and ".join(dict.fromkeys(names))
    return refused(f"the disk image is several formats at once: {together}")


def judge(fd: int, kind: str, *, most_bytes: int) -> Image:
    """The judgement over a finished file, before any other program sees it.

    Args:
        fd: the file, open for reading.
        kind: what `sniff` said, or raw for what we decoded ourselves. Nothing is read as raw.
        most_bytes: the largest disk that is accepted.

    Returns:
        What it is. A fixed VHD comes back as vhd though raw was asked.

    Raises:
        VmError: it is refused (77), damaged or larger (65), or cannot be read (74).
    """
    kind = kind or "raw"
    file = ImageFile(fd, _called(kind), most_bytes)
    head = file.read(0, min(file.length, FIRST), "header")
    is_now = sniff(head)
    if is_now not in ({"", "raw", "iso"} if kind == "raw" else {kind}):
        raise refused(f"the {file.kind} contains {NAMES.get(is_now, 'something else')}")
    tail = file.read(max(0, file.length - SECTOR), min(file.length, SECTOR), "end")
    kind = _with_tail(kind, tail)
    file.kind = _called(kind)
    return _read(file, kind, head)


def _called(kind: str) -> str:
    return NAMES.get(kind, "disk image").removeprefix("a ")


def _with_tail(kind: str, tail: bytes) -> str:
    """The kind, when the last sector is looked at too."""
    is_dmg = tail[:4] == b"koly" or tail[-8:] == b"cdsaencr"
    is_vhd = tail[:8] == b"conectix"
    if is_dmg and kind == "raw":
        raise refused("the disk image is a DMG image, which cannot be used")
    if is_dmg:
        raise _several(NAMES[kind], "a DMG image")
    if is_vhd and kind not in {"raw", "vhd"}:
        raise _several(NAMES[kind], NAMES["vhd"])
    return "vhd" if is_vhd else kind


def _read(file: ImageFile, kind: str, head: bytes) -> Image:
    """The image, by the rules of its kind."""
    if kind == "raw":
        return Image(kind=kind, size=file.disk_size(file.length), notes=_raw_notes(head))
    size, notes = _reader(kind)(file)
    return Image(kind=kind, size=size, notes=notes)


def _reader(kind: str) -> Reader:
    """What reads a kind; only the one that is needed is imported."""
    match kind:
        case "qcow2":
            from vm_pull.images.qcow2 import read as read_qcow2

            return read_qcow2
        case "vdi":
            from vm_pull.images.vdi import read as read_vdi

            return read_vdi
        case "vhd":
            from vm_pull.images.vhd import read as read_vhd

            return read_vhd
        case "vhdx":
            from vm_pull.images.vhdx import read as read_vhdx

            return read_vhdx
        case "vmdk-sparse":
            from vm_pull.images.vmdk_files import read as read_vmdk

            return read_vmdk
        case _:
            raise refused(f"the disk image is {NAMES.get(kind, kind)}, which is not a disk")


def _raw_notes(head: bytes) -> tuple[str, ...]:
    if sniff(head) == "iso":
        return ("is a CD image",)
    if not _is_bootable(head):
        return ("has no boot sector and no partition table",)
    return ()
