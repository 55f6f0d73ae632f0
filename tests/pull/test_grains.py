"""Stream optimized VMDKs decode to exactly their disk, or are refused."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.pull import good, virtualbox
from tests.pull.streams import (
    GIB,
    KIB,
    MIB,
    MOST,
    NOISE,
    Decoded,
    Image,
    by_qemu,
    decoded,
    disk_of,
    records_of,
)
from tests.pull.virtualbox import DIRECTORY, END, FOOTER, GRAIN, SECTOR, TABLE, Writer
from vm_pull.archive.sparse import SparseFile
from vm_pull.images.grains import StreamDecoder
from vm_spec.fault import VmError

DIRECTORY_AT = 26 * SECTOR  # in small images of qemu-img
TABLE_AT = 27 * SECTOR

Part = Callable[[Writer], bytes]


@pytest.fixture(params=["virtualbox", "qemu-img"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Image:
    """What turns a disk into an image, in either layout."""
    return virtualbox.image if request.param == "virtualbox" else by_qemu(tmp_path)


def refusal(data: bytes, *, most_bytes: int = MOST) -> str:
    """Why an image is refused, fed whole; in small pieces it is refused for the same reason."""
    said: set[str] = set()
    for chunk in (1 << 30, 1000):
        target = Decoded(most_bytes=most_bytes)
        with pytest.raises(VmError) as caught:
            for begin in range(0, len(data), chunk):
                target.decoder.feed(data[begin : begin + chunk])
            target.finish()
        assert caught.value.faults[0].hint
        assert caught.value.status in {65, 77}
        said.add(caught.value.faults[0].problem)
    assert len(said) == 1
    return said.pop().removeprefix("the VMDK image ")


@pytest.mark.parametrize(
    "disk",
    [
        disk_of(GRAIN),
        disk_of(512, amount=100),
        disk_of(GRAIN + 512, data=[0, -512]),
        disk_of(2049 * 512, data=[-512]),
        disk_of(MIB, data=[300 * KIB, -1]),
        disk_of(MIB, data=[]),
        disk_of(512, data=[]),
        disk_of(MIB, data=range(0, MIB, 20 * KIB)),
        disk_of(32 * MIB, data=[0, -5000]),
        disk_of(32 * MIB + 512, data=[0, -1]),
        disk_of(70 * MIB + 1536, data=[5 * MIB, -70 * KIB]),
        disk_of(40 * MIB, data=[-1]),
    ],
    ids=[
        "one grain", "one sector", "a grain and a sector", "odd", "1 MiB", "all zeros",
        "one sector of zeros", "full", "one table", "two tables", "a table missing", "data at end",
    ],
)  # fmt: skip
def test_a_disk_comes_back_byte_by_byte(image: Image, disk: bytes) -> None:
    assert decoded(image(disk)) == disk


@pytest.mark.parametrize("chunk", [1, 7, 511, 512, 4097, 65536, 1 << 20, (1 << 20) + 1])
def test_the_size_of_the_pieces_does_not_matter(image: Image, chunk: int) -> None:
    disk = disk_of(3 * MIB + 512, data=[0, 100 * KIB, MIB, -500], amount=70_000)
    data = image(disk)
    if chunk == 1:
        disk = disk_of(3 * GRAIN, data=[0, -1])
        data = image(disk)
    assert decoded(data, chunk) == disk


def test_a_buffer_may_be_used_again_for_the_next_piece(image: Image) -> None:
    disk = disk_of(MIB, data=[0, 300 * KIB])
    data = image(disk)
    target = Decoded()
    buffer = bytearray(5000)
    for begin in range(0, len(data), len(buffer)):
        piece = data[begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        target.decoder.feed(memoryview(buffer)[: len(piece)])
        buffer[:] = b"\xff" * len(buffer)
    assert target.finish() == disk


@pytest.mark.parametrize("library", ["deflate", "isal.isal_zlib", "zlib_ng.zlib_ng", "zlib"])
def test_every_library_gives_the_same_disk(image: Image, library: str) -> None:
    disk = disk_of(2 * MIB, data=range(0, 2 * MIB, 50_000), amount=40_000)
    try:
        target = Decoded(library=library)
    except ImportError:
        lacking(f"{library} is missing")
    target.decoder.feed(image(disk))
    assert target.finish() == disk


@pytest.mark.parametrize("layout", ["virtualbox", "qemu-img"])
def test_a_disk_of_20_gib_takes_no_more_than_its_data(tmp_path: Path, layout: str) -> None:
    source, made = tmp_path / "source.raw", tmp_path / "made.vmdk"
    with source.open("wb") as file:
        file.truncate(20 * GIB + 512)
        for place in (0, 3 * GIB + 4096, 11 * GIB, 20 * GIB):
            file.seek(place)
            file.write(NOISE.randbytes(400))
    if layout == "virtualbox":
        virtualbox.write(made, 20 * GIB + 512, virtualbox.grains_in(source))
    else:
        option = "subformat=streamOptimized"
        good.qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", option, source, made)
    folder = os.open(tmp_path, os.O_RDONLY)
    out = SparseFile(folder, "disk.raw", most_bytes=MOST)
    decoder = StreamDecoder(out.write_at, most_bytes=MOST)
    with made.open("rb") as file:
        while data := file.read(1 << 18):
            decoder.feed(data)
    out.finish(decoder.finish())
    out.close()
    os.close(folder)
    result = tmp_path / "disk.raw"
    assert result.stat().st_size == 20 * GIB + 512
    assert result.stat().st_blocks * 512 <= 4 * GRAIN
    good.qemu_img("compare", "-f", "raw", "-F", "raw", source, result)


def test_memory_is_the_same_for_any_disk() -> None:
    grains = [(index, NOISE.randbytes(GRAIN)) for index in (0, 1, 1 << 20, (1 << 25) - 1)]
    data = b"".join(virtualbox.pieces(2 << 40, iter(grains)))
    tracemalloc.start()
    try:
        decoder = StreamDecoder(lambda _place, _data: None, most_bytes=MOST)
        for begin in range(0, len(data), 1 << 20):
            decoder.feed(memoryview(data)[begin : begin + (1 << 20)])
        assert decoder.finish() == 2 << 40
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 9 * MIB


def test_the_last_grain_may_be_short_or_whole() -> None:
    content = b"end " * 128
    for held in (content, content.ljust(GRAIN, b"\0"), content.ljust(GRAIN, b"x")):
        writer = Writer(GRAIN + 512)
        data = writer.beginning() + writer.grain(1, held) + ending(writer)
        assert decoded(data) == bytes(GRAIN) + content


def test_grains_and_tables_may_come_in_any_order() -> None:
    disk = disk_of(96 * MIB, data=[0, MIB, 40 * MIB, 80 * MIB])
    writer = Writer(len(disk))
    grains = dict(virtualbox.grains_of(disk))
    data = writer.beginning()
    data += b"".join(writer.grain(index, grains[index]) for index in sorted(grains, reverse=True))
    data += b"".join(writer.table(number) for number in (1, 0, 2))
    data += writer.directory() + writer.footer() + writer.end()
    assert decoded(data) == disk


def test_a_table_without_grains_may_stand_there() -> None:
    writer = Writer(96 * MIB)
    data = writer.beginning() + writer.table(0) + writer.table(1) + ending(writer)
    assert decoded(data) == bytes(96 * MIB)


def test_a_table_may_mark_grains_of_zeros_when_the_header_says_so() -> None:
    writer = Writer(MIB)
    begin = writer.beginning()
    writer.name(3, 1)
    data = bytearray(begin + writer.grain(0, bytes(GRAIN)) + writer.table(0) + ending(writer))
    assert "other grains" in refusal(bytes(data))
    struct.pack_into("<I", data, 8, virtualbox.FLAGS | 4)
    assert decoded(bytes(data)) == bytes(MIB)


def ending(writer: Writer, *numbers: int) -> bytes:
    """Tables that are not written yet, directory, footer and end."""
    missing = [number for number in writer.tables if not writer.placed[number]]
    tables = b"".join(writer.table(number) for number in missing)
    return tables + writer.directory() + writer.footer() + writer.end()


def crooked(*parts: Part, size: int = MIB) -> bytes:
    """An image of two straight grains, then whatever the parts write, then its straight end."""
    writer = Writer(size)
    data = writer.beginning() + writer.grain(0, b"a" * GRAIN) + writer.grain(1, b"b" * GRAIN)
    for part in parts:
        data += part(writer)
    return data + ending(writer)


def packed(content: bytes) -> bytes:
    return zlib.compress(content)


def bad_sum(content: bytes) -> bytes:
    data = bytearray(zlib.compress(content))
    data[-1] ^= 1
    return bytes(data)


def named(index: int, data: bytes, place: int | None = None) -> Part:
    """A grain that its table names as `index`, and that says that it belongs to `place`."""

    def part(writer: Writer) -> bytes:
        writer.name(index, writer.at)
        return writer.record(index * 128 if place is None else place, data)

    return part


def left_out(writer: Writer) -> bytes:
    """A grain that no table names."""
    return writer.record(5 * 128, packed(b"c" * GRAIN))


def invented(writer: Writer) -> bytes:
    """No grain, where a table names one."""
    writer.name(5, writer.at)
    return b""


def elsewhere(writer: Writer) -> bytes:
    """A grain that its table puts at another grain's place."""
    data = writer.grain(5, b"c" * GRAIN)
    writer.name(5, 128)
    return data


