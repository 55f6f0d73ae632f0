"""The beginning of a qcow2's disk, without another program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pull import good
from vm_pull.images.qcow2_first import first_bytes

MIB = 1 << 20
QCOW2 = [name for name, (form, _) in good.KINDS.items() if form == "qcow2"]
OTHERS = [name for name in QCOW2 if "zstd" in name or "extended" in name]


def read(path: Path, count: int) -> bytes | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return first_bytes(fd, count)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", [name for name in QCOW2 if name not in OTHERS])
@pytest.mark.parametrize("count", [512, 65536, 70000, 2 * MIB])
def test_it_is_what_the_guest_sees(tmp_path: Path, name: str, count: int) -> None:
    disk = good.disk()
    assert read(good.make(tmp_path, name, disk), count) == disk[:count]


@pytest.mark.parametrize("name", OTHERS)
def test_what_it_cannot_read_it_leaves_to_qemu(tmp_path: Path, name: str) -> None:
    assert read(good.make(tmp_path, name, good.disk()), 65536) is None


def test_there_are_kinds_of_both_sorts() -> None:
    assert len(OTHERS) >= 2
    assert len(QCOW2) - len(OTHERS) >= 4


def test_an_empty_disk_is_zeros(tmp_path: Path) -> None:
    assert read(good.make(tmp_path, "qcow2", bytes(MIB)), 65536) == bytes(65536)
