"""A qcow2 image: its header and tables, checked before QEMU sees them.

Source: QEMU, docs/interop/qcow2.txt.
"""

from __future__ import annotations

import struct

from vm_pull.images.imagefile import all_bits, refused
from vm_pull.images.qcow2_tables import MOST_L1_ENTRIES, Layout, check
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_pull.images.imagefile import ImageFile

__all__ = ["read"]

HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
HEADER_3 = struct.Struct(">QQQII")
OLD_LENGTH = 72
NEW_LENGTH = 104

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = 1, 2, 4, 8, 16
KNOWN = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2

EXTENSION_DATA_FILE = 0x44415441
EXTENSION_LUKS = 0x0537BE77

MOST_REFCOUNT_BYTES = 8 << 20
MOST_SNAPSHOTS = 65536
MOST_EXTRA = 1024
SNAPSHOT = struct.Struct(">QIHH20xI")


def read(file: ImageFile) -> tuple[int, tuple[str, ...]]:
    """The size of a qcow2 image's disk in bytes, and notes for the user.

    Raises:
        VmError: it wants other files, is encrypted or of an unknown kind (77); it is damaged: an
            offset in a table is outside the file (65).
    """
    layout, notes = _header(file)
    check(file, layout)
    return layout.size, notes


def _header(file: ImageFile) -> tuple[Layout, tuple[str, ...]]:
    data = file.read(0, OLD_LENGTH, "header")
    _, version, backing, backing_length, bits, size, crypt, *rest = HEADER.unpack(data)
    l1_entries, l1_offset, refcounts, refcount_clusters, snapshots, snapshots_at = rest
    if version not in {2, 3}:
        raise refused(f"the qcow2 image is of version {version}; only 2 and 3 are known")
    if backing or backing_length:
        raise refused("the qcow2 image has a backing file: it would show what is in another file")
    if crypt:
        raise refused("the qcow2 image is encrypted")
    if not 9 <= bits <= 21:
        raise file.contradicts(f"its clusters are of 2^{bits} bytes")
    features, length = _features(file, version, 1 << bits)
    _extensions(file, length, 1 << bits)
    layout = Layout(
        version=version,
        cluster_bits=bits,
        size=file.disk_size(size),
        l1_entries=l1_entries,
        l1_offset=l1_offset,
        extended=bool(features & EXTENDED_L2),
    )
    _refcounts(file, layout, refcounts, refcount_clusters)
    _snapshots(file, snapshots, snapshots_at, layout.cluster)
    return layout, tuple(_notes(features, snapshots))


def _notes(features: int, snapshots: int) -> Iterator[str]:
    if features & DIRTY:
        yield "was not closed properly"
    if snapshots:
        yield f"has {snapshots} snapshots; its present state is what counts"


def _features(file: ImageFile, version: int, cluster: int) -> tuple[int, int]:
    """The incompatible features of an image, and the length of its header."""
    if version == 2:
        return 0, OLD_LENGTH
    data = file.read(OLD_LENGTH, NEW_LENGTH - OLD_LENGTH, "header")
    features, _, _, refcount_order, length = HEADER_3.unpack(data)
    if features & DATA_FILE:
        raise refused("the qcow2 image has an external data file: it would show another file")
    if features & ~KNOWN:
        raise refused(f"the qcow2 image has unknown features ({features & ~KNOWN:#x})")
    if features & CORRUPT:
        raise file.contradicts("it is marked as corrupt")
    if refcount_order > 6 or not NEW_LENGTH <= length <= cluster or length % 8:
        raise file.contradicts("its header contradicts itself")
    compression = file.read(NEW_LENGTH, 1, "header")[0] if length > NEW_LENGTH else 0
    if compression > 1 or bool(compression) != bool(features & COMPRESSION):
        raise refused(f"the qcow2 image has an unknown compression ({compression})")
    return features, length


def _extensions(file: ImageFile, offset: int, cluster: int) -> None:
    """Looks for what a header extension may ask for.

    An image without any has zeros here, which end the list.
    """
    data = file.read(0, min(cluster, file.length), "header")
    while offset + 8 <= len(data):
        kind, length = struct.unpack_from(">II", data, offset)
        offset += 8 + length
        if offset > len(data):
            raise file.contradicts("an extension of its header is too long")
        if kind == 0:
            return
        if kind == EXTENSION_DATA_FILE:
            raise refused("the qcow2 image names an external data file")
        if kind == EXTENSION_LUKS:
            raise refused("the qcow2 image is encrypted with LUKS")
        offset = -(-offset // 8) * 8


def _refcounts(file: ImageFile, layout: Layout, offset: int, clusters: int) -> None:
    """Checks where the reference counts are; that they count right matters to no reader."""
    count = clusters * layout.cluster
    if not 0 < count <= MOST_REFCOUNT_BYTES or offset % layout.cluster or not offset:
        raise file.contradicts("its reference counts contradict its header")
    for table in file.tables(offset, count // 8, "Q", "big", "table of reference counts"):
        every, most = all_bits(table), max(table)
        if every & (layout.cluster - 1):
            raise file.contradicts("a block of reference counts is misplaced")
        file.within(most, layout.cluster if most else 0, "block of reference counts")


def _snapshots(file: ImageFile, count: int, offset: int, cluster: int) -> None:
    """Checks that the entries of the snapshot table, each as long as it says, are in the file."""
    if count > MOST_SNAPSHOTS or offset % cluster or offset >> 63:
        raise file.contradicts(f"its {count} snapshots are misplaced")
    for _ in range(count):
        entry = file.read(offset, SNAPSHOT.size, "table of snapshots")
        l1_offset, l1_entries, identity, name, extra = SNAPSHOT.unpack(entry)
        if extra > MOST_EXTRA or l1_entries > MOST_L1_ENTRIES or l1_offset % cluster:
            raise file.contradicts("its table of snapshots contradicts itself")
        length = SNAPSHOT.size + extra + identity + name
        file.within(offset, length, "table of snapshots")
        offset += -(-length // 8) * 8
