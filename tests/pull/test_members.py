"""A tar archive is read as GNU tar, Python and libarchive read it; the unclear is refused."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pull import boxes
from vm_pull.archive.members import members
from vm_spec.fault import VmError

Read = list[tuple[str, bytes]]


def read(data: bytes, size: int = 65536) -> Read:
    return [
        (member.name, b"".join(member.blocks())) for member in members(boxes.blocks(data, size))
    ]


def by_tarfile(data: bytes) -> Read:
    """The files as Python's tarfile sees them."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found: Read = []
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found.append((member.name.removeprefix("./"), file.read()))
        return found


def refused(data: bytes) -> str:
    with pytest.raises(VmError) as caught:
        read(data)
    return str(caught.value)


LONG = "/".join(["a" * 90] * 3) + "/disk.vmdk"
PIECES = [(0, b"A" * 1024), (1 << 20, b"B" * 512), (3 << 20, b"C" * 77)]
MANY = [(at * 4096, bytes([at % 250 + 1]) * 512) for at in range(100)]

GOOD = {
    "files": boxes.tar(boxes.METADATA, boxes.VAGRANTFILE, boxes.file("box.img", b"x" * 5000)),
    "an empty file": boxes.tar(boxes.file("empty"), boxes.METADATA),
    "whole blocks": boxes.tar(boxes.file("a", b"x" * 1024), boxes.file("b", b"y" * 512)),
    "folders": boxes.tar(boxes.folder("./"), boxes.folder("include/"), boxes.METADATA),
    "a ustar prefix": boxes.tar(
        boxes.header("f", 3, rest=b"include/deep") + boxes.padded(b"abc"), boxes.METADATA
    ),
    "a prefix of another version": boxes.tar(
        boxes.header("f", 3, magic=b"ustar\0  ", rest=b"deep") + boxes.padded(b"abc"),
    ),
    "the old format": boxes.tar(
        boxes.header("old", 3, b"\0", magic=bytes(8)) + boxes.padded(b"abc"),
    ),
    "a long GNU name": boxes.tar(boxes.long_name(LONG), boxes.file("stand-in", b"abc")),
    "a long PAX name": boxes.tar(boxes.pax({"path": LONG, "mtime": "1.5"}), boxes.file("x", b"1")),
    "a size in PAX": boxes.tar(
        boxes.pax({"size": "700"}), boxes.header("a", 0) + boxes.padded(b"z" * 700), boxes.METADATA
    ),
    "a global header": boxes.tar(
        boxes.pax({"comment": "0123abcd"}, boxes.PAX_GLOBAL), boxes.METADATA
    ),
    "old sparse": boxes.tar(boxes.old_sparse("d.img", PIECES, 4 << 20), boxes.METADATA),
    "old sparse, many": boxes.tar(boxes.old_sparse("d.img", MANY, 1 << 20), boxes.METADATA),
    "PAX sparse": boxes.tar(boxes.pax_sparse("d.img", PIECES, 4 << 20), boxes.METADATA),
    "PAX sparse, many": boxes.tar(boxes.pax_sparse("d.img", MANY, 1 << 20), boxes.METADATA),
    "sparse, all hole": boxes.tar(boxes.pax_sparse("d.img", [], 1 << 20), boxes.METADATA),
    "more zeros": boxes.tar(boxes.METADATA, end=bytes(20480)),
    "a name in UTF-8": boxes.tar(boxes.file("Prüfung.ovf", b"<x/>")),
}


@pytest.mark.parametrize("size", [512, 700, 1 << 20])
@pytest.mark.parametrize("name", GOOD)
def test_every_file_is_as_tarfile_reads_it(name: str, size: int) -> None:
    found = read(GOOD[name], size)
    assert found == by_tarfile(GOOD[name])
    assert found


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_each_sparse_version_of_gnu_tar_is_read(version: str, tmp_path: Path) -> None:
    disk = boxes.boot_disk(1 << 20)
    with (tmp_path / "box.img").open("wb") as file:
        file.write(disk[:4096])
        file.seek(len(disk) - 4096)
        file.write(disk[-4096:])
    argv = ["tar", "--format=pax", f"--sparse-version={version}", "-cSf", "box", "./box.img"]
    made = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "GNU" not in subprocess.run(["tar", "--version"], capture_output=True, text=True).stdout:
        pytest.skip("tar is not GNU tar here")
    assert made.returncode == 0, made.stderr
    data = (tmp_path / "box").read_bytes()
    assert len(data) < 1 << 18
    assert read(data) == [("box.img", disk)]


