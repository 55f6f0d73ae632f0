"""Hostile boxes: each is refused, leaves no file, and touches nothing outside its folder."""

import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pull import boxes, virtualbox
from tests.pull.unpack_room import DISK, MOST, OVF, Room, kinds, qemu_img, room

__all__ = ["room"]  # the fixture

SMALL = boxes.boot_disk(1 << 16)
SMALL_RAW = boxes.file("box.img", SMALL)


def hostile(canary: str) -> dict[str, tuple[bytes, str]]:
    """Boxes of rows B7, B8 and B10: the archive, and words of what is said of it."""
    up = "../canary.vmdk"
    twice = "is in the box twice"
    outside = "outside of the box's folder"
    no_name = "is no name for a file"
    good = boxes.file("a.img", SMALL)

    def one(*members: bytes) -> bytes:
        return boxes.box(good, *members, boxes.METADATA)

    return {
        "b7 symlink": (one(boxes.header("box.ovf", 0, boxes.LINK, target=canary)), "symbolic link"),
        "b7 symlink as the disk": (
            one(boxes.header("box.img", 0, boxes.LINK, target=up)),
            "symbolic link",
        ),
        "b7 hard link": (one(boxes.header("box.ovf", 0, boxes.HARD_LINK, target=up)), "hard link"),
        "b7 hard link with content": (
            one(boxes.header("d.img", 512, boxes.HARD_LINK, target=canary) + bytes(512)),
            "hard link",
        ),
        "b7 block device": (one(boxes.header("box.img", 0, boxes.DEVICE)), "block device"),
        "b7 character device": (one(boxes.header("box.img", 0, boxes.CHARACTER)), "character"),
        "b7 fifo": (one(boxes.header("box.img", 0, boxes.FIFO)), "FIFO"),
        "b7 absolute": (one(boxes.file(canary, b"new")), outside),
        "b7 absolute by PAX": (one(boxes.pax({"path": canary}), boxes.file("x", b"new")), outside),
        "b7 absolute by a long name": (
            one(boxes.long_name(canary), boxes.file("x", b"n")),
            outside,
        ),
        "b7 dot dot": (one(boxes.file(up, b"new")), outside),
        "b7 dot dot amid": (one(boxes.file("a/../../canary.vmdk", b"new")), outside),
        "b7 dot dot folder": (one(boxes.folder("../up/")), outside),
        "b7 dot dot by a prefix": (
            one(boxes.header("canary.vmdk", 0, rest=b"..")),
            outside,
        ),
        "b7 dot dot in a sparse name": (
            one(boxes.pax_sparse(up, [(0, b"x" * 512)], 512)),
            outside,
        ),
        "b7 backslash": (one(boxes.file("..\\canary.vmdk", b"new")), no_name),
        "b7 NUL": (one(boxes.pax({"path": "box.ovf\0.txt"}), boxes.file("x", b"n")), no_name),
        "b7 newline": (one(boxes.file("box\n.ovf", b"n")), no_name),
        "b7 escape": (one(boxes.file("\x1b]0;owned\x07.ovf", b"n")), no_name),
        "b7 turned around": (one(boxes.file("box\u202efvo.exe", b"n")), no_name),
        "b7 no name": (one(boxes.file("", b"n")), "has no name"),
        "b7 only dots": (one(boxes.file("././.", b"n")), "has no name"),
        "b7 not UTF-8": (one(boxes.file(b"\xff\xfe.ovf", b"n")), "not UTF-8"),
        "b7 an endless name": (one(boxes.long_name("a" * 60_000), boxes.file("x")), no_name),
        "b7 twice": (one(OVF, OVF), twice),
        "b7 twice with a dot": (one(OVF, boxes.file("./box.ovf", b"n")), twice),
        "b7 twice with slashes": (one(boxes.file("a/b"), boxes.file("a//./b")), twice),
        "b7 twice in another case": (one(OVF, boxes.file("BOX.OVF", b"n")), twice),
        "b7 twice in another form": (one(boxes.file("\u00e9"), boxes.file("e\u0301")), twice),
        "b8 through a link": (
            one(
                boxes.header("a", 0, boxes.LINK, target=os.path.dirname(canary)),
                boxes.file("a/canary.vmdk", b"new"),
            ),
            "symbolic link",
        ),
        "b8 through a long link": (
            one(
                boxes.long_name("b/" * 2000 + "..", boxes.LONG_LINK),
                boxes.header("a", 0, boxes.LINK),
                boxes.file("a/canary.vmdk", b"new"),
            ),
            "symbolic link",
        ),
        "b9 long name": (
            boxes.box(boxes.header("././@LongLink", 65537, boxes.LONG_NAME) + bytes(66048)),
            "64 KiB",
        ),
        "b9 long link": (
            boxes.box(boxes.header("././@LongLink", 1 << 40, boxes.LONG_LINK)),
            "64 KiB",
        ),
        "b9 solaris": (boxes.box(boxes.header("x", 1 << 20, boxes.SOLARIS)), "64 KiB"),
        "b9 global": (boxes.box(boxes.header("x", 1 << 33, boxes.PAX_GLOBAL)), "64 KiB"),
        "b9 extended headers without end": (
            boxes.box(*[boxes.pax({"comment": "x"}, boxes.PAX_GLOBAL)] * 9, SMALL_RAW),
            "more than 8 extended headers",
        ),
        "b9 one name for all": (
            boxes.box(boxes.pax({"path": canary}, boxes.PAX_GLOBAL), SMALL_RAW),
            "one name or size",
        ),
        "b10 negative size": (boxes.box(boxes.header("box.img", -512)), "is none"),
        "b10 huge size": (boxes.box(boxes.header("box.img", 1 << 80)), "impossibly large"),
        "b10 negative size by PAX": (
            boxes.box(boxes.pax({"size": "-1024"}), boxes.file("box.img", SMALL)),
            "is none",
        ),
        "b10 negative hole": (
            boxes.box(boxes.old_sparse("box.img", [(-512, b"x" * 512)], 1024)),
            "is none",
        ),
        "b10 sparse of 2^62": (
            boxes.box(boxes.old_sparse("box.img", [(0, SMALL[:512])], 1 << 62)),
            "are allowed",
        ),
        "b10 PAX sparse of 2^59": (
            boxes.box(boxes.pax_sparse("box.img", [(0, SMALL[:512])], 1 << 59)),
            "are allowed",
        ),
        "b10 sparse text": (
            boxes.box(boxes.old_sparse("box.ovf", [(1 << 40, b"x")], (1 << 40) + 1)),
            "is a text of",
        ),
        "b10 sparse others": (
            boxes.box(boxes.old_sparse("README", [(0, b"x")], 1 << 62)),
            "what is no disk",
        ),
        "b10 sparse streamed VMDK": (
            boxes.box(
                boxes.old_sparse("a.vmdk", [(0, virtualbox.image(SMALL))], 65 << 20), SMALL_RAW
            ),
            "are allowed",
        ),
        "b10 large text": (boxes.box(boxes.file("metadata.json", bytes((1 << 20) + 1))), "a text"),
        "b10 many texts": (
            boxes.box(*(boxes.file(f"{n}.ovf", bytes(1 << 20)) for n in range(9))),
            "the texts of the box",
        ),
        "b10 large member": (boxes.box(boxes.header("b.img", 1 << 40) + SMALL), "are allowed"),
    }


