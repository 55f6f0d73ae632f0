"""A box is taken apart in one pass, whatever its order, and a hostile one leaves nothing."""

import hashlib
import os
import random
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pull import boxes, virtualbox
from tests.pull.unpack_room import DISK, MOST, OVF, RAW, Room, kinds, qemu_img, room
from vm_pull.archive.pipe import hashed
from vm_pull.unpack import unpack
from vm_spec.fault import VmError

__all__ = ["room"]  # the fixture


@pytest.mark.parametrize("how", ["gzip", "multi-gzip", "xz", "bzip2", "plain"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_raw_disk_comes_out_as_it_was(room: Room, how: str, prefix: str) -> None:
    data = boxes.box(
        boxes.folder("./"),
        boxes.file(f"{prefix}metadata.json", b"{}"),
        boxes.file(f"{prefix}box.img", DISK),
        how=how,
    )
    found = room.unpack(data)
    assert kinds(found) == [("box.img", "disk0", "raw")]
    assert found.disks[0].image.size == len(DISK)
    assert found.texts == {"metadata.json": b"{}"}
    assert room.files() == {"disk0": DISK}
    assert room.told == ["unpacking box.img"]


def test_the_order_of_members_does_not_matter(room: Room) -> None:
    first = room.unpack(boxes.box(RAW, boxes.METADATA, boxes.VAGRANTFILE))
    (room.inside / "disk0").unlink()
    last = room.unpack(boxes.box(boxes.VAGRANTFILE, boxes.METADATA, RAW))
    assert first == last


def test_several_disks_are_numbered_as_they_come(room: Room) -> None:
    other = boxes.boot_disk(1 << 20, b"other")
    data = boxes.box(boxes.file("b.img", DISK), boxes.METADATA, boxes.file("a/b.img", other))
    found = room.unpack(data)
    assert kinds(found) == [("b.img", "disk0", "raw"), ("a/b.img", "disk1", "raw")]
    assert room.files() == {"disk0": DISK, "disk1": other}


def test_zeros_become_holes(room: Room) -> None:
    room.unpack(boxes.box(boxes.file("box.img", boxes.boot_disk(32 << 20))))
    assert (room.inside / "disk0").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("how", [boxes.old_sparse, boxes.pax_sparse])
def test_holes_of_a_sparse_member_cost_nothing(room: Room, how: Callable[..., bytes]) -> None:
    size = 8 << 40
    pieces = [(0, DISK[:4096]), (size - 512, b"x" * 512)]
    found = room.unpack(boxes.box(how("box.img", pieces, size), boxes.METADATA), most_bytes=size)
    assert found.disks[0].image.size == size
    disk = room.inside / "disk0"
    assert disk.stat().st_blocks * 512 < 1 << 20
    with disk.open("rb") as file:
        assert file.read(4096) == DISK[:4096]
        file.seek(size - 512)
        assert file.read() == b"x" * 512


@pytest.mark.parametrize("first", [boxes.METADATA, b""])
def test_a_streamed_vmdk_is_decoded_wherever_it_stands(room: Room, first: bytes) -> None:
    vmdk = boxes.file("box-disk001.vmdk", virtualbox.image(DISK))
    found = room.unpack(boxes.box(first, vmdk, OVF), size=777)
    assert kinds(found) == [("box-disk001.vmdk", "disk0", "raw")]
    assert room.files() == {"disk0": DISK}
    assert room.told == ["decoding box-disk001.vmdk"]
    assert found.texts["box.ovf"] == b"<Envelope/>"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["-O", "qcow2"], "qcow2"),
        (["-O", "qcow2", "-c"], "qcow2"),
        (["-O", "vmdk"], "vmdk-sparse"),
        (["-O", "vdi"], "vdi"),
        (["-O", "vpc"], "vhd"),
        (["-O", "vpc", "-o", "subformat=fixed"], "vhd"),
        (["-O", "vhdx"], "vhdx"),
    ],
)
def test_other_images_are_kept_byte_for_byte(
    room: Room, tmp_path: Path, words: list[str], kind: str
) -> None:
    image = qemu_img(tmp_path, DISK, *words)
    found = room.unpack(boxes.box(boxes.file("Virtual Hard Disks/a disk", image), boxes.METADATA))
    assert [disk.image.kind for disk in found.disks] == [kind]
    assert room.files() == {"disk0": image}