FULL = packed(b"c" * GRAIN)


CROOKED: list[tuple[Part, str]] = [
    (named(0, FULL), "has grain 0 twice"),
    (named(1, FULL, 0), "has grain 0 twice"),
    (named(5, FULL, 6 * 128),
     "has other grains than its tables name, from grain 0 on"),
    (named(5, FULL, 5 * 128 + 1), "has a grain for sector 641, where none can be"),
    (named(5, FULL, 16 * 128), "has a grain for sector 2048, where none can be"),
    (named(5, FULL, 1 << 63), f"has a grain for sector {1 << 63}, where none can be"),
    (named(5, packed(b"c" * (GRAIN + 1))),
     "is damaged: the grain for sector 640 cannot be inflated"),
    (named(5, packed(bytes(50 * MIB))),
     "is damaged: the grain for sector 640 cannot be inflated"),
    (named(5, packed(b"c" * (GRAIN - 1))),
     "is damaged: the grain for sector 640 holds too little"),
    (named(5, packed(b"")), "is damaged: the grain for sector 640 holds too little"),
    (named(5, bad_sum(b"c" * GRAIN)),
     "is damaged: the grain for sector 640 cannot be inflated"),
    (named(5, FULL[:-1]), "is damaged: the grain for sector 640 cannot be inflated"),
    (named(5, FULL[2:-4]), "is damaged: the grain for sector 640 cannot be inflated"),
    (named(5, bytes(2 * GRAIN + 1)),
     "has a grain of 131073 bytes: deflated it must be smaller"),
    (left_out, "has other grains than its tables name, from grain 0 on"),
    (invented, "has other grains than its tables name, from grain 0 on"),
    (elsewhere, "has other grains than its tables name, from grain 0 on"),
    (lambda writer: writer.table(0) + writer.table(0),
     "has more grain tables than its disk needs"),
    (lambda writer: writer.marker(TABLE, bytes(512)),
     "has the grain table in 1 sectors, and it takes 4"),
    (lambda writer: writer.marker(4),
     "has the unknown marker 4 where the grain directory belongs"),
    (lambda writer: writer.marker(FOOTER, writer.header()),
     "has the footer where the grain directory belongs"),
    (lambda writer: writer.marker(END),
     "has the end marker where the grain directory belongs"),
    (lambda writer: writer.marker(DIRECTORY, bytes(1024)),
     "has the grain directory in 2 sectors, and it takes 1"),
    (lambda writer: writer.table(0) + writer.directory(),
     "has the grain directory where the footer belongs"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "problem"), CROOKED)
