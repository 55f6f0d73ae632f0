"""Locks of one byte of a file: whom they keep out, and when they end."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_state import lock

Two = tuple[int, int]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """One file, opened twice."""
    path = tmp_path / "lock"
    path.touch()
    opened = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield opened
    for fd in opened:
        os.close(fd)


def test_who_opened_the_file_otherwise_is_kept_out_of_that_byte_alone(two: Two) -> None:
    mine, theirs = two
    lock.take(mine)
    lock.take(mine)  # once more is no fault
    assert lock.is_held(theirs)
    assert not lock.is_held(mine)
    with pytest.raises(BlockingIOError):
        lock.take(theirs)
    assert not lock.is_held(theirs, 1)
    lock.take(theirs, 1)
    with pytest.raises(BlockingIOError):
        lock.take(mine, 1)


def test_what_was_let_go_can_be_taken(two: Two) -> None:
    mine, theirs = two
    lock.take(mine)
    lock.take(mine, 1)
    lock.drop(mine)
    lock.take(theirs)
    with pytest.raises(BlockingIOError):
        lock.take(theirs, 1)


def test_who_waits_has_it_as_soon_as_it_is_let_go(two: Two) -> None:
    mine, theirs = two
    lock.take(mine)
    seen: list[str] = []

    def wait() -> None:
        lock.take(theirs, wait=True)
        seen.append("taken")

    waiting = threading.Thread(target=wait)
    waiting.start()
    seen.append("let go")
    lock.drop(mine)
    waiting.join(30)
    assert seen == ["let go", "taken"]


def test_a_lock_ends_with_the_last_descriptor_of_its_open_file(two: Two) -> None:
    mine, theirs = two
    lock.take(mine)
    copy = os.dup(mine)
    other = os.open(f"/proc/self/fd/{mine}", os.O_RDONLY)
    os.close(other)  # of another open file: no matter
    os.close(copy)
    assert lock.is_held(theirs)


@pytest.mark.parametrize("number", [PermissionError, BlockingIOError])
def test_both_numbers_for_a_lock_that_is_held_are_one(
    two: Two, number: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(_fd: int, _act: int, _request: bytes) -> bytes:
        raise number

    monkeypatch.setattr(fcntl, "fcntl", held)
    with pytest.raises(BlockingIOError):
        lock.take(two[0])


def test_freebsd_is_asked_in_its_own_order_and_names_the_process(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fcntl(2) of FreeBSD: l_start, l_len, l_pid, l_type, l_whence, l_sysid."""
    asked: list[tuple[int, ...]] = []
    kinds = iter([fcntl.F_WRLCK, fcntl.F_UNLCK])

    def answer(_fd: int, _act: int, request: bytes) -> bytes:
        asked.append(struct.unpack("qqihhi4x", request))
        return struct.pack("qqihhi4x", 0, 1, 4711, next(kinds), os.SEEK_SET, 0)

    monkeypatch.setattr(lock, "_LINUX", False)
    monkeypatch.setattr(lock, "_FLOCK", "qqihhi4x")
    monkeypatch.setattr(fcntl, "fcntl", answer)
    assert [lock.owner_pid(two[0]), lock.owner_pid(two[0])] == [4711, 0]
    assert asked == [(0, 1, 0, fcntl.F_WRLCK, os.SEEK_SET, 0)] * 2


def test_a_file_that_was_removed_or_replaced_is_not_at_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as file:
        assert lock.is_at(file.fileno(), str(path))
        path.unlink()
        assert not lock.is_at(file.fileno(), str(path))
        path.touch()
        assert not lock.is_at(file.fileno(), str(path))