def test_texts_are_kept_whole_and_others_named(room: Room) -> None:
    found = room.unpack(
        boxes.box(
            boxes.file("./include/_Vagrantfile", b"v"),
            boxes.file("include/big.bin", b"\x7fELF" + bytes(1 << 20)),
            boxes.file("box.ovf", b"o"),
            boxes.file("box.mf", b"m"),
            boxes.file("info.json", b"{}"),
            boxes.file("vm.vmx", b"x"),
            boxes.file("disk.vmdk", b"# Disk DescriptorFile\nversion=1\n"),
            boxes.file("box.nvram", DISK[:1024]),
            boxes.file("uefi.fd", bytes(4096)),
            boxes.file("seed.iso", DISK[:1024]),
            boxes.file("._box.ovf", b"\0\5\x16\7"),
            boxes.file("._box.img", b"\0\5\x16\7"),
            boxes.file("README", b"r"),
            boxes.file("empty"),
        )
    )
    assert found.texts == {
        "include/_Vagrantfile": b"v",
        "box.ovf": b"o",
        "box.mf": b"m",
        "info.json": b"{}",
        "vm.vmx": b"x",
        "disk.vmdk": b"# Disk DescriptorFile\nversion=1\n",
    }
    left = "include/big.bin box.nvram uefi.fd seed.iso ._box.ovf ._box.img README empty"
    assert found.others == tuple(left.split())
    assert found.disks == ()


def test_a_disk_without_a_mark_is_known_by_its_name(room: Room) -> None:
    data = boxes.box(boxes.file("data.img", b"some data".ljust(4096)), boxes.file("data", b"?"))
    found = room.unpack(data)
    assert kinds(found) == [("data.img", "disk0", "raw")]
    assert found.others == ("data",)


def test_a_zip_box_is_read_too(room: Room) -> None:
    data = boxes.zipped([("box.img", DISK), ("metadata.json", b"{}"), ("a/", b"")])
    found = room.unpack(data, size=3)
    assert kinds(found) == [("box.img", "disk0", "raw")]
    assert found.texts == {"metadata.json": b"{}"}
    assert room.files() == {"disk0": DISK}


def test_the_last_byte_of_the_box_is_waited_for(room: Room) -> None:
    data = boxes.box(RAW)
    for missing in (1, 4, 8, 9, 600):
        assert "cut short" in room.refuse(data[:-missing])
    wrong = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    assert "damaged" in room.refuse(wrong)
    assert "something follows" in room.refuse(data + b"GARBAGE")
    plain = boxes.box(RAW, how="plain")
    assert "cut short" in room.refuse(plain[:-1])
    assert "cut short" in room.refuse(plain[:-1024])
    assert "cut short" in room.refuse(plain[:-2048])


def test_a_fault_names_its_member(room: Room) -> None:
    said = room.refuse(boxes.box(boxes.file("odd.img", b"LUKS\xba\xbe" + bytes(4096))))
    assert said.startswith("odd.img: ")


def test_earlier_disks_are_removed_when_a_later_member_is_refused(room: Room) -> None:
    data = boxes.box(RAW, boxes.file("b.img", DISK), boxes.header("l", 0, boxes.LINK))
    assert "symbolic link" in room.refuse(data)
    assert room.told == ["unpacking box.img", "unpacking b.img"]


def test_files_of_others_in_the_folder_are_left_alone(room: Room) -> None:
    other = room.inside / "disk0"
    other.write_bytes(b"other")
    with pytest.raises(VmError, match="disk0 cannot be made"):
        room.unpack(boxes.box(RAW))
    assert room.files() == {"disk0": b"other"}


def test_an_interruption_leaves_no_file_and_no_thread(room: Room) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    folder = os.open(room.inside, os.O_RDONLY)
    data = boxes.blocks(boxes.box(RAW, boxes.file("b.img", DISK)))
    with pytest.raises(KeyboardInterrupt):
        unpack(data, folder, most_bytes=MOST, tell=interrupt)
    os.close(folder)
    assert room.files() == {}


def test_an_error_of_the_source_is_passed_on_and_leaves_nothing(room: Room) -> None:
    def source() -> Iterator[bytes]:
        yield boxes.box(RAW)[:2000]
        raise ConnectionResetError

    folder = os.open(room.inside, os.O_RDONLY)
    with pytest.raises(ConnectionResetError):
        unpack(source(), folder, most_bytes=MOST, tell=room.told.append)
    os.close(folder)
    assert room.files() == {}