def test_an_image_that_contradicts_itself_is_refused(part: Part, problem: str) -> None:
    assert refusal(crooked(part)) == problem


def test_a_straight_image_made_the_same_way_is_taken() -> None:
    disk = b"a" * GRAIN + b"b" * GRAIN + bytes(MIB - 2 * GRAIN)
    assert decoded(crooked()) == disk


def ends(*parts: str, **given: int) -> bytes:
    """An image of one grain, whose end consists of these parts only."""
    writer = Writer(MIB)
    data = writer.beginning() + writer.grain(0, b"a" * GRAIN)
    for part in parts:
        if part == "table":
            data += writer.table(0)
        elif part == "footer":
            data += writer.footer(**given)
        else:
            data += {"directory": writer.directory, "end": writer.end}[part]()
    return data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (ends(), "is cut short"),
        (ends("table"), "is cut short"),
        (ends("table", "directory"), "is cut short"),
        (ends("table", "directory", "footer"), "is cut short"),
        (ends("directory", "footer", "end"), "has other grains than its tables name"),
        (ends("table", "directory", "end"), "has the end marker where the footer belongs"),
        (ends("table", "footer", "end"), "has the footer where the grain directory belongs"),
        (ends("directory", "table", "footer", "end"),
         "has the grain table where the footer belongs"),
        (ends("table", "directory", "footer", "end", sectors=4096),
         "has a footer that contradicts its header"),
        (ends("table", "directory", "footer", "end") + b"\1", "goes on after its end"),
        (ends("table", "directory", "footer", "end") + bytes(300_000) + b"x" + bytes(99),
         "goes on after its end"),
        (ends("table", "directory", "footer", "end") * 2, "goes on after its end"),
    ],
)  # fmt: skip
def test_an_image_with_another_end_is_refused(data: bytes, problem: str) -> None:
    assert refusal(data).startswith(problem)


