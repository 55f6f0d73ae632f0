"""A qcow2 image's header and tables: what is told of each fault, and what is not one."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.pull import good, hostile
from tests.pull.good import complaint, judged_content
from tests.pull.hostile import CLUSTER, COMPRESSED, COPIED, DATA, qcow2
from vm_spec.fault import VmError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (
            "has a backing file: it would show what is in another file",
            qcow2(backing=b"/etc/hostname"),
        ),
        ("has an external data file: it would show another file", qcow2(incompatible=4)),
        ("has unknown features (0x20)", qcow2(incompatible=32)),
        ("is of version 1; only 2 and 3 are known", qcow2(version=1)),
        ("is encrypted", qcow2(crypt=1)),
        ("is damaged: it is marked as corrupt", qcow2(incompatible=2)),
        ("is damaged: its disk has 0 bytes", qcow2(size=0)),
        (
            "holds a disk of 4294967296 GiB, and 1024 GiB is the most accepted",
            qcow2(size=1 << 62),
        ),
        ("is damaged: its L1 table has 1 entries, not 32", qcow2(size=64 << 20)),
        ("is cut short or damaged: its L1 table is outside the file", qcow2(l1_size=1 << 20)),
        (
            "is damaged: its L1 table uses an L2 table twice",
            qcow2(size=4 << 20, l1=[COPIED | 4 * CLUSTER] * 2),
        ),
        ("is cut short or damaged: its data is outside the file", qcow2(l2=[6 * CLUSTER])),
        (
            "is cut short or damaged: its compressed data is outside the file",
            qcow2(l2=[COMPRESSED | 15 << 58 | DATA + 2048]),
        ),
        ("is damaged: its tables use more data than the file has", qcow2(l2=[DATA] * 16)),
        (
            "is damaged: an L2 table has unknown flags or misplaced clusters",
            qcow2(version=2, l2=[DATA | 1]),
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, words: str, content: bytes) -> None:
    assert complaint(tmp_path, content) == f"the qcow2 image {words}"


def test_an_image_that_was_not_closed_is_accepted_with_a_note(tmp_path: Path) -> None:
    assert judged_content(tmp_path, qcow2(incompatible=1)).notes == ("was not closed properly",)


def test_snapshots_are_noted_and_only_their_table_is_looked_at(tmp_path: Path) -> None:
    path = good.make(tmp_path, "qcow2", good.disk())
    for name in ("before", "after"):
        good.qemu_img("snapshot", "-c", name, path)
    good.qemu_img("resize", "-f", "qcow2", path, str(8 << 20))
    image = good.judged(path)
    assert image.size == 8 << 20
    assert image.notes == ("has 2 snapshots; its present state is what counts",)
    content = path.read_bytes()
    table = int.from_bytes(content[64:72], "big")
    extra = hostile.patched(content, table + 36, b"\1\0\0\0")
    assert complaint(tmp_path, extra).endswith("its table of snapshots contradicts itself")


def test_unknown_extensions_and_a_left_over_backing_format_are_no_fault(tmp_path: Path) -> None:
    extensions = [(hostile.BACKING_FORMAT, b"raw"), (0x12345678, b"whatever")]
    assert judged_content(tmp_path, qcow2(extensions=extensions)).size == 65536


def test_clusters_of_zeros_need_no_place(tmp_path: Path) -> None:
    assert judged_content(tmp_path, qcow2(l2=[1, COPIED | 1 << 40 | 1])).size == 65536


def test_only_the_last_cluster_of_a_disk_may_be_cut_to_what_the_disk_has_of_it(
    tmp_path: Path,
) -> None:
    last = qcow2(size=512, l2=[COPIED | DATA])
    assert judged_content(tmp_path, last[: DATA + 512]).size == 512
    assert "cut short" in complaint(tmp_path, last[: DATA + 511])
    assert "cut short" in complaint(tmp_path, qcow2(size=8192)[: DATA + 512])


@pytest.mark.parametrize("name", [name for name in good.KINDS if name.startswith("qcow2")])
def test_a_cut_that_is_not_found_takes_nothing_from_the_disk(tmp_path: Path, name: str) -> None:
    disk = good.disk()
    content = good.make(tmp_path, name, disk).read_bytes()
    path = tmp_path / "cut"
    for cut in (1, 511, 512, 4096, 40000):
        path.write_bytes(content[:-cut])
        try:
            good.judged(path)
        except VmError:
            continue
        good.qemu_img("convert", "-f", "qcow2", "-O", "raw", path, tmp_path / "raw")
        assert (tmp_path / "raw").read_bytes() == disk


def test_any_cut_of_a_compressed_image_is_found(tmp_path: Path) -> None:
    """QEMU's own check does not find this one."""
    content = good.make(tmp_path, "qcow2-compressed", good.disk()).read_bytes()
    for cut in (1, 512, 4096, len(content) // 100):
        assert "outside the file" in complaint(tmp_path, content[:-cut])


def full(path: Path, size: int, bits: int = 16) -> None:
    """An image whose every cluster is allocated; its data is a hole."""
    cluster = 1 << bits
    clusters, tables = size // cluster, size // cluster // (cluster // 8)
    l1_clusters = -(-tables * 8 // cluster)
    first = 3 + l1_clusters
    data = (first + tables) * cluster
    entries = struct.pack(f">{clusters}Q", *range(COPIED | data, (COPIED | data) + size, cluster))
    head = bytearray(qcow2(bits=bits, size=size, l1_size=tables, refcounts=(cluster, 1))[:112])
    struct.pack_into(">Q", head, 40, 3 * cluster)
    with path.open("wb") as file:
        file.write(head)
        file.seek(3 * cluster)
        places = range(COPIED | first * cluster, COPIED | (first + tables) * cluster, cluster)
        file.write(struct.pack(f">{tables}Q", *places))
        file.seek(first * cluster)
        file.write(entries)
        file.truncate(data + size)


def test_the_tables_of_a_large_disk_are_read_once_and_in_few_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    full(path, 20 * GIB)
    reads: list[int] = []
    pread = os.pread

    def counted(fd: int, count: int, offset: int) -> bytes:
        reads.append(count)
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert good.judged(path).size == 20 * GIB
    tables = 20 * GIB // 65536 * 8
    assert sum(reads) < tables + (1 << 20)
    assert len(reads) < 20
    assert max(reads) <= 1 << 20


def test_one_bad_cluster_among_many_is_found(tmp_path: Path) -> None:
    path = tmp_path / "large"
    full(path, 2 * GIB)
    with path.open("r+b") as file:
        file.seek(4 * 65536 + 8 * 12345)
        file.write(struct.pack(">Q", COPIED | 3 * GIB))
    with pytest.raises(VmError, match="its data is outside the file"):
        good.judged(path)