def test_a_source_that_hangs_is_interrupted_when_the_box_is_refused(room: Room) -> None:
    never = threading.Event()

    def source() -> Iterator[bytes]:
        yield boxes.tar(boxes.header("l", 0, boxes.LINK))
        assert never.wait(60)

    folder = os.open(room.inside, os.O_RDONLY)
    with pytest.raises(VmError, match="symbolic link"):
        unpack(source(), folder, most_bytes=MOST, tell=room.told.append, interrupt=never.set)
    os.close(folder)


def test_no_file_stays_open(room: Room) -> None:
    before = os.listdir("/dev/fd")
    room.unpack(boxes.box(RAW))
    room.unpack(boxes.box(OVF))
    with pytest.raises(VmError):
        room.unpack(boxes.box(RAW))
    assert os.listdir("/dev/fd") == before


def test_a_full_disk_is_told_and_leaves_nothing(room: Room) -> None:
    noise = random.Random(1).randbytes(1 << 20)  # noqa: S311  the same each time
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, old[1]))
    try:
        said = room.refuse(boxes.box(boxes.file("box.img", DISK[:1024] + noise)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "box.img: disk0 cannot be written" in said


GOOD = boxes.tar(
    boxes.METADATA,
    boxes.file("box.vmdk", virtualbox.image(boxes.boot_disk(1 << 17))),
    boxes.old_sparse("data.img", [(0, DISK[:512]), (65536, b"x" * 512)], 1 << 17),
    OVF,
)


def mutated(data: bytes, seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311  the same each time
    result = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(result))
        match chance.randrange(4):
            case 0:
                result[at] ^= 1 << chance.randrange(8)
            case 1:
                del result[at : at + chance.choice([1, 512, 3000])]
            case 2:
                result[at : at + 8] = chance.choice([bytes(8), b"\xff" * 8, b"../../x\0"])
            case _:
                begin = at // 512 * 512
                result[begin + at % 500] ^= 0x11
                result[begin : begin + 512] = boxes.summed(bytes(result[begin : begin + 512]))
    return bytes(result)


@pytest.mark.parametrize("seeds", range(4))
def test_a_mutated_box_is_refused_or_whole(room: Room, seeds: int) -> None:
    outcomes = {"refused": 0, "taken": 0}
    for seed in range(seeds * 100, seeds * 100 + 100):
        try:
            found = room.unpack(mutated(GOOD, seed))
        except VmError:
            assert room.files() == {}, seed
            outcomes["refused"] += 1
            continue
        outcomes["taken"] += 1
        files = room.files()
        assert sorted(files) == sorted(disk.file for disk in found.disks), seed
        for disk in found.disks:
            if disk.image.kind == "raw":
                assert len(files[disk.file]) == disk.image.size, seed
            (room.inside / disk.file).unlink()
        assert room.files() == {}, seed
    assert outcomes["refused"] > 20
    room.check()


@pytest.mark.parametrize("how", ["gzip", "multi-gzip", "xz", "bzip2", "plain", "zip"])
def test_the_whole_box_is_taken_from_its_source(room: Room, how: str) -> None:
    data = boxes.zipped([("a.img", DISK)]) if how == "zip" else boxes.box(RAW, how=how)
    data += b"" if how == "zip" else bytes(99_999)
    digest = hashlib.sha256()
    folder = os.open(room.inside, os.O_RDONLY)
    source = hashed(boxes.blocks(data, 1000), digest)
    unpack(source, folder, most_bytes=MOST, tell=room.told.append)
    os.close(folder)
    assert digest.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("how", ["gzip", "xz", "zip"])
def test_a_mutated_compressed_box_is_refused_or_the_same(room: Room, how: str) -> None:
    files = [("metadata.json", b"{}"), ("box.img", DISK)]
    data = boxes.zipped(files) if how == "zip" else boxes.box(boxes.METADATA, RAW, how=how)
    good = room.unpack(data)
    wanted = room.files()
    assert wanted == {"disk0": DISK}
    (room.inside / "disk0").unlink()
    chance = random.Random(how)  # noqa: S311  the same each time
    for _ in range(150):
        wrong = bytearray(data)
        wrong[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            found = room.unpack(bytes(wrong))
        except VmError:
            assert room.files() == {}
            continue
        assert how == "zip" or found == good
        assert set(room.files().values()) <= set(wanted.values())
        for disk in found.disks:
            (room.inside / disk.file).unlink()