@pytest.mark.parametrize("extra", [0, 1, 511, 512, 200_000])
def test_zeros_after_the_end_are_let_pass(extra: int) -> None:
    data = ends("table", "directory", "footer", "end") + bytes(extra)
    assert decoded(data) == b"a" * GRAIN + bytes(MIB - GRAIN)


def test_a_grain_after_the_directory_is_refused() -> None:
    writer = Writer(MIB)
    data = writer.beginning() + writer.grain(0, b"a" * GRAIN) + writer.table(0)
    data += writer.directory() + writer.record(128, FULL)
    assert refusal(data) == "has a grain after its grain directory"


def test_a_directory_that_names_no_table_or_another_is_refused() -> None:
    writer = Writer(64 * MIB)
    data = writer.beginning() + writer.grain(0, b"a" * GRAIN) + writer.table(0)
    place = writer.placed[0]
    for wrong in ([place + 1, 0], [place - 1, 0], [0, place], [0, 0], [place, place]):
        again = Writer(64 * MIB)
        again.at, again.placed = writer.at, wrong
        end = again.directory() + again.footer() + again.end()
        said = refusal(data + end)
        assert "has other grains than its tables" in said or "has no grain table at" in said


def test_a_footer_that_puts_the_directory_elsewhere_is_refused() -> None:
    writer = Writer(MIB)
    data = writer.beginning() + writer.directory()
    writer.placed_at -= 1
    data += writer.footer() + writer.end()
    assert refusal(data) == "has a footer that puts the grain directory elsewhere"


def test_a_disk_larger_than_wanted_is_refused_before_its_grains() -> None:
    with pytest.raises(VmError) as caught:
        Decoded(most_bytes=MIB - 1).decoder.feed(ends()[: 21 * SECTOR])
    assert caught.value.status == 77
    assert refusal(ends(), most_bytes=MIB - 1) == "the disk of the box is 1048576 bytes large"
    assert refusal(ends(), most_bytes=MIB) == "is cut short"


