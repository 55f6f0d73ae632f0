"""A folder to unpack a box into, a canary beside it, and what is said of the result."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pull import boxes
from vm_pull.unpack import Unpacked, unpack
from vm_spec.fault import VmError

MOST = 64 << 20
DISK = boxes.boot_disk(2 << 20)
RAW = boxes.file("box.img", DISK)
OVF = boxes.file("box.ovf", b"<Envelope/>")


class Room:
    """A folder to unpack into, and a file beside it that nobody may touch or read."""

    def __init__(self, path: Path) -> None:
        self.inside = path / "room"
        self.inside.mkdir()
        self.canary = path / "canary.vmdk"
        self.canary.write_bytes(b"KDMV secret" * 99)
        os.utime(self.canary, (1, 2))
        self.told: list[str] = []
        self._before = self.canary.stat()

    def unpack(self, data: bytes, *, most_bytes: int = MOST, size: int = 65536) -> Unpacked:
        folder = os.open(self.inside, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return unpack(
                boxes.blocks(data, size), folder, most_bytes=most_bytes, tell=self.told.append
            )
        finally:
            os.close(folder)

    def refuse(self, data: bytes, *, most_bytes: int = MOST) -> str:
        """What is said of a box that is refused; nothing of it is left."""
        with pytest.raises(VmError) as caught:
            self.unpack(data, most_bytes=most_bytes)
        self.check()
        assert os.listdir(self.inside) == []
        return str(caught.value)

    def check(self) -> None:
        """The canary is as it was and was not read, and nothing else is around."""
        now = self.canary.stat()
        for field in ("st_mtime", "st_ctime", "st_atime", "st_mode", "st_nlink", "st_size"):
            assert getattr(now, field) == getattr(self._before, field), field
        assert sorted(os.listdir(self.inside.parent)) == ["canary.vmdk", "room"]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.inside.iterdir()}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    before = threading.enumerate()
    made = Room(tmp_path)
    yield made
    made.check()
    assert threading.enumerate() == before


def kinds(found: Unpacked) -> list[tuple[str, str, str]]:
    return [(disk.member, disk.file, disk.image.kind) for disk in found.disks]


def qemu_img(tmp_path: Path, disk: bytes, *words: str) -> bytes:
    """What qemu-img makes of a raw disk."""
    (tmp_path / "raw").write_bytes(disk)
    argv = ["qemu-img", "convert", "-f", "raw", *words, "raw", "made"]
    subprocess.run(argv, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    data = (tmp_path / "made").read_bytes()
    (tmp_path / "raw").unlink()
    (tmp_path / "made").unlink()
    return data
