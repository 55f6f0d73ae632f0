"""Disks, their stream optimized images in both layouts, and what the decoder makes of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.pull import good
from tests.pull.virtualbox import SECTOR
from vm_pull.archive.accel import grain_inflater
from vm_pull.images.grains import StreamDecoder

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MOST = 1 << 50
NOISE = random.Random(3)  # noqa: S311 - the same disks each time

Image = Callable[[bytes], bytes]


def disk_of(size: int, *, data: Iterable[int] = (0,), amount: int = 5000) -> bytes:
    """A disk with data at some places, given in bytes; from the end when negative."""
    disk = bytearray(size)
    for place in data:
        place %= size
        content = (NOISE.randbytes(amount) + b"text " * amount)[: size - place]
        disk[place : place + len(content)] = content
    return bytes(disk)


def by_qemu(folder: Path) -> Image:
    def image(disk: bytes) -> bytes:
        raw, made = folder / "source.raw", folder / "made.vmdk"
        raw.write_bytes(disk)
        option = "subformat=streamOptimized"
        good.qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", option, raw, made)
        return made.read_bytes()

    return image


class Decoded:
    """A disk in memory that is being decoded."""

    def __init__(self, *, most_bytes: int = MOST, library: str = "") -> None:
        self.disk = bytearray()
        self.count = 0
        self.decoder = StreamDecoder(
            self.write, most_bytes=most_bytes, inflate=grain_inflater(library)
        )

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.count += 1
        if len(self.disk) < offset + len(data):
            self.disk.extend(bytes(offset + len(data) - len(self.disk)))
        self.disk[offset : offset + len(data)] = data

    def finish(self) -> bytes:
        size = self.decoder.finish()
        assert len(self.disk) <= size
        return bytes(self.disk.ljust(size, b"\0"))


def decoded(data: bytes, chunk: int = 1 << 30) -> bytes:
    target = Decoded()
    for begin in range(0, len(data), chunk):
        target.decoder.feed(data[begin : begin + chunk])
    return target.finish()


def records_of(data: bytes) -> list[int]:
    """Where the grains of an image stand."""
    found: list[int] = []
    place = 128 * SECTOR
    while (size := struct.unpack_from("<I", data, place + 8)[0]) != 0:
        found.append(place)
        place += -(-(12 + size) // SECTOR) * SECTOR
    return found
