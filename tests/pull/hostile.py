"""Disk images as an attacker makes them: each by name, each pointing at a canary.

A canary is a file that no image may show: `images` names it wherever a format can name a file.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vm_pull.images.vhdx import DISK_SIZE, PARAMETERS, PARENT, crc32c

CANARY = b"The canary sings, so something read a file that it may not. "
SECTOR = 512
CLUSTER = 4096
DATA = 5 * CLUSTER
PARENT_CID = b"0badcafe"
COPIED = 1 << 63
COMPRESSED = 1 << 62

DATA_FILE = 0x44415441
BACKING_FORMAT = 0xE2792ACA
LUKS = 0x0537BE77

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 128 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.adapterType = "ide"
"""
SPLIT = DESCRIPTOR.replace("monolithicSparse", "twoGbMaxExtentSparse")


def canary(folder: Path) -> Path:
    """A canary of 64 KiB in a folder, and beside it the same as canary.vmdk."""
    path = folder / "canary"
    path.write_bytes((CANARY * 1200)[:65536])
    made = folder / "canary.vmdk"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", path, made], check=True)
    image = made.read_bytes()
    text = re.sub(rb"\nCID=\w+", b"\nCID=" + PARENT_CID, image[512:2048])  # of 8 digits or fewer
    made.write_bytes(patched(image, 512, text[:1536]))
    return path