def test_members_need_not_be_read() -> None:
    data = GOOD["old sparse, many"]
    assert [member.name for member in members([data])] == ["d.img", "metadata.json"]


def test_a_member_half_read_does_not_disturb_the_next() -> None:
    archive = members(boxes.blocks(boxes.tar(boxes.file("a", b"x" * 5000), boxes.METADATA), 600))
    next(next(archive).blocks())
    assert next(archive).name == "metadata.json"


def test_holes_are_not_stored_nor_made() -> None:
    archive = boxes.tar(boxes.old_sparse("d.img", [(8 << 40, b"x")], (8 << 40) + 1))
    (member,) = members([archive])
    assert member.size == (8 << 40) + 1
    pieces = next(members([archive])).pieces
    assert [(offset, bytes(piece)) for offset, piece in pieces] == [(8 << 40, b"x")]


def test_threat_b10_holes_are_not_filled_for_ever() -> None:
    with pytest.raises(VmError, match="large holes"):
        read(boxes.tar(boxes.old_sparse("d.img", [(8 << 40, b"x")], (8 << 40) + 1)))


@pytest.mark.parametrize("name", GOOD)
def test_an_archive_that_is_cut_anywhere_is_refused(name: str) -> None:
    data = GOOD[name].rstrip(b"\0")
    whole = len(data) + -len(data) % 512 + 1024
    for length in {*range(0, whole - 1, 511), *range(0, whole, 512), whole - 1}:
        assert "cut short" in refused(GOOD[name][:length]), length


NUMBER = boxes.header("a", 3)