def test_an_image_that_must_be_looked_up_is_not_this_kind(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_bytes(bytes(MIB))
    good.qemu_img("convert", "-f", "raw", "-O", "vmdk", source, made)
    assert refusal(made.read_bytes()) == "is not stream optimized: its grains must be looked up"


def test_after_a_refusal_nothing_more_is_taken() -> None:
    target = Decoded()
    with pytest.raises(VmError, match="does not begin with"):
        target.decoder.feed(bytes(4096))
    with pytest.raises(VmError, match="was refused"):
        target.decoder.feed(bytes(4096))
    with pytest.raises(VmError, match="was refused"):
        target.finish()


def test_nothing_at_all_is_cut_short() -> None:
    assert refusal(b"") == "is cut short"


@pytest.fixture
def from_qemu(tmp_path: Path) -> bytearray:
    """An image by qemu-img of eight grains of data, of which the third is zeros."""
    disk = bytearray(disk_of(8 * GRAIN, data=range(0, 8 * GRAIN, 10_000)))
    disk[2 * GRAIN : 3 * GRAIN] = bytes(GRAIN)
    return bytearray(by_qemu(tmp_path)(bytes(disk)))


def test_a_cut_is_found_wherever_it_is(image: Image) -> None:
    disk = disk_of(8 * GRAIN, data=range(0, 8 * GRAIN, 10_000))
    data = image(disk)
    end = len(data.rstrip(b"\0"))
    assert decoded(data) == disk
    for length in [*range(0, end, 1777), end - 1]:
        with pytest.raises(VmError):
            decoded(data[:length])


def test_an_image_by_qemu_img_may_end_with_its_last_grain(from_qemu: bytearray) -> None:
    whole = decoded(bytes(from_qemu))
    assert decoded(bytes(from_qemu).rstrip(b"\0")) == whole


def patched(data: bytearray, place: int, number: int) -> bytes:
    copy = bytearray(data)
    struct.pack_into("<I", copy, place, number)
    return bytes(copy)


def test_a_leading_table_that_says_otherwise_is_refused(from_qemu: bytearray) -> None:
    (first, second, third) = struct.unpack_from("<3I", from_qemu, TABLE_AT)
    assert first and second and not third
    for entry, number in [(0, 0), (0, second), (2, first), (2, 9999), (9, first), (511, 1)]:
        wrong = patched(from_qemu, TABLE_AT + 4 * entry, number)
        assert refusal(wrong).startswith("has other grains than its tables name")


def test_a_leading_directory_that_says_otherwise_is_refused(from_qemu: bytearray) -> None:
    assert struct.unpack_from("<I", from_qemu, DIRECTORY_AT) == (27,)
    for number, problem in [
        (0, "has grain tables that overlap, are out of order or are missing"),
        (28, "has other grains than its tables name"),
        (20, "has tables where something else stands"),
        (26, "has tables where something else stands"),
        (126, "has grain tables that reach into its grains"),
        (1 << 31, "has tables where something else stands"),
    ]:
        assert refusal(patched(from_qemu, DIRECTORY_AT, number)).startswith(problem)


def test_an_image_emptied_where_it_is_looked_at_first_is_refused(from_qemu: bytearray) -> None:
    """Zeros before its tables and no grains: without its second directory it is an empty disk."""
    end = 128 * SECTOR
    for shift in (SECTOR, 7 * SECTOR, 700):
        moved = bytes(from_qemu[: 20 * SECTOR]) + bytes(shift) + bytes(from_qemu[20 * SECTOR : end])
        assert refusal(moved[:end])
    for emptied in ([DIRECTORY_AT], [DIRECTORY_AT - 5 * SECTOR]):
        copy = from_qemu[:end]
        for place in emptied:
            struct.pack_into("<I", copy, place, 40)
        assert refusal(bytes(copy))


def test_a_second_directory_that_says_otherwise_is_refused(from_qemu: bytearray) -> None:
    wrong = patched(from_qemu, TABLE_AT - 5 * SECTOR, 129)
    assert refusal(wrong) == "has other grains than its tables name, from grain 0 on"
    struct.pack_into("<I", from_qemu, 8, 0x30001)
    wrong = patched(from_qemu, TABLE_AT - 5 * SECTOR, 129)
    assert decoded(wrong)  # the header says that there is none


def test_leading_tables_that_overlap_are_refused(tmp_path: Path) -> None:
    data = bytearray(by_qemu(tmp_path)(disk_of(64 * MIB, data=[0, -1])))
    (directory,) = struct.unpack_from("<Q", data, 56)
    first, second = struct.unpack_from("<2I", data, directory * SECTOR)
    for wrong in (first, first + 1, first - 1, second + 1):
        copy = patched(data, directory * SECTOR + 4, wrong)
        said = refusal(copy)
        assert "overlap" in said or "other grains" in said


@pytest.mark.parametrize("directory", [0, 1, 20, 127, 128, 1 << 40])
def test_a_leading_directory_elsewhere_is_refused(from_qemu: bytearray, directory: int) -> None:
    struct.pack_into("<Q", from_qemu, 56, directory)
    assert refusal(bytes(from_qemu))


def test_a_leading_record_that_lies_is_refused(from_qemu: bytearray) -> None:
    struct.pack_into("<Q", from_qemu, 128 * SECTOR, 2 * 128)
    assert refusal(bytes(from_qemu)).startswith("has other grains than its tables name")


def test_a_dropped_grain_is_found_in_either_layout(image: Image) -> None:
    disk = disk_of(8 * GRAIN, data=range(0, 8 * GRAIN, 10_000))
    data = image(disk)
    records = records_of(data)
    begin, end = records[3], records[4]
    dropped = data[:begin] + data[end:]
    swapped = data[:begin] + data[end : records[5]] + data[begin:end] + data[records[5] :]
    for wrong in (dropped, swapped):
        with pytest.raises(VmError, match=r"has other grains|has no grain table at"):
            decoded(wrong)


def test_markers_have_no_place_where_tables_lead(from_qemu: bytearray) -> None:
    end = records_of(bytes(from_qemu))[-1]
    (size,) = struct.unpack_from("<I", from_qemu, end + 8)
    end += -(-(12 + size) // SECTOR) * SECTOR
    marker = Writer(MIB).marker(TABLE, bytes(2048))
    said = refusal(bytes(from_qemu[:end]) + marker + bytes(SECTOR))
    assert said == "has the grain table where the end marker belongs"
