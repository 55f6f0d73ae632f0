"""What is said of VDI, VHD and VHDX images that are refused: the right rule found each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pull import good, hostile
from vm_spec.fault import VmError

PARENT = "is a difference to another image, its parent"
LARGE = "holds a disk of 4294967296 GiB, and 1024 GiB is the most accepted"
CUT = "is cut short or damaged: its {} is outside the file"
SAID = {
    "VDI that is a difference": PARENT,
    "VDI that is an undo": PARENT,
    "VDI with a parent": PARENT,
    "VDI with a link": PARENT,
    "VDI of 2^62 bytes": LARGE,
    "VDI of version 2": "is of version 2.0, not 1.1",
    "VDI of an unknown type": "is of an unknown type (7)",
    "VDI with more blocks than its disk": "is damaged: it has 255 blocks for 2097152 bytes",
    "VDI with more blocks than it says": "is damaged: its block map contradicts its header",
    "VDI with a map outside": "is damaged: its block map is misplaced",
    "VDI with a crooked map": "is damaged: its block map is misplaced",
    "VDI with a block outside": "is damaged: its block map contradicts its header",
    "VDI with tiny blocks": "has blocks of 512 bytes and sectors of 512",
    "VDI that is cut short": CUT.format("data"),
    "VHD that is a difference": PARENT,
    "VHD of an unknown type": "is of an unknown type (9)",
    "VHD of version 2": "is of version 2.0, not 1.0",
    "VHD of 2^62 bytes": LARGE,
    "VHD with a wrong checksum": "is damaged: a checksum is wrong",
    "VHD that is cut short": CUT.format("footer"),
    "VHD with two footers": "is damaged: its first and its last sector differ",
    "VHD with a parent": "names a parent",
    "VHD with a table outside": CUT.format("block table"),
    "VHD with a crooked table": "is damaged: its dynamic header contradicts itself",
    "VHD with endless blocks": "is damaged: its blocks are of 2147483648 bytes",
    "VHD with few blocks": "is damaged: it has 0 blocks of 2097152 bytes for 2097152 bytes",
    "VHD with one block for everything": (
        "is damaged: its block table uses more data than the file has"
    ),
    "VHD with a block outside": CUT.format("data"),
    "fixed VHD of another size": ("is damaged: its footer tells of 2097152 bytes, there are 4096"),
    "fixed VHD in a dynamic one": "is fixed by its end and dynamic by its beginning",
    "VHDX with a parent": PARENT,
    "VHDX with the place of a parent": PARENT,
    "VHDX with a log": "was not closed properly: its log is not empty",
    "VHDX of version 2": "is of version 2; only 1 is known",
    "VHDX with broken headers": "is damaged: neither of its headers is whole",
    "VHDX with broken regions": "is damaged: its region tables are broken",
    "VHDX with an unknown region": "has an unknown region that must be understood",
    "VHDX with a region outside": CUT.format("region"),
    "VHDX of 2^62 bytes": LARGE,
    "VHDX with tiny blocks": "is damaged: its blocks are of 512 bytes, its sectors of 512",
    "VHDX with a block in its parent": "has blocks that are in its parent",
    "VHDX with a block outside": CUT.format("data"),
    "VHDX with a block of no state": "is damaged: a block is in an unknown state",
    "VHDX that is cut short": CUT.format("data"),
    "VHDX signature alone": CUT.format("header"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    content = good.disk(2 << 20)
    kinds = ("vdi", "vhd", "vhd-fixed", "vhdx")
    return hostile.others({kind: good.make(folder, kind, content).read_bytes() for kind in kinds})


def test_every_one_of_them_is_told_of(images: dict[str, bytes]) -> None:
    assert images.keys() == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_what_is_wrong_is_said(images: dict[str, bytes], tmp_path: Path, name: str) -> None:
    (tmp_path / "image").write_bytes(images[name])
    with pytest.raises(VmError) as caught:
        good.judged(tmp_path / "image")
    kind = name.removeprefix("fixed ").partition(" ")[0]
    assert caught.value.faults[0].problem == f"the {kind} image {SAID[name]}"


def test_the_checksum_of_vhdx_is_that_of_the_standard() -> None:
    """RFC 3720, B.4: thirty-two bytes of zeros, of ones, and upwards."""
    from vm_pull.images.vhdx import crc32c

    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