def row(number: str) -> list[str]:
    return [name for name in hostile("/canary") if name.startswith(f"{number} ")]


@pytest.mark.parametrize("name", row("b7"))
def test_threat_b7_what_is_no_plain_file_of_a_plain_name_is_refused(room: Room, name: str) -> None:
    data, words = hostile(str(room.canary))[name]
    assert words in room.refuse(data)


@pytest.mark.parametrize("name", row("b8"))
def test_threat_b8_nothing_is_written_through_a_link(room: Room, name: str) -> None:
    data, words = hostile(str(room.canary))[name]
    assert words in room.refuse(data)


@pytest.mark.parametrize("name", row("b9"))
def test_threat_b9_an_extended_header_is_small_and_about_one_member(room: Room, name: str) -> None:
    data, words = hostile(str(room.canary))[name]
    assert words in room.refuse(data)


@pytest.mark.parametrize("name", row("b10"))
def test_threat_b10_a_size_that_no_box_has_is_refused(room: Room, name: str) -> None:
    data, words = hostile(str(room.canary))[name]
    assert words in room.refuse(data)


def test_threat_b7_a_link_is_refused_in_a_zip_too(room: Room) -> None:
    target = str(room.canary).encode()
    data = boxes.zipped([("box.img", target)], mode=stat.S_IFLNK | 0o777)
    assert "is a link or a device" in room.refuse(data)


@pytest.mark.parametrize(
    "name", ["/canary.vmdk", "../canary.vmdk", "a\\b", "a\nb", "a\0b", "a/../../b"]
)
def test_threat_b7_a_zip_has_no_other_names(room: Room, name: str) -> None:
    stand_in = "".join(chr(65 + at) for at in range(len(name)))
    data = boxes.zipped([(stand_in, DISK)]).replace(stand_in.encode(), name.encode())
    assert "box" in room.refuse(data)


def test_threat_b7_names_twice_in_a_zip_are_refused(room: Room) -> None:
    data = boxes.zipped([("box.ovf", b"1"), ("BOX.OVF", b"2")])
    assert "twice" in room.refuse(data)


