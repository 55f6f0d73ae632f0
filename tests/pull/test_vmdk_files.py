"""VMDKs of one sparse file, and those in several parts with a descriptor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pull import good, hostile
from tests.pull.good import complaint, judged_content
from tests.pull.hostile import SPLIT, vmdk
from vm_pull.images import convert
from vm_pull.images.image import Image
from vm_pull.images.vmdk_files import PART, Extent, joined, split
from vm_spec.fault import VmError

MIB = 1 << 20

VMWARE = """# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fb183c20
parentCID=ffffffff
isNativeSnapshot="no"
createType="twoGbMaxExtentSparse"

# Extent description
RW 8323072 SPARSE "disk-s001.vmdk"
RW 8323072 SPARSE "disk (2).vmdk"
RW 40960 SPARSE "disk-s003.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "2610"
ddb.longContentID = "0123456789abcdef0123456789abcdef"
ddb.uuid = "60 00 C2 9e 12 34 56 78-9a bc de f0 12 34 56 78"
ddb.virtualHWVersion = "9"
"""


def test_the_parts_of_a_disk_come_in_order_with_their_sizes() -> None:
    assert split(VMWARE.encode()) == (
        Extent(member="disk-s001.vmdk", size=8323072 * 512),
        Extent(member="disk (2).vmdk", size=8323072 * 512),
        Extent(member="disk-s003.vmdk", size=20 * MIB),
    )
    windows = VMWARE.replace("\n", "\r\n").encode() + bytes(300)
    assert split(windows) == split(VMWARE.encode())


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (
            "is of type monolithicFlat, which may name any file",
            "twoGbMaxExtentSparse",
            "monolithicFlat",
        ),
        ("is of type TWOGBMAXEXTENTSPARSE, which", "twoGbMaxExtentSparse", "TWOGBMAXEXTENTSPARSE"),
        ("does not have exactly one createtype", "isNative", 'CreateType="x"\nisNative'),
        ("does not have exactly one version", "version=1\n", ""),
        ("names a parent: it would show", "parentCID=ffffffff", "parentCID=12345678"),
        ("names a parent: it would show", "isNative", 'PARENTFILENAMEHINT="x"\nisNative'),
        ("has parts that are not sparse files beside it", 'SPARSE "disk-s003.vmdk"', 'FLAT "a" 0'),
        ("has parts that are not sparse files beside it", "disk-s003.vmdk", "../disk"),
        ("has parts that are not sparse files beside it", "RW 40960", "RW -1"),
        ("has parts that are not sparse files beside it", "# The", "\vx\n# The"),
        ("has no parts, too many, or one twice", "disk-s003", "DISK-S001"),
        ("has a part without a plain name or without size", "40960", "0"),
        ("has a part without a plain name or without size", "disk-s003.vmdk", ".."),
        ("has a part without a plain name or without size", "disk-s003.vmdk", "nbd:x"),
        ("has a part without a plain name or without size", "disk-s003.vmdk", "-rf"),
    ],
)
def test_threat_b17_any_other_descriptor_is_refused(words: str, old: str, new: str) -> None:
    assert old in VMWARE
    with pytest.raises(VmError) as caught:
        split(VMWARE.replace(old, new).encode())
    assert caught.value.status == 77
    assert caught.value.faults[0].problem.startswith(f"the VMDK descriptor {words}")


def test_a_descriptor_of_our_own_names_our_files_only() -> None:
    parts = {
        "disk-s001.vmdk": ("disk0", 8323072 * 512),
        "disk (2).vmdk": ("disk1", 8323072 * 512),
        "disk-s003.vmdk": ("disk2", 20 * MIB),
        "other.vmdk": ("disk3", MIB),
    }
    text, size = joined(VMWARE.encode(), parts)
    assert size == 8323072 * 1024 + 20 * MIB
    assert text == (
        b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        b'createType="twoGbMaxExtentSparse"\n\n# Extent description\n'
        b'RW 8323072 SPARSE "disk0"\nRW 8323072 SPARSE "disk1"\nRW 40960 SPARSE "disk2"\n\n'
        b'# The Disk Data Base\nddb.virtualHWVersion = "4"\n'
    )


def test_a_part_that_is_missing_or_of_another_size_is_told() -> None:
    text = SPLIT.replace("disk.vmdk", "s1.vmdk").encode()
    with pytest.raises(VmError, match=r"the box lacks s1\.vmdk, a part of the disk"):
        joined(text, {})
    with pytest.raises(VmError, match=r"s1\.vmdk has 512 bytes of the disk, not 65536"):
        joined(text, {"s1.vmdk": ("disk0", 512)})


@pytest.mark.parametrize("to", ["raw", "qcow2"])
def test_a_split_disk_of_two_parts_becomes_one(tmp_path: Path, to: str) -> None:
    """Each part is made by itself; QEMU would begin a second one after 2 GiB."""
    disk = good.disk(5 * MIB + 512)
    at = 3 * MIB
    parts: dict[str, tuple[str, int]] = {}
    for number, content in enumerate((disk[:at], disk[at:])):
        (tmp_path / "source").write_bytes(content)
        words = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]
        good.qemu_img(*words, tmp_path / "source", tmp_path / "part.vmdk")
        (tmp_path / "part-s001.vmdk").rename(tmp_path / f"disk{number}")
        image = good.judged(tmp_path / f"disk{number}")
        assert image == Image(kind="vmdk-sparse", size=len(content), notes=(PART,))
        parts[f"disk-s00{number + 1}.vmdk"] = (f"disk{number}", image.size)
    lines = [f'RW {size // 512} SPARSE "{name}"' for name, (_, size) in parts.items()]
    theirs = SPLIT.replace('RW 128 SPARSE "disk.vmdk"', "\n".join(lines))
    text, size = joined(theirs.encode(), parts)
    (tmp_path / "ours").write_bytes(text)
    image = Image(kind="vmdk-split", size=size)
    convert.convert(str(tmp_path), "ours", image, "target", to, tell=good.ignore)
    good.qemu_img("convert", "-f", to, "-O", "raw", tmp_path / "target", tmp_path / "seen")
    assert (tmp_path / "seen").read_bytes() == disk
    assert convert.first_bytes(str(tmp_path), "ours", image, 4096) == disk[:4096]


def test_the_descriptor_that_qemu_writes_for_a_split_disk_is_read(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(good.disk())
    words = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]
    good.qemu_img(*words, tmp_path / "source", tmp_path / "disk.vmdk")
    found = split((tmp_path / "disk.vmdk").read_bytes())
    assert found == (Extent(member="disk-s001.vmdk", size=len(good.disk())),)


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("is damaged: its grain tables overlap", vmdk(capacity=65537, directory=[22, 22])),
        ("is cut short or damaged: its data is outside the file", vmdk(grains=[129])),
        ("is cut short or damaged: its grain table is outside the file", vmdk(directory=[253])),
        ("is damaged: it is made for streaming", vmdk(directory_at=(1 << 64) - 1)),
        (
            "is damaged: its descriptor has no CID",
            vmdk(hostile.DESCRIPTOR.replace("CID=12345678", "CID=what")),
        ),
        ("is damaged: its descriptor is not where it belongs", vmdk(descriptor_at=2)),
        (
            "is damaged: its tables use more data than the file has",
            vmdk(capacity=128 * 512, grains=[128] * 512),
        ),
    ],
)
def test_what_is_wrong_with_a_sparse_vmdk_is_said(
    tmp_path: Path, words: str, content: bytes
) -> None:
    assert complaint(tmp_path, content) == f"the VMDK {words}"


def test_a_grain_of_zeros_needs_no_place_where_the_header_allows_it(tmp_path: Path) -> None:
    zeroed = hostile.patched(vmdk(grains=[1]), 8, b"\5\0\0\0")
    assert judged_content(tmp_path, zeroed).size == 65536


def test_only_the_last_grain_of_a_disk_may_be_cut_to_what_the_disk_has_of_it(
    tmp_path: Path,
) -> None:
    last = vmdk(capacity=3)
    assert judged_content(tmp_path, last[: 131 * 512]).size == 3 * 512
    assert "cut short" in complaint(tmp_path, last[: 131 * 512 - 1])
