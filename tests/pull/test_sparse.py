"""Files with holes: what is in them, what they take, what they refuse."""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lacking import need
from vm_pull.archive.sparse import SparseFile
from vm_spec.fault import VmError

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 64 * KIB
NOISE = random.Random(1).randbytes(BLOCK)  # noqa: S311 - the same each time


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A folder, open."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def file(folder: int) -> Iterator[SparseFile]:
    """A new file of at most 16 MiB."""
    made = SparseFile(folder, "disk", most_bytes=16 * MIB)
    yield made
    made.close()


def taken(path: Path) -> int:
    """The bytes of the disk that a file takes."""
    return path.stat().st_blocks * 512


def fault(caught: pytest.ExceptionInfo[VmError]) -> tuple[int, str]:
    assert caught.value.faults[0].hint
    return caught.value.status, caught.value.faults[0].problem


def test_what_was_written_is_there_and_the_rest_is_zeros(file: SparseFile, tmp_path: Path) -> None:
    disk = bytearray(5 * MIB + 512)
    given: list[tuple[int, bytes | bytearray | memoryview]] = [
        (3 * MIB, NOISE),
        (0, b"boot"),
        (4 * MIB + 5, memoryview(NOISE)[:1000]),
        (MIB, bytearray(NOISE * 3 + bytes(2 * BLOCK) + NOISE)),
        (5 * MIB, bytes(512)),
    ]
    for offset, data in given:
        file.write_at(offset, data)
        disk[offset : offset + len(data)] = data
    file.finish(len(disk))
    assert (tmp_path / "disk").read_bytes() == disk


def test_zeros_make_holes(file: SparseFile, tmp_path: Path) -> None:
    for offset in range(0, 8 * MIB, MIB):
        file.write_at(offset, bytes(MIB))
    file.write_at(8 * MIB, NOISE + bytes(MIB) + NOISE)
    file.write_at(10 * MIB, memoryview(bytes(6 * MIB)))
    file.finish(16 * MIB)
    assert (tmp_path / "disk").stat().st_size == 16 * MIB
    assert taken(tmp_path / "disk") == 2 * BLOCK
    assert os.lseek(file.fd, 0, os.SEEK_DATA) == 8 * MIB


@pytest.mark.parametrize("place", [0, 1, BLOCK // 2, BLOCK - 1])
def test_one_byte_that_is_no_zero_is_written(file: SparseFile, tmp_path: Path, place: int) -> None:
    data = bytearray(2 * BLOCK)
    data[BLOCK + place] = 1
    file.write_at(0, data)
    file.finish(3 * BLOCK)
    assert (tmp_path / "disk").read_bytes() == data + bytes(BLOCK)


def test_zeros_over_what_was_written_are_written(file: SparseFile, tmp_path: Path) -> None:
    file.write_at(0, NOISE * 4)
    file.write_at(BLOCK, bytes(BLOCK))
    file.write_at(3 * BLOCK + 10, bytes(2 * BLOCK))
    file.finish(6 * BLOCK)
    expected = NOISE + bytes(BLOCK) + NOISE + NOISE[:10]
    assert (tmp_path / "disk").read_bytes() == expected.ljust(6 * BLOCK, b"\0")


def test_writing_nothing_changes_nothing(file: SparseFile, tmp_path: Path) -> None:
    file.write_at(5, b"")
    file.finish(100)
    assert (tmp_path / "disk").read_bytes() == bytes(100)


def test_what_is_given_may_change_afterwards(file: SparseFile, tmp_path: Path) -> None:
    data = bytearray(NOISE)
    file.write_at(0, data)
    data[:] = bytes(BLOCK)
    file.finish(BLOCK)
    assert (tmp_path / "disk").read_bytes() == NOISE


def test_threat_b11_the_file_is_for_its_owner_alone(file: SparseFile) -> None:
    found = os.fstat(file.fd)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.getuid()
    assert not os.get_inheritable(file.fd)


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_threat_b20_a_name_that_is_taken_is_never_opened(
    folder: int, tmp_path: Path, kind: str
) -> None:
    target, name = tmp_path / "target", tmp_path / "disk"
    target.write_text("precious")
    if kind == "file":
        name.write_text("precious")
    elif kind == "folder":
        name.mkdir()
    else:
        name.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(VmError) as caught:
        SparseFile(folder, "disk", most_bytes=1)
    assert fault(caught) == (74, "disk cannot be made: File exists")
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_more_than_allowed_is_refused_before_it_is_written(
    file: SparseFile, tmp_path: Path
) -> None:
    file.write_at(16 * MIB - 1, b"x")
    for offset, data in [(16 * MIB, b"x"), (16 * MIB - 1, bytes(2)), (1 << 62, b"x")]:
        with pytest.raises(VmError) as caught:
            file.write_at(offset, data)
        problem = "disk becomes longer than the 16777216 bytes allowed"
        assert fault(caught) == (77, problem)
    assert (tmp_path / "disk").stat().st_size == 16 * MIB


@pytest.mark.parametrize("size", [0, BLOCK - 1, 16 * MIB + 1])
def test_a_size_that_cannot_be_is_our_own_mistake(file: SparseFile, size: int) -> None:
    file.write_at(0, bytes(BLOCK))
    with pytest.raises(VmError) as caught:
        file.finish(size)
    assert caught.value.status == 70


def test_closing_twice_closes_nothing_of_others(folder: int) -> None:
    made = SparseFile(folder, "disk", most_bytes=1)
    made.close()
    other = os.open("disk", os.O_RDONLY, dir_fd=folder)
    made.close()
    os.fstat(other)
    os.close(other)


@pytest.fixture
def short_limit() -> Iterator[int]:
    """Files may be 100,000 bytes long and no longer, in this process, for a while."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_may_not_grow_is_told(
    file: SparseFile, tmp_path: Path, short_limit: int
) -> None:
    file.write_at(0, NOISE)
    with pytest.raises(VmError) as caught:
        file.write_at(BLOCK, NOISE)  # the first part of it still fits: a short write
    assert fault(caught) == (74, "disk cannot be written: File too large")
    assert (tmp_path / "disk").stat().st_size == short_limit
    assert (tmp_path / "disk").read_bytes() == (NOISE * 2)[:short_limit]
    with pytest.raises(VmError) as caught:
        file.finish(2 * BLOCK)
    assert fault(caught)[0] == 74


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    argv = [need("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, check=True)
    yield place
    subprocess.run([need("umount"), place], stdin=subprocess.DEVNULL, check=True)


@pytest.mark.root
def test_threat_b10_a_full_disk_is_told_with_what_is_missing(small_disk: Path) -> None:
    folder = os.open(small_disk, os.O_RDONLY | os.O_DIRECTORY)
    file = SparseFile(folder, "disk", most_bytes=1 << 40)
    try:
        file.write_at(0, bytes(64 * MIB))
        with pytest.raises(VmError) as caught:
            file.write_at(64 * MIB, NOISE * 32)
        assert fault(caught) == (
            69,
            "there is no space left for disk: 67108864 bytes are done, 65536 more are needed now, "
            "0 are free",
        )
    finally:
        file.close()
        os.close(folder)


def test_threat_b10_a_device_without_space_is_told(
    file: SparseFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr(file, "fd", os.dup(file.fd))
    os.dup2(full, file.fd)
    os.close(full)
    with pytest.raises(VmError) as caught:
        file.write_at(0, NOISE)
    status, problem = fault(caught)
    assert status == 69
    assert problem.startswith("there is no space left for disk: 0 bytes are done, 65536 more are")
    os.close(file.fd)