def test_threat_b9_a_header_of_300_mb_costs_no_memory(room: Room, tmp_path: Path) -> None:
    size = 300 << 20
    head = boxes.header("PaxHeaders/x", size, boxes.PAX)
    box = room.inside / "box"
    box.write_bytes(boxes.gzip_of_zeros(head + b"%d comment=" % size, size - 18, boxes.END))
    program = """
import os, resource, sys
from vm_pull.unpack import unpack
from vm_spec.fault import VmError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as file:
    try:
        unpack(iter(lambda: file.read(65536), b""), os.open(sys.argv[2], os.O_RDONLY),
               most_bytes=1 << 40, tell=print)
    except VmError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    argv = [sys.executable, "-c", program, str(box), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    box.unlink()
    assert "an extended header of the box has" in done.stdout
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout.split()[-1]) * unit < 20 << 20


def test_threat_b10_a_gzip_bomb_ends_at_the_limit(room: Room) -> None:
    data = boxes.gzip_of_zeros(boxes.header("README", 3 << 30), 160 << 20)
    assert len(data) < 1 << 20
    assert "holds more than a box may" in room.refuse(data)


def test_threat_b10_zeros_without_end_after_the_archive_end(room: Room) -> None:
    data = boxes.gzip_of_zeros(boxes.tar(boxes.METADATA), 160 << 20)
    assert "holds more than a box may" in room.refuse(data)


def test_threat_b10_a_streamed_vmdk_is_limited_by_its_own_size(room: Room) -> None:
    image = virtualbox.image(DISK)
    capacity = struct.pack("<Q", (MOST >> 9) + 128)
    large = image[:12] + capacity + image[20:]
    assert "box.vmdk" in room.refuse(boxes.box(boxes.file("box.vmdk", large)))


def test_threat_b10_a_zip_bomb_is_refused_before_it_is_inflated(room: Room) -> None:
    data = boxes.zipped([("box.img", bytes(140 << 20))])
    assert len(data) < 1 << 20
    assert "bytes together" in room.refuse(data)


def test_threat_b10_a_zip_that_lies_about_a_size_is_refused(room: Room) -> None:
    data = boxes.zipped([("box.img", DISK)])
    size = struct.pack("<I", len(DISK))
    for lie in (512, len(DISK) - 1, len(DISK) + 1):
        assert room.refuse(data.replace(size, struct.pack("<I", lie)))


def test_threat_b10_a_zip_with_a_huge_directory_is_refused(room: Room) -> None:
    many = [(f"{number:05}" + "x" * 300, b"") for number in range(3500)]
    assert "impossibly large" in room.refuse(boxes.zipped(many))
    assert "more than 4096" in room.refuse(boxes.zipped([(str(n), b"") for n in range(5000)]))


def test_an_encrypted_zip_is_refused(room: Room) -> None:
    data = bytearray(boxes.zipped([("box.img", DISK)]))
    data[data.index(b"PK\1\2") + 8] |= 1
    data[6] |= 1
    assert "look for a box that is not" in room.refuse(bytes(data))


def test_a_zip_compressed_otherwise_is_refused(room: Room) -> None:
    data = bytearray(boxes.zipped([("box.img", DISK)]))
    at = data.index(b"PK\1\2") + 10
    data[at : at + 2] = struct.pack("<H", zipfile.ZIP_LZMA)
    assert "compressed in a way" in room.refuse(bytes(data))


@pytest.mark.parametrize("mode", [0o777, 0o4755, 0o2755, 0o6777, 0o000])
def test_threat_b11_modes_and_owners_of_the_archive_are_not_taken(room: Room, mode: int) -> None:
    xattr = boxes.pax({"SCHILY.xattr.security.capability": b"\1\0\0\2", "uid": "0", "gid": "0"})
    room.unpack(boxes.box(xattr, boxes.file("box.img", DISK, mode=mode)))
    found = (room.inside / "disk0").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    assert os.listxattr(room.inside / "disk0") == []


def test_threat_b16_content_decides_whatever_the_name_says(room: Room, tmp_path: Path) -> None:
    image = qemu_img(tmp_path, DISK, "-O", "qcow2")
    found = room.unpack(boxes.box(boxes.file("disk.vmdk", image)))
    assert kinds(found) == [("disk.vmdk", "disk0", "qcow2")]


def test_threat_b16_a_decoded_disk_that_is_another_image_is_refused(
    room: Room, tmp_path: Path
) -> None:
    inner = qemu_img(tmp_path, DISK, "-O", "qcow2")
    vmdk = boxes.file("box.vmdk", virtualbox.image(inner + bytes(-len(inner) % 65536)))
    assert "box.vmdk" in room.refuse(boxes.box(vmdk))
