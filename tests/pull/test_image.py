"""What a disk image is by its content, and what the gate says of good ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pull import good, hostile
from vm_pull.images.image import Image, judge, sniff
from vm_spec.fault import VmError

BOOT = b"\x55\xaa"


def at(offset: int, data: bytes, size: int = 65536) -> bytes:
    return hostile.patched(bytes(size), offset, data)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("qcow2", b"QFI\xfb\0\0\0\3"),
        ("vdi", at(0x40, b"\x7f\x10\xda\xbe")),
        ("vhd", b"conectix" + bytes(504)),
        ("vhdx", b"vhdxfile" + bytes(504)),
        ("vmdk-sparse", hostile.vmdk()),
        ("vmdk-stream", hostile.patched(hostile.vmdk(), 8, b"\1\0\3\0")),
        ("vmdk-stream", hostile.patched(hostile.vmdk(), 77, b"\1\0")),
        ("vmdk-text", b"# Disk DescriptorFile\nversion=1\n"),
        ("vmdk-text", b"# disk descriptorfile\r\nversion=1\r\n"),
        ("raw", at(510, BOOT)),
        ("raw", at(512, b"EFI PART")),
        ("raw", at(4096, b"EFI PART")),
        ("iso", at(32769, b"CD001")),
        ("iso", hostile.patched(at(32769, b"CD001"), 510, BOOT)),  # it boots from USB sticks too
        ("iso", at(32769, b"BEA01")),
        ("", b""),
        ("", b"Q"),
        ("", bytes(65536)),
        ("", b"#!/bin/sh\nexit\n"),
        ("", b'{"provider": "libvirt"}'),
    ],
)
def test_the_beginning_tells_what_it_is(kind: str, first: bytes) -> None:
    assert sniff(first) == kind
    assert sniff(bytearray(first)) == kind
    assert sniff(memoryview(first)) == kind


def test_what_cannot_be_used_is_called_by_its_name() -> None:
    with pytest.raises(VmError) as caught:
        sniff(b"LUKS\xba\xbe\0\1")
    assert str(caught.value) == (
        "the disk image is encrypted with LUKS, which cannot be used\n"
        "  hint: choose a box of another provider or version"
    )
    assert caught.value.status == 77


def test_several_formats_at_once_are_all_named() -> None:
    with pytest.raises(VmError, match="a qcow2 image and a CD image") as caught:
        sniff(hostile.patched(at(32769, b"CD001"), 0, b"QFI\xfb"))
    assert caught.value.status == 77


def judged(path: Path, kind: str, content: bytes, most_bytes: int = good.MOST) -> Image:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return judge(fd, kind, most_bytes=most_bytes)
    finally:
        os.close(fd)


def test_a_raw_disk_is_as_large_as_its_file(tmp_path: Path) -> None:
    disk = at(510, BOOT, 1 << 20)
    assert judged(tmp_path / "a", "raw", disk) == Image(kind="raw", size=1 << 20)


def test_a_raw_disk_that_cannot_boot_is_accepted_with_a_note(tmp_path: Path) -> None:
    image = judged(tmp_path / "a", "raw", bytes(4096))
    assert image.notes == ("has no boot sector and no partition table",)
    cd = judged(tmp_path / "a", "raw", at(32769, b"CD001"))
    assert cd.notes == ("is a CD image",)


@pytest.mark.parametrize("size", [0, 511, 65536 + 1])
def test_a_raw_disk_of_no_whole_sectors_is_damaged(tmp_path: Path, size: int) -> None:
    with pytest.raises(VmError, match=f"its disk has {size} bytes") as caught:
        judged(tmp_path / "a", "raw", bytes(size))
    assert caught.value.status == 65


@pytest.mark.parametrize(
    "content", [hostile.qcow2(), hostile.vmdk(), b"vhdxfile" + bytes(504), b"QED\0" + bytes(508)]
)
def test_a_raw_disk_that_begins_as_another_image_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whoever opens it without a format would see what it points at."""
    with pytest.raises(VmError) as caught:
        judged(tmp_path / "a", "raw", content)
    assert caught.value.status == 77


def test_an_image_of_another_kind_than_was_said_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="the VDI image contains a qcow2 image"):
        judged(tmp_path / "a", "vdi", hostile.qcow2())


@pytest.mark.parametrize("kind", ["iso", "vmdk-stream", "vmdk-text"])
def test_what_is_no_disk_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = {
        "iso": at(32769, b"CD001"),
        "vmdk-stream": hostile.patched(hostile.vmdk(), 8, b"\1\0\3\0"),
        "vmdk-text": b"# Disk DescriptorFile\n" + bytes(512),
    }
    with pytest.raises(VmError, match="which is not a disk"):
        judged(tmp_path / "a", kind, content[kind])


@pytest.mark.parametrize("name", good.KINDS)
def test_a_good_image_of_each_kind_is_accepted_with_its_size(tmp_path: Path, name: str) -> None:
    disk = good.disk()
    path = good.make(tmp_path, name, disk)
    image = good.judged(path)
    assert image.kind == name.partition("-")[0].replace("vmdk", "vmdk-sparse")
    assert image.notes == ()
    if name == "vhd-cylinders":  # QEMU rounds the disk up to whole cylinders
        assert len(disk) <= image.size < len(disk) + 16 * 63 * 512
    else:
        assert image.size == len(disk)


@pytest.mark.parametrize("name", good.KINDS)
def test_a_disk_larger_than_is_accepted_is_said_to_be(tmp_path: Path, name: str) -> None:
    path = good.make(tmp_path, name, good.disk())
    with pytest.raises(VmError, match="0 GiB is the most accepted") as caught:
        good.judged(path, most_bytes=1 << 20)
    assert caught.value.status == 65


def test_a_fixed_vhd_is_found_by_its_end_whatever_its_beginning(tmp_path: Path) -> None:
    path = good.make(tmp_path, "vhd-fixed", good.disk())
    assert sniff(path.read_bytes()) == "raw"
    assert good.judged(path).kind == "vhd"
    empty = good.make(tmp_path, "vhd-fixed", bytes(1 << 20))
    assert sniff(empty.read_bytes()) == ""
    assert good.judged(empty) == Image(kind="vhd", size=1 << 20)


CUT = [name for name in good.KINDS if name not in {"raw", "vhd-fixed"}]


@pytest.mark.parametrize("part", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", CUT)
def test_an_image_that_is_cut_short_is_found(tmp_path: Path, name: str, part: float) -> None:
    content = good.make(tmp_path, name, good.disk()).read_bytes()
    cut = min(int(len(content) * (1 - part)), len(content) - spare(name))
    path = tmp_path / "cut"
    path.write_bytes(content[:cut])
    with pytest.raises(VmError) as caught:
        good.judged(path)
    assert caught.value.status == 65


def spare(name: str) -> int:
    """Bytes of the last cluster behind the disk's end: nobody misses them."""
    cluster = {"qcow2-2m": 2 << 20, "qcow2-512": 512, "qcow2-4k": 4096}.get(name, 65536)
    unused = -len(good.disk()) % cluster
    return unused + 512
