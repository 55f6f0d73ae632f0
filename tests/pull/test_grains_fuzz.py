"""Whatever is done to a stream optimized VMDK: it is refused, or it is the same disk."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as some

from tests.pull import virtualbox
from tests.pull.streams import by_qemu, decoded, disk_of, records_of
from tests.pull.virtualbox import GRAIN, SECTOR
from vm_spec.fault import VmError

SMALL = disk_of(5 * GRAIN + 512, data=[0, 2 * GRAIN, -100], amount=300)
EMPTY = bytes(2 * GRAIN)


class Seed(NamedTuple):
    """A small image with its disk, and where something stands in it."""

    image: bytes
    disk: bytes
    places: list[int]


@cache
def seed(which: int) -> Seed:
    """A disk with data in either layout (0, 1), an empty one in either (2, 3)."""
    disk = (SMALL, EMPTY)[which // 2]
    with TemporaryDirectory() as folder:
        data = (virtualbox.image, by_qemu(Path(folder)))[which % 2](disk)
    return Seed(data, disk, telling(data))


def is_spoilt(data: bytes, disk: bytes) -> bool:
    """Whether an image is refused; what is taken must be the very disk."""
    try:
        result = decoded(data)
    except VmError:
        return True
    assert result == disk
    return False


def telling(data: bytes) -> list[int]:
    """The places of an image where something is written, or begins to be."""
    return [place for place in range(len(data)) if data[place] or place % SECTOR < 16]


Change = tuple[str, int, int]
CHANGES = some.lists(
    some.tuples(
        some.sampled_from(["bit", "bit", "byte", "cut", "insert", "sector", "remove", "number"]),
        some.integers(0, 1 << 20),
        some.integers(0, (1 << 32) - 1),
    ),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, places: list[int], changes: list[Change]) -> bytes:
    result = bytearray(data)
    for kind, where, what in changes:
        place = min(places[where % len(places)], max(len(result) - 1, 0))
        sector = place - place % SECTOR
        match kind:
            case "bit":
                result[place : place + 1] = bytes(b ^ 1 << what % 8 for b in result[place:][:1])
            case "byte":
                result[place : place + 1] = bytes([what % 256])
            case "cut":
                del result[place:]
            case "insert":
                result[place:place] = bytes([what % 256]) * (1 + what % 700)
            case "sector":
                other = what % (len(result) // SECTOR + 1) * SECTOR
                result[sector : sector + SECTOR] = result[other : other + SECTOR]
            case "remove":
                del result[sector : sector + SECTOR * (1 + what % 4)]
            case _:
                number = place - place % 4
                result[number : number + 4] = struct.pack("<I", what >> (what % 32))
    return bytes(result)


@settings(max_examples=1000, deadline=None)
@given(which=some.integers(0, 3), changes=CHANGES)
def test_a_changed_image_is_refused_or_the_same_disk(which: int, changes: list[Change]) -> None:
    image, disk, places = seed(which)
    spoilt = is_spoilt(mutated(image, places, changes), disk)
    event("refused" if spoilt else "the same disk")


def single_bits(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    for place in places:
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("which", [0, 1])
def test_a_bit_of_the_header_spoils_the_image_or_changes_nothing(which: int) -> None:
    image, disk, _ = seed(which)
    spoilt = sum(is_spoilt(changed, disk) for changed in single_bits(image, range(80)))
    assert spoilt > 400


@pytest.mark.parametrize("which", [0, 1])
def test_a_bit_of_a_table_spoils_the_image(which: int) -> None:
    image, disk, _ = seed(which)
    sectors = records_of(image)
    table = image.index(struct.pack("<I", sectors[0] // SECTOR), 27 * SECTOR)
    places = [table + n for n in (*range(32), 2000, 2047)]
    assert all(is_spoilt(changed, disk) for changed in single_bits(image, places))


@pytest.mark.parametrize("which", [0, 1])
def test_a_bit_of_a_grain_spoils_the_image_or_changes_nothing(which: int) -> None:
    image, disk, _ = seed(which)
    begin = records_of(image)[1]
    (size,) = struct.unpack_from("<I", image, begin + 8)
    places = [*range(begin, begin + 8), *range(begin + 12, begin + 12 + size, 11)]
    spoilt = [is_spoilt(changed, disk) for changed in single_bits(image, places)]
    assert spoilt.count(False) < 8  # bits that fill the last byte of a deflate stream