def qcow2(
    *,
    version: int = 3,
    backing: bytes = b"",
    bits: int = 12,
    size: int = 65536,
    crypt: int = 0,
    l1: Sequence[int] = (COPIED | 4 * CLUSTER,),
    l1_size: int = 0,
    l2: Sequence[int] = (COPIED | DATA,),
    snapshots: tuple[int, int] = (0, 0),
    incompatible: int = 0,
    extensions: Sequence[tuple[int, bytes]] = (),
    compression: int = 0,
    refcounts: tuple[int, int] = (CLUSTER, 1),
) -> bytes:
    """A qcow2 image of six clusters: header, two of reference counts, L1, L2, data."""
    areas = b"".join(
        struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
        for kind, data in extensions
    )
    length = 72 if version == 2 else 112
    backing_at = length + len(areas) + 8 if backing else 0
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQIIB7x",
        b"QFI\xfb", version, backing_at, len(backing), bits, size, crypt,
        l1_size or len(l1), 3 * CLUSTER, *refcounts, *snapshots,
        incompatible, 0, 0, 4, 112, compression,
    )  # fmt: skip
    image = bytearray(DATA + CLUSTER)
    head = header[:length] + areas + bytes(8) + backing
    image[: len(head)] = head
    image[CLUSTER : CLUSTER + 8] = struct.pack(">Q", 2 * CLUSTER)
    image[2 * CLUSTER : 2 * CLUSTER + 12] = struct.pack(">6H", *[1] * 6)
    image[3 * CLUSTER : 3 * CLUSTER + 8 * len(l1)] = struct.pack(f">{len(l1)}Q", *l1)
    image[4 * CLUSTER : 4 * CLUSTER + 8 * len(l2)] = struct.pack(f">{len(l2)}Q", *l2)
    image[DATA:] = b"data" * (CLUSTER // 4)
    return bytes(image)


def vmdk(
    descriptor: str = DESCRIPTOR,
    *,
    capacity: int = 128,
    descriptor_at: int = 1,
    directory: Sequence[int] = (22,),
    grains: Sequence[int] = (128,),
    directory_at: int = 21,
    overhead: int = 128,
) -> bytes:
    """A sparse VMDK of one grain: header, descriptor, directory, table, data at sector 128."""
    header = struct.pack(
        "<4sIIQQQQIQQQB4sH",
        b"KDMV", 1, 1, capacity, 128, descriptor_at, 20 if descriptor_at else 0, 512,
        0, directory_at, overhead, 0, b"\n \r\n", 0,
    )  # fmt: skip
    image = bytearray(256 * SECTOR)
    image[: len(header)] = header
    text = descriptor.replace("RW 128 SPARSE", f"RW {capacity} SPARSE").encode()
    start = (descriptor_at or 1) * SECTOR
    image[start : start + len(text)] = text
    image[21 * SECTOR : 21 * SECTOR + 4 * len(directory)] = _words(directory)
    image[22 * SECTOR : 22 * SECTOR + 4 * len(grains)] = _words(grains)
    image[128 * SECTOR :] = b"data" * (128 * SECTOR // 4)
    return bytes(image)


def _words(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def patched(image: bytes, offset: int, data: bytes) -> bytes:
    """The image with other bytes at an offset; from the end when it is negative."""
    start = offset % len(image)
    return image[:start] + data + image[start + len(data) :]


def backing_files(canary: Path) -> dict[str, bytes]:
    """B14: images with a backing file."""
    path = str(canary).encode()
    named = b'json:{"driver":"raw","file":{"driver":"file","filename":"' + path + b'"}}'
    raw = [(BACKING_FORMAT, b"raw")]
    return {
        "qcow2 with a backing file": qcow2(backing=path, extensions=raw, l2=[0]),
        "qcow2 with a backing file to be probed": qcow2(backing=path, l2=[0]),
        "qcow2 with a json backing file": qcow2(backing=named, l2=[0]),
        "qcow2 of version 2 with a backing file": qcow2(version=2, backing=path, l2=[0]),
        "qcow2 with a backing file on the network": qcow2(backing=b"nbd:localhost:9", l2=[0]),
        "qcow2 with a length of a backing file": patched(qcow2(), 16, b"\0\0\0\x09"),
        "qcow2 with a backing file outside": patched(qcow2(), 8, b"\x7f" * 8),
    }


def features(canary: Path) -> dict[str, bytes]:
    """B15: external data files, unknown features, encryption."""
    path = str(canary).encode()
    data_file = [(DATA_FILE, path)]
    return {
        "qcow2 with a data file": qcow2(
            incompatible=4, extensions=data_file, l2=[COPIED], l1_size=1
        ),
        "qcow2 with the name of a data file": qcow2(extensions=data_file),
        "qcow2 with a data file without a name": qcow2(incompatible=4),
        "qcow2 with a data file after another extension": qcow2(
            extensions=[(BACKING_FORMAT, b"raw"), (DATA_FILE, path)]
        ),
        "qcow2 with unknown feature 5": qcow2(incompatible=32),
        "qcow2 with unknown feature 63": qcow2(incompatible=1 << 63),
        "qcow2 of version 1": qcow2(version=1),
        "qcow2 of version 4": qcow2(version=4),
        "qcow2 with AES": qcow2(crypt=1),
        "qcow2 with LUKS": qcow2(crypt=2, extensions=[(LUKS, bytes(16))]),
        "qcow2 with a LUKS extension": qcow2(extensions=[(LUKS, bytes(16))]),
        "qcow2 that is corrupt": qcow2(incompatible=2),
        "qcow2 with an unknown compression": qcow2(incompatible=8, compression=7),
        "qcow2 with a compression and without its feature": qcow2(compression=1),
        "qcow2 with an endless extension": qcow2(extensions=[(9, b"")])[:116]
        + b"\xff\xff\xff\xff"
        + qcow2()[120:],
        "qcow2 with a header of no length": patched(qcow2(), 100, b"\0\0\0\0"),
    }


def disguises() -> dict[str, bytes]:
    """B16: what says that it is something and is something else, or two things."""
    cd = patched(bytes(65536), 32769, b"CD001")
    raw = patched(bytes(65536), 510, b"\x55\xaa")
    return {
        "qcow2 and VHD": qcow2() + b"conectix" + bytes(504),
        "qcow2 and DMG": qcow2() + b"koly" + bytes(508),
        "qcow2 and CD": qcow2(bits=9, size=CLUSTER)[:512] + cd[512:],
        "qcow2 and boot sector": patched(qcow2(), 510, b"\x55\xaa"),
        "qcow2 and GPT": patched(qcow2(), 4096, b"EFI PART"),
        "qcow2 and VDI": patched(qcow2(), 0x40, b"\x7f\x10\xda\xbe"),
        "VMDK and CD": patched(vmdk(), 32769, b"CD001"),
        "VMDK and VHD": patched(vmdk(), -512, b"conectix"),
        "VMDK and boot sector": patched(vmdk(), 510, b"\x55\xaa"),
        "VHDX and CD": patched(cd, 0, b"vhdxfile"),
        "VHD and CD": patched(cd, 0, b"conectix"),
        "LUKS and CD": patched(cd, 0, b"LUKS\xba\xbe"),
        "LUKS": b"LUKS\xba\xbe" + bytes(4090),
        "COWD": b"COWD" + bytes(4092),
        "seSparse": b"\xbe\xba\xfe\xca" + bytes(4092),
        "QED": b"QED\0" + bytes(4092),
        "Parallels": b"WithouFreSpacExt" + bytes(4080),
        "older Parallels": b"WithoutFreeSpace" + bytes(4080),
        "Bochs": b"Bochs Virtual HD Image" + bytes(4096),
        "cloop": b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$1" + bytes(4096),
        "encrypted DMG": b"encrcdsa" + bytes(4088),
        "DMG": bytes(4096) + b"koly" + bytes(508),
        "DMG behind a boot sector": raw + b"koly" + bytes(508),
        "VHD without a checksum": raw + b"conectix" + bytes(504),
    }


def descriptors(canary: Path) -> dict[str, bytes]:
    """B17: VMDK descriptors as text."""

    def text(kind: str, *extents: str, more: str = "") -> bytes:
        words = SPLIT.replace("twoGbMaxExtentSparse", kind) + more
        return words.replace('RW 128 SPARSE "disk.vmdk"', "\n".join(extents)).encode()

    flat = f'RW 128 FLAT "{canary}" 0'
    plain = 'RW 128 SPARSE "disk-s001.vmdk"'
    split = "twoGbMaxExtentSparse"
    return {
        "flat VMDK": text("monolithicFlat", flat),
        "flat VMDK that says it is split": text(split, flat),
        "flat VMDK with a part that is not": text(split, plain, flat),
        "flat VMDK in parts": text("twoGbMaxExtentFlat", f'RW 128 FLAT "../../{canary.name}" 0'),
        "VMFS": text("vmfs", f'RW 128 VMFS "{canary}"'),
        "sparse VMFS": text("vmfsSparse", f'RW 128 VMFSSPARSE "{canary}"'),
        "whole device": text("fullDevice", f'RW 128 FLAT "{canary}" 0'),
        "split VMDK by a path": text(split, f'RW 128 SPARSE "{canary}.vmdk"'),
        "split VMDK by a path upwards": text(split, 'RW 128 SPARSE "../canary.vmdk"'),
        "split VMDK by a path for Windows": text(split, 'RW 128 SPARSE "..\\canary.vmdk"'),
        "split VMDK by a dot": text(split, 'RW 128 SPARSE ".."'),
        "split VMDK by a protocol": text(split, 'RW 128 SPARSE "nbd:x"'),
        "split VMDK with a part twice": text(split, plain, plain),
        "split VMDK with a part of zeros": text(split, plain, "RW 128 ZERO"),
        "split VMDK without parts": text(split),
        "split VMDK with a part of nothing": text(split, 'RW 0 SPARSE "disk-s001.vmdk"'),
        "split VMDK with a parent": text(
            split, plain, more=f'parentFileNameHint="{canary}.vmdk"\n'
        ),
        "split VMDK with a parent's number": text(split, plain).replace(b"ffffffff", b"12345678"),
        "split VMDK of two types": text(split, plain, more='CREATETYPE="monolithicFlat"\n'),
        "split VMDK without a type": text(split, plain).replace(b"createType", b"type"),
    }


def embedded(canary: Path) -> dict[str, bytes]:
    """B18: sparse VMDKs whose descriptor, or whose lack of one, leads elsewhere."""
    flat = DESCRIPTOR.replace("monolithicSparse", "monolithicFlat")
    flat = flat.replace('RW 128 SPARSE "disk.vmdk"', f'RW 128 FLAT "{canary}" 0')
    hint = DESCRIPTOR + f'parentFileNameHint="{canary}.vmdk"\n'
    parent = hint.replace("ffffffff", PARENT_CID.decode())
    hidden = vmdk(descriptor_at=40, grains=[0])
    return {
        "VMDK of capacity 0 with a flat descriptor": vmdk(flat, capacity=0, grains=[0]),
        "VMDK with a flat descriptor": vmdk(flat),
        "VMDK with a parent": vmdk(parent, grains=[0]),
        "VMDK with a parent and without its number": vmdk(hint, grains=[0]),
        "VMDK with a parent in capitals": vmdk(hint.replace("parentFile", "PARENTFILE")),
        "VMDK with a parent where only QEMU looks": patched(hidden, 512, parent.encode()),
        "VMDK with a parent and no descriptor": patched(
            vmdk(descriptor_at=0, grains=[0]), 512, parent.encode()
        ),
        "VMDK with a parent behind its first grain": patched(
            vmdk(descriptor_at=0, grains=[0], overhead=1), 512, parent.encode()
        ),
        "VMDK with a parent's number": vmdk(DESCRIPTOR.replace("ffffffff", "12345678")),
        "VMDK without a type": vmdk(DESCRIPTOR.replace("createType", "type")),
        "VMDK of two types": vmdk(DESCRIPTOR + 'createtype="monolithicFlat"\n'),
        "VMDK of a type in capitals": vmdk(DESCRIPTOR.replace("monolithic", "MONOLITHIC")),
        "VMDK with two extents": vmdk(DESCRIPTOR + f'RW 128 FLAT "{canary}" 0\n'),
    }


def bombs() -> dict[str, bytes]:
    """B19: sizes and tables that burn time, memory or disk; and tables that lead outside."""
    return {
        "qcow2 of 2^62 bytes": qcow2(size=1 << 62),
        "qcow2 of 2^62 bytes with large clusters": qcow2(size=1 << 62, bits=21),
        "qcow2 of no bytes": qcow2(size=0),
        "qcow2 of half a sector": qcow2(size=65536 + 256),
        "qcow2 with small clusters": qcow2(bits=8),
        "qcow2 with large clusters": qcow2(bits=22),
        "qcow2 with a short L1": qcow2(size=64 << 20),
        "qcow2 with an endless L1": qcow2(l1_size=(1 << 32) - 1),
        "qcow2 with an L1 outside": qcow2(l1_size=1 << 20),
        "qcow2 with one L2 for everything": qcow2(l1=[COPIED | 4 * CLUSTER] * 512, size=1 << 30),
        "qcow2 with an L2 outside": qcow2(l1=[COPIED | 64 * CLUSTER]),
        "qcow2 with a crooked L2": qcow2(l1=[COPIED | 4 * CLUSTER + 512]),
        "qcow2 with data outside": qcow2(l2=[COPIED | DATA, COPIED | 6 * CLUSTER]),
        "qcow2 with data far outside": qcow2(l2=[COPIED | 1 << 55]),
        "qcow2 with crooked data": qcow2(l2=[COPIED | DATA + 512]),
        "qcow2 with one cluster for everything": qcow2(l2=[COPIED | DATA] * 16),
        "qcow2 with compressed data outside": qcow2(l2=[COMPRESSED | 1 << 40]),
        "qcow2 with compressed data that ends outside": qcow2(
            l2=[COMPRESSED | 15 << 58 | DATA + 2048]
        ),
        "qcow2 with reference counts outside": qcow2(refcounts=(1 << 40, 1)),
        "qcow2 with endless reference counts": qcow2(refcounts=(CLUSTER, 1 << 31)),
        "qcow2 without reference counts": qcow2(refcounts=(0, 0)),
        "qcow2 with endless snapshots": qcow2(snapshots=(1 << 31, CLUSTER)),
        "qcow2 with snapshots outside": qcow2(snapshots=(1, 1 << 40)),
        "qcow2 header alone": qcow2()[:104],
        "qcow2 of four bytes": qcow2()[:4],
        "VMDK of 2^54 bytes": vmdk(capacity=1 << 45),
        "VMDK with a directory outside": vmdk(directory_at=1 << 40),
        "VMDK with a table outside": vmdk(directory=[1 << 30]),
        "VMDK with one table for everything": vmdk(capacity=512 * 128 * 9, directory=[22] * 9),
        "VMDK with a grain outside": vmdk(grains=[1 << 31]),
        "VMDK with one grain for everything": vmdk(capacity=128 * 512, grains=[128] * 512),
        "VMDK that is cut short": vmdk()[:-512],
        "VMDK with its directory at its end": vmdk(directory_at=(1 << 64) - 1),
    }


def others(good: dict[str, bytes]) -> dict[str, bytes]:
    """Differences and lies in the formats that QEMU made a good image of."""
    vdi, vhd, fixed = good["vdi"], good["vhd"], good["vhd-fixed"]
    large = _header(_vhd(vhd, 48, struct.pack(">Q", 64 << 20)), 28, b"\0\0\0\x20")
    return {
        "VDI that is a difference": patched(vdi, 0x4C, b"\4\0\0\0"),
        "VDI that is an undo": patched(vdi, 0x4C, b"\3\0\0\0"),
        "VDI with a parent": patched(vdi, 0x1B8, b"\1" * 16),
        "VDI with a link": patched(vdi, 0x1A8, b"\1" * 16),
        "VDI of 2^62 bytes": patched(vdi, 0x170, struct.pack("<Q", 1 << 62)),
        "VDI with a map outside": patched(vdi, 0x154, b"\0\0\0\x70"),
        "VDI with a block outside": patched(vdi, 0x200, b"\0\0\0\x70"),
        "VDI with tiny blocks": patched(vdi, 0x178, b"\0\2\0\0"),
        "VDI that is cut short": vdi[:-512],
        "VHD that is a difference": _vhd(vhd, 60, b"\0\0\0\4"),
        "VHD of an unknown type": _vhd(vhd, 60, b"\0\0\0\x09"),
        "VHD of 2^62 bytes": _vhd(vhd, 48, struct.pack(">Q", 1 << 62)),
        "VHD with a wrong checksum": patched(vhd, -512 + 60, b"\0\0\0\2"),
        "VHD that is cut short": vhd[:-512],
        "VHD with two footers": _vhd(vhd, 84, b"\1")[:-512] + vhd[-512:],
        "VHD of version 2": _vhd(vhd, 12, b"\0\2"),
        "VHD with few blocks": _header(vhd, 28, bytes(4)),
        "VHD with a crooked table": _header(vhd, 16, bytes(7) + b"\1"),
        "VHD with one block for everything": patched(large, 1536, b"\0\0\0\4" * 32),
        "VDI of version 2": patched(vdi, 0x48 - 4, b"\0\0\2\0"),
        "VDI of an unknown type": patched(vdi, 0x4C, b"\7"),
        "VDI with more blocks than its disk": patched(vdi, 0x180, b"\xff"),
        "VDI with more blocks than it says": patched(vdi, 0x184, bytes(4)),
        "VDI with a crooked map": patched(vdi, 0x154, b"\1\2"),
        "VHD with a parent": _header(vhd, 40, b"\1" * 16),
        "VHD with a table outside": _header(vhd, 16, b"\x70" + bytes(7)),
        "VHD with endless blocks": _header(vhd, 32, b"\x80\0\0\0"),
        "VHD with a block outside": patched(vhd, 1536, b"\x70\0\0\0"),
        "fixed VHD of another size": patched(fixed, 0, b"")[:4096] + fixed[-512:],
        "fixed VHD in a dynamic one": fixed[-512:] + fixed[512:],
    } | vhdxs(good["vhdx"])


def vhdxs(good: bytes) -> dict[str, bytes]:
    """VHDX images with parents, logs and blocks that are elsewhere."""
    log = b"\1" * 16
    parameters = good.index(PARAMETERS)
    table = good.index(b"metadata")
    item = table + int.from_bytes(good[parameters + 16 : parameters + 20], "little")
    size = good.index(DISK_SIZE)
    size_item = table + int.from_bytes(good[size + 16 : size + 20], "little")
    regions = [0x30010, 0x30030]
    blocks = next(at for at in regions if good[at : at + 4] == b"\x66\x77\xc2\x2d")
    map_at = int.from_bytes(good[blocks + 16 : blocks + 24], "little")
    return {
        "VHDX with a parent": patched(good, item + 4, b"\2"),
        "VHDX with the place of a parent": patched(good, parameters, PARENT),
        "VHDX with a log": _sealed(_sealed(good, 0x10000, 48, log), 0x20000, 48, log),
        "VHDX of version 2": _sealed(_sealed(good, 0x10000, 66, b"\2"), 0x20000, 66, b"\2"),
        "VHDX with broken headers": patched(patched(good, 0x10010, log), 0x20010, log),
        "VHDX with broken regions": patched(patched(good, 0x30010, log), 0x40010, log),
        "VHDX with an unknown region": _regions(
            good, blocks, log + good[blocks + 16 : blocks + 28] + b"\1"
        ),
        "VHDX with a region outside": _regions(good, blocks + 16, struct.pack("<Q", 1 << 40)),
        "VHDX of 2^62 bytes": patched(good, size_item, struct.pack("<Q", 1 << 62)),
        "VHDX with tiny blocks": patched(good, item, b"\0\2\0\0"),
        "VHDX with a block in its parent": patched(good, map_at, b"\7"),
        "VHDX with a block outside": patched(good, map_at, struct.pack("<Q", 1 << 40 | 6)),
        "VHDX with a block of no state": patched(good, map_at, b"\4"),
        "VHDX that is cut short": good[: len(good) // 2],
        "VHDX signature alone": b"vhdxfile" + bytes(504),
    }


def _vhd(image: bytes, offset: int, data: bytes) -> bytes:
    """A VHD with other bytes in its footer and its copy, and the checksum that belongs to them."""
    footer = _summed(patched(image[-512:], offset, data), 64)
    return footer + image[512:-512] + footer


def _header(image: bytes, offset: int, data: bytes) -> bytes:
    """A dynamic VHD with other bytes in its second header, and its checksum."""
    return image[:512] + _summed(patched(image[512:1536], offset, data), 36) + image[1536:]


def _summed(data: bytes, at: int) -> bytes:
    bare = patched(data, at, bytes(4))
    return patched(bare, at, struct.pack(">I", ~sum(bare) & 0xFFFFFFFF))


def _sealed(image: bytes, place: int, offset: int, data: bytes, length: int = 4096) -> bytes:
    """A VHDX with other bytes in one of its headers, and the checksum that belongs to them."""
    header = patched(image[place : place + length], offset, data)
    bare = patched(header, 4, bytes(4))
    return patched(image, place, patched(bare, 4, struct.pack("<I", crc32c(bare))))


def _regions(image: bytes, offset: int, data: bytes) -> bytes:
    """A VHDX with other bytes in both region tables; the offset is that in the first."""
    once = _sealed(image, 0x30000, offset - 0x30000, data, 0x10000)
    return _sealed(once, 0x40000, offset - 0x30000, data, 0x10000)


def images(canary: Path, good: dict[str, bytes]) -> dict[str, bytes]:
    """All of them. `good` has a vdi, a vhd, a vhd-fixed and a vhdx of QEMU's."""
    return {
        **backing_files(canary),
        **features(canary),
        **disguises(),
        **descriptors(canary),
        **embedded(canary),
        **bombs(),
        **others(good),
    }
