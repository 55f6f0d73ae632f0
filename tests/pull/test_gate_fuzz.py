"""The gate on images that nobody thought of: an answer or a VmError, and QEMU agrees with it."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pull import good, hostile
from vm_pull.images import confine
from vm_pull.images.confine import Limits
from vm_pull.images.convert import opened
from vm_pull.images.image import Image
from vm_pull.images.vmdk_files import split
from vm_spec.fault import VmError

LIMITS = Limits(cpu_s=20, file=16 << 20)
MIB = 1 << 20
MOST_MEMORY = 64 << 20
SPOTS = {
    "qcow2": [(0, 120), (65536, 65544), (3 * 65536, 3 * 65536 + 16), (4 * 65536, 4 * 65536 + 64)],
    "qcow2-extended": [(0, 120), (4 * 65536, 4 * 65536 + 128)],
    "qcow2-compressed": [(0, 120), (3 * 65536, 3 * 65536 + 16), (4 * 65536, 4 * 65536 + 64)],
    "vdi": [(0x40, 0x60), (0x154, 0x1C8), (0x200, 0x220)],
    "vhd": [(0, 100), (512, 600), (1536, 1560), (-512, -400)],
    "vhdx": [
        (0x10000, 0x10060),
        (0x30000, 0x30060),
        (0x200000, 0x200100),
        (0x300000, 0x300080),
        (0x310000, 0x310040),
    ],
    "vmdk": [(0, 80), (512, 1024), (10752, 10800), (13312, 13400)],
}
"""Where the header and the tables of each kind are, roughly."""

NUMBERS = st.sampled_from(
    [
        *(0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x200, 0xFFFF, 0x10000),
        *(1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63 | 65536, 1 << 62 | 65536, (1 << 64) - 1),
    ]
)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 1 << 20),
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from(["big", "little"]),
        NUMBERS | st.integers(0, (1 << 64) - 1),
    ),
    min_size=1,
    max_size=3,
)
"""Where, how wide, in which order, what: for `changed`."""

Change = tuple[int, int, str, int]


@contextmanager
def changed(path: Path, kind: str, changes: list[Change]) -> Generator[None]:
    """The image has a few other numbers in its header and tables, for a while."""
    size = path.stat().st_size
    places = [at % size for begin, end in SPOTS[kind] for at in range(begin, end)]
    fd = os.open(path, os.O_RDWR)
    undo: list[tuple[int, bytes]] = []
    try:
        for where, width, order, number in changes:
            at = places[where % len(places)] // width * width
            value = number % (1 << 8 * width)
            undo.insert(0, (at, os.pread(fd, width, at)))
            os.pwrite(fd, value.to_bytes(width, "big" if order == "big" else "little"), at)
        yield
    finally:
        for at, data in undo:
            os.pwrite(fd, data, at)
        os.close(fd)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for kind in SPOTS:
        good.make(folder, kind, good.disk(2 * MIB))
    return folder


def answer(path: Path, kind: str) -> Image | None:
    try:
        return good.judged(path)
    except VmError as error:
        assert error.status in {65, 77}, kind
        return None


def size_by_qemu(folder: Path, name: str, image: Image) -> int:
    """What qemu-img thinks of the disk's size; it has to open it to know."""
    words = ["info", "--output=json", opened(name, image.kind)]
    told = json.loads(confine.run(str(folder), words, LIMITS, tell=good.ignore))
    size = told["virtual-size"]
    assert isinstance(size, int)
    return size


def test_the_spots_are_in_the_images(images: Path) -> None:
    for kind, spots in SPOTS.items():
        image = (images / kind).read_bytes()
        assert all(any(image[begin:] if end == 0 else image[begin:end]) for begin, end in spots)


@pytest.mark.parametrize("kind", SPOTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(changes=CHANGES)
def test_a_changed_image_is_refused_or_qemu_sees_the_same_size(
    images: Path, kind: str, changes: list[Change]
) -> None:
    with changed(images / kind, kind, changes):
        image = answer(images / kind, kind)
        if image is not None and image.kind not in {"raw", "vmdk-split"}:
            assert size_by_qemu(images, kind, image) == image.size


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_text_after_the_first_line_is_a_split_disk_or_refused(text: bytes) -> None:
    try:
        found = split(b"# Disk DescriptorFile\nversion=1\n" + text)
    except VmError as error:
        assert error.status == 77
    else:
        assert found


def test_a_table_that_claims_everything_takes_little_memory(tmp_path: Path) -> None:
    """Tables of 32 MiB in a file with holes, each entry of which is something."""
    path = tmp_path / "image"
    entries = 4 << 20
    with path.open("wb") as file:
        file.write(hostile.qcow2(bits=16, size=1 << 39, l1_size=entries)[:112])
        file.seek(65536 * 3)
        file.write((1 << 63 | 1 << 16).to_bytes(8, "big") * entries)
        file.truncate(1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert answer(path, "qcow2") is None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_MEMORY
    assert os.path.getsize(path) == 1 << 30