CROOKED = {
    "no archive": (b"<html>" + bytes(1000), "not a tar archive"),
    "a damaged header": (
        boxes.tar(boxes.METADATA, b"y" + boxes.METADATA[1:]),
        "a header in it is damaged",
    ),
    "one zero block": (boxes.tar(boxes.METADATA, bytes(512), boxes.VAGRANTFILE), "amid"),
    "a second archive": (boxes.tar(boxes.METADATA) * 2, "something follows the end"),
    "a letter in a number": (
        boxes.tar(boxes.summed(NUMBER[:124] + b"0x1\0" + NUMBER[128:])),
        "num",
    ),
    "a sign in a number": (boxes.tar(boxes.summed(NUMBER[:124] + b"-001\0" + NUMBER[129:])), "num"),
    "a folder with content": (
        boxes.tar(boxes.header("d/", 512, boxes.FOLDER) + bytes(512)),
        "has content",
    ),
    "an extended header at the end": (boxes.tar(boxes.pax({"path": "x"})), "no member behind"),
    "two long names": (
        boxes.tar(boxes.long_name("a"), boxes.long_name("b"), boxes.METADATA),
        "two long names",
    ),
    "two extended headers": (
        boxes.tar(boxes.pax({"size": "1"}), boxes.pax({"size": "2"}), boxes.METADATA),
        "two extended headers",
    ),
    "a record too long": (boxes.tar(boxes.pax(b"99 path=x\n"), boxes.METADATA), "damaged"),
    "a record too short": (boxes.tar(boxes.pax(b"3 path=x\n"), boxes.METADATA), "damaged"),
    "a record of length 0": (boxes.tar(boxes.pax(b"0 path=x\n"), boxes.METADATA), "damaged"),
    "a record without a key": (boxes.tar(boxes.pax(b"5 =x\n"), boxes.METADATA), "damaged"),
    "a sparse version of tomorrow": (
        boxes.tar(boxes.pax_sparse("d", PIECES, 4 << 20, major="2")),
        "unknown version",
    ),
    "a sparse file without size": (
        boxes.tar(boxes.pax({"GNU.sparse.map": "0,1"}), boxes.file("d", b"x")),
        "number",
    ),
    "half a pair": (
        boxes.tar(
            boxes.pax({"GNU.sparse.map": "0,1,2", "GNU.sparse.size": "9"}), boxes.file("d", b"x")
        ),
        "lacks a number",
    ),
    "a map without lines": (
        boxes.tar(
            boxes.pax(
                {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
            ),
            boxes.file("d", b"1" * 5000),
        ),
        "not in lines",
    ),
    "an unknown kind": (boxes.tar(boxes.header("m", kind=b"Z")), "unknown kind ('Z')"),
    "a volume": (boxes.tar(boxes.header("m", kind=b"M")), "another archive"),
}


@pytest.mark.parametrize("name", CROOKED)
def test_an_archive_that_is_unclear_is_refused(name: str) -> None:
    data, words = CROOKED[name]
    assert words in refused(data)


OVERLAPPING = {
    "backwards": [(4096, b"x" * 512), (0, b"y" * 512)],
    "twice": [(0, b"x" * 512), (0, b"y" * 512)],
    "beyond": [(1 << 30, b"x" * 512)],
}


@pytest.mark.parametrize("how", [boxes.old_sparse, boxes.pax_sparse])
@pytest.mark.parametrize("name", OVERLAPPING)
def test_threat_b10_a_map_that_lies_is_refused(name: str, how: Callable[..., bytes]) -> None:
    assert "map of a sparse member" in refused(boxes.tar(how("d", OVERLAPPING[name], 1 << 20)))


def test_threat_b10_a_map_without_end_is_refused() -> None:
    lines = b"%d\n" % (1 << 40)
    head = boxes.pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"})
    assert "pieces" in refused(boxes.tar(head, boxes.file("d", lines)))
    block = boxes.old_sparse("d", [(0, b"")] * 5, 10)
    endless = block[:512] + block[512:1016].replace(b"\0" * 24, b"0" * 24) + b"\1" + bytes(7)
    more = (b"00000000000\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    assert "pieces" in refused(endless + more * 50_000)


def test_threat_b7_more_names_than_a_box_has_are_refused() -> None:
    many = [boxes.file(f"f{number}") for number in range(4097)]
    assert "more than 4096" in refused(boxes.tar(*many))
    assert len(read(boxes.tar(*many[:4096]))) == 4096


SMALL = boxes.tar(
    boxes.METADATA,
    boxes.pax({"path": "include/x", "mtime": "3"}),
    boxes.file("x", b"x" * 600),
    boxes.old_sparse("d.img", MANY[:6], 1 << 16),
    boxes.pax_sparse("e.img", PIECES[:1], 1 << 16),
    boxes.long_name("a/long/name"),
    boxes.file("short", b"s"),
)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_mutated_archive_is_refused_or_read_without_a_traceback(data: st.DataObject) -> None:
    mutated = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(SMALL) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "repeat", "zeros", "fixed"])):
            case "byte":
                mutated[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 1024))]
            case "repeat":
                mutated[at:at] = SMALL[at : at + data.draw(st.sampled_from([1, 512, 1024]))]
            case "zeros":
                mutated[at : at + 24] = bytes(24)
            case _:
                begin = at // 512 * 512
                mutated[begin + at % 512 : begin + at % 512 + 12] = data.draw(
                    st.sampled_from([b"7" * 11 + b"\0", b"\x80" + b"\xff" * 11, b"\xff" * 12])
                )
                mutated[begin : begin + 512] = boxes.summed(bytes(mutated[begin : begin + 512]))
    try:
        found = read(bytes(mutated))
    except VmError:
        return
    assert len({name.casefold() for name, _ in found}) == len(found)
    assert all(name and not name.startswith("/") for name, _ in found)


HEADERS = [at for at in range(0, len(SMALL) - 1024, 512) if SMALL[at + 257 : at + 262] == b"ustar"]


@pytest.mark.parametrize("at", HEADERS)
def test_a_changed_byte_in_a_header_is_refused_or_changes_nothing(at: int) -> None:
    good = read(SMALL)
    for byte in range(512):
        for change in (0x01, 0x80):
            mutated = bytearray(SMALL)
            mutated[at + byte] ^= change
            try:
                assert read(bytes(mutated)) == good
            except VmError as error:
                assert error.status == 65


def test_reading_costs_no_memory_for_large_members() -> None:
    block = os.urandom(65536)

    def archive() -> Iterator[bytes]:
        yield boxes.header("box.img", 64 << 20)
        for _ in range(1024):
            yield block
        yield boxes.END

    taken = 0
    for member in members(archive()):
        for piece in member.blocks():
            assert isinstance(piece, memoryview)
            assert piece.obj is block or len(piece) < 65536
            taken += len(piece)
    assert taken == 64 << 20
