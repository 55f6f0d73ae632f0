"""The header and the descriptor of a sparse VMDK (threat B18)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.pull import good, virtualbox
from tests.pull.virtualbox import DESCRIPTOR, Writer
from vm_pull.images.vmdk import AT_END, FIRST_BYTES, Header, parse, read
from vm_spec.fault import VmError

MIB = 1 << 20
EXTENT = 'RDONLY {sectors} SPARSE "box-disk001.vmdk"\n'


def beginning(descriptor: str = DESCRIPTOR, size: int = 4 * MIB) -> bytes:
    return Writer(size, descriptor=descriptor).beginning()


def changed(place: int, layout: str, value: int | bytes) -> bytes:
    data = bytearray(beginning())
    struct.pack_into(f"<{layout}", data, place, value)
    return bytes(data)


def refusal(data: bytes) -> str:
    with pytest.raises(VmError) as caught:
        read(data)
    assert caught.value.status == 65
    assert caught.value.faults[0].hint
    return caught.value.faults[0].problem


def test_the_header_as_virtualbox_writes_it_is_read() -> None:
    header = read(beginning(size=4 * MIB))
    assert header == Header(
        capacity=4 * MIB,
        grain=65536,
        entries=512,
        overhead=65536,
        directory=AT_END,
        redundant=0,
        descriptor=512,
        descriptor_size=20 * 512,
        is_stream=True,
        has_zeroed=False,
    )
    assert (header.grains, header.tables) == (64, 1)


@pytest.mark.parametrize(
    ("size", "grains", "tables"),
    [
        (512, 1, 1),
        (65536, 1, 1),
        (65536 + 512, 2, 1),
        (32 * MIB, 512, 1),
        (32 * MIB + 512, 513, 2),
        (2 << 40, 1 << 25, 1 << 16),
        (4 << 40, 1 << 26, 1 << 17),
    ],
)
def test_a_disk_has_as_many_grains_and_tables_as_cover_it(
    size: int, grains: int, tables: int
) -> None:
    header = read(beginning(size=size))
    assert (header.grains, header.tables) == (grains, tables)


@pytest.mark.parametrize("subformat", ["streamOptimized", "monolithicSparse"])
def test_the_header_as_qemu_img_writes_it_is_read(tmp_path: Path, subformat: str) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
    raw.write_bytes(b"boot" + bytes(MIB - 4))
    option = f"subformat={subformat}"
    good.qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", option, raw, image)
    header = read(image.read_bytes()[:FIRST_BYTES])
    assert (header.capacity, header.grain, header.entries) == (MIB, 65536, 512)
    assert header.is_stream == (subformat == "streamOptimized")
    assert 0 < header.redundant < header.directory < header.overhead


@pytest.mark.parametrize(
    ("place", "layout", "value", "problem"),
    [
        (0, "4s", b"COWD", "does not begin with the header of a sparse VMDK"),
        (4, "I", 0, "is of version 0"),
        (4, "I", 4, "is of version 4"),
        (8, "I", 0x10001, "contradicts itself about how its grains are compressed"),
        (8, "I", 0x20001, "contradicts itself about how its grains are compressed"),
        (77, "H", 0, "contradicts itself about how its grains are compressed"),
        (77, "H", 2, "contradicts itself about how its grains are compressed"),
        (20, "Q", 0, "has grains of 0 sectors"),
        (20, "Q", 4, "has grains of 4 sectors"),
        (20, "Q", 127, "has grains of 127 sectors"),
        (20, "Q", 16384, "has grains of 16384 sectors"),
        (20, "Q", 1 << 63, f"has grains of {1 << 63} sectors"),
        (44, "I", 0, "has grain tables of 0 entries"),
        (44, "I", 513, "has grain tables of 513 entries"),
        (12, "Q", (4 << 40) // 512 + 1, "is for a disk of 8589934593 sectors"),
        (12, "Q", 1 << 63, f"is for a disk of {1 << 63} sectors"),
        (64, "Q", 0, "puts its first grain at sector 0"),
        (64, "Q", 1 << 40, f"puts its first grain at sector {1 << 40}"),
        (64, "Q", 20, "has a descriptor that reaches into its grains"),
        (36, "Q", 0, "has a descriptor that reaches into its grains"),
        (36, "Q", 1 << 63, "has a descriptor that reaches into its grains"),
        (28, "Q", 0, "has no descriptor where one belongs"),
        (73, "4s", b"\n \n\n", "was spoilt by a transfer as text"),
        (12, "Q", 9000, "is for 4608000 bytes by its header, for 4194304 by its descriptor"),
        (12, "Q", 8193, "is for 4194816 bytes by its header, for 4194304 by its descriptor"),
    ],
)
def test_a_header_out_of_range_is_refused(
    place: int, layout: str, value: int | bytes, problem: str
) -> None:
    assert refusal(changed(place, layout, value)) == f"the VMDK image {problem}"


def test_tables_of_few_entries_cannot_ask_for_much_memory() -> None:
    data = bytearray(beginning(size=2 << 40))
    struct.pack_into("<I", data, 44, 1)
    assert "is for a disk of" in refusal(bytes(data))


def test_a_beginning_that_is_cut_is_refused() -> None:
    assert "does not begin with" in refusal(b"")
    assert "does not begin with" in refusal(beginning()[:511])
    assert "has no descriptor" in refusal(beginning()[:600])


def test_a_capacity_filled_up_to_a_whole_grain_is_taken() -> None:
    data = bytearray(beginning(size=4 * MIB + 512))
    struct.pack_into("<Q", data, 12, 4 * MIB // 512 + 128)
    assert read(data).capacity == 4 * MIB + 65536


def test_threat_b18_a_capacity_of_0_is_refused() -> None:
    flat = DESCRIPTOR.replace("streamOptimized", "monolithicFlat").replace(
        EXTENT, 'RW 1 FLAT "/etc/shadow" 0\n'
    )
    data = Writer(0, descriptor=flat).beginning()
    assert refusal(data) == "the VMDK image has a capacity of 0"
    with pytest.raises(VmError, match="capacity of 0"):
        parse(data)


TYPE = "does not say exactly once of which type it is"
OTHERS = "does not consist of exactly one sparse extent"
PARENT = "depends on another image"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('createType="streamOptimized"\n', "", TYPE),
        ('createType="streamOptimized"\n', 'createType="streamOptimized"\n' * 2, TYPE),
        ("createType=", 'CREATETYPE="monolithicFlat"\ncreateType=', TYPE),
        ("createType=", '# createType="monolithicFlat"\ncreateType=', TYPE),
        ("createType=", "# createType=", TYPE),
        ('"streamOptimized"', '"STREAMOPTIMIZED"', TYPE),
        ('"streamOptimized"', '"monolithicFlat"', TYPE),
        ('"streamOptimized"', '"twoGbMaxExtentSparse"', TYPE),
        ('"streamOptimized"', "streamOptimized", TYPE),
        ('"streamOptimized"', '"streamOptimized" x', TYPE),
        ('"streamOptimized"', '""', TYPE),
        ('"streamOptimized"', '"monolithicSparse"', "says that it is monolithicSparse, and is"),
        (EXTENT, "", OTHERS),
        (EXTENT, EXTENT * 2, OTHERS),
        (EXTENT, EXTENT + 'RW 1 FLAT "/etc/shadow" 0\n', OTHERS),
        (EXTENT, EXTENT + 'noaccess 1 ZERO\n', OTHERS),
        (EXTENT, EXTENT + 'rw 1 flat "/etc/shadow" 0\r\n', OTHERS),
        (EXTENT, EXTENT + '  RW 1 VMFS "x"\n', OTHERS),
        (EXTENT, 'RW 8192 FLAT "/etc/shadow" 0\n', OTHERS),
        (EXTENT, 'RW 8192 SPARSE /etc/shadow\n', OTHERS),
        (EXTENT, 'RW 0x2000 SPARSE "x"\n', OTHERS),
        (EXTENT, 'RW 1 SPARSE "x"\n', "is for 4194304 bytes by its header, for 512 by its"),
        (EXTENT, 'RW 999999999999999999 SPARSE "x"\n', "is for 4194304 bytes by its header, for"),
        ("CID=ffffffff", "CID=12345678", PARENT),
        ("parentCID=ffffffff\n", "", PARENT),
        ("parentCID=ffffffff", "parentCID=ffffffff\nparentcid=12345678", PARENT),
        ("parentCID=ffffffff", "#parentCID=1\nparentCID=ffffffff", PARENT),
        ("# Extent", 'parentFileNameHint="/etc/shadow"\n# Extent', PARENT),
        ("# Extent", 'PARENTFILENAMEHINT = "x.vmdk"\n# Extent', PARENT),
        ("# Extent", '#parentFileNameHint="x.vmdk"\n# Extent', PARENT),
    ],
)  # fmt: skip
def test_threat_b18_a_descriptor_that_names_more_than_one_disk_is_refused(
    old: str, new: str, problem: str
) -> None:
    text = DESCRIPTOR.replace(old, new)
    assert text != DESCRIPTOR
    assert refusal(beginning(text)).startswith(f"the VMDK image {problem}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n", "\r\n"),
        ("createType=", "  createtype = "),
        ("ffffffff", "FFFFFFFF"),
        ("RDONLY", "RW"),
        ("box-disk001", "größer".encode().decode("latin-1")),
        ("#DDB", "#DDB\0rest"),
    ],
)
def test_a_descriptor_may_be_written_in_other_ways(old: str, new: str) -> None:
    assert read(beginning(DESCRIPTOR.replace(old, new))).capacity == 4 * MIB


def test_a_descriptor_after_the_first_64_kib_is_not_looked_for() -> None:
    data = bytearray(beginning() + beginning())
    struct.pack_into("<QQ", data, 28, 120, 20)
    struct.pack_into("<Q", data, 64, 256)
    assert "has no descriptor" in refusal(bytes(data))


def test_the_writer_of_these_tests_writes_what_qemu_img_reads(tmp_path: Path) -> None:
    disk = b"boot" + bytes(40 * MIB) + b"end" + bytes(512 * 3 - 7)
    image, raw = tmp_path / "disk.vmdk", tmp_path / "disk.raw"
    image.write_bytes(virtualbox.image(disk))
    good.qemu_img("convert", "-f", "vmdk", "-O", "raw", image, raw)
    assert raw.read_bytes() == disk
