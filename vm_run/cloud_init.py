"""The disk that cloud-init reads at a guest's first boot: an ISO 9660 image of a few files.

It is made before each start, so that a change of a file arrives at the next one.

Source: cloud-init's documentation, Datasources, NoCloud; ECMA-119, 4th edition, sections 6 to 9;
the Joliet specification (1995) for the supplementary descriptor, which has the names in UCS-2.
"""

from __future__ import annotations

import os
import stat
import struct

from vm_run.host.requirements import MOST_SEED
from vm_spec.devices import VirtioBlk
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import FilePath, Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_spec.machine import Machine

__all__ = ["SECTOR", "disk", "image", "read_files", "write_image"]

VOLUME = "cidata"  # in small letters, which every version of cloud-init looks for
NAME = "cloud-init.iso"
# What user-data may begin with: cloud-init's documentation, User-data formats; cloudbase-init's.
_BEGINNINGS = (
    b"#cloud-config", b"#!", b"#include", b"#cloud-boothook", b"#part-handler", b"#upstart-job",
    b"## template: jinja", b"\x1f\x8b", b"#ps1", b"rem cmd",
)  # fmt: skip

SECTOR = 2048
_DESCRIPTORS = 16  # sectors; what is before belongs to whoever boots from it
_TABLES, _ROOTS, _FILES = 19, 23, 25  # sectors: two path tables of each tree, two roots, files
_DIRECTORY = 2  # file flags (9.1.6)
_SELF, _PARENT = b"\0", b"\1"
_JOLIET = b"%/E"  # UCS-2 level 3
_UNTIMED = b"0" * 16 + b"\0"  # no date, so that the same files are the same image (8.4.26.1)


def disk(machine: Machine, directory: str) -> VirtioBlk:
    """The disk as the guest has it: virtio, since kernels for clouds have drivers for little else.

    Args:
        machine: whose it is.
        directory: the state directory of its run.
    """
    return VirtioBlk(label=Label("cloud-init"), path=FilePath(f"{directory}/{NAME}"), ro=True)


def write_image(machine: Machine, directory: str) -> str:
    """Writes the image into the state directory; returns a note for the user, mostly empty.

    Raises:
        VmError: a file cannot be read or is too large (69).
        OSError: the image cannot be written.
    """
    if machine.cloud_init is None:
        return ""
    files = read_files(machine)
    path = f"{directory}/{NAME}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # it may hold passwords
        file.write(image(VOLUME, files))
    if _is_understood(files["user-data"]):
        return ""
    return (
        f"cloud-init will ignore {machine.cloud_init.user_data}: it begins with nothing that says "
        "what it is, such as #cloud-config or #!/bin/sh"
    )


def read_files(machine: Machine) -> dict[str, bytes]:
    """The files of the disk, by name; cloud-init ignores a disk without the first two.

    Raises:
        VmError: a file cannot be read or is too large (69).
    """
    paths = machine.cloud_init
    assert paths  # noqa: S101  for the type checker: the callers have looked
    files = {"user-data": _read(paths.user_data), "meta-data": _read(paths.meta_data)}
    if paths.network_config:
        files["network-config"] = _read(paths.network_config)
    if paths.meta_data is None:
        files["meta-data"] = _meta_data(machine, paths.instance_id, files)
    return files


def _meta_data(machine: Machine, instance: str | None, files: dict[str, bytes]) -> bytes:
    """Which instance it is, and its name; in quotes, since a name such as 1e3 is a number in YAML.

    cloud-init does its work once for each instance: changed files make another one of it.
    """
    from hashlib import sha256  # only here: it costs 4 ms

    instance = instance or f"{machine.name}-{sha256(repr(files).encode()).hexdigest()[:16]}"
    return f'instance-id: "{instance}"\nlocal-hostname: "{machine.name}"\n'.encode()


def _read(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            kind, content = os.fstat(fd).st_mode, file.read(MOST_SEED + 1)
    except OSError as error:
        raise _unreadable(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(kind) or len(content) > MOST_SEED:
        raise _unreadable(f"{path}: is no regular file of at most {MOST_SEED >> 10} KiB")
    return content


def _unreadable(problem: str) -> VmError:
    return VmError(Fault(device="cloud-init", problem=problem), status=os.EX_UNAVAILABLE)


def _is_understood(user_data: bytes) -> bool:
    start = user_data.lstrip()[:4096].lower()
    return not start or start.startswith(_BEGINNINGS) or b"mime-version:" in start


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """An image of these files.

    The label is written as it is, though ECMA-119 has capitals only: cloud-init has always looked
    for `cidata`. In the plain tree user-data is USER_DAT; Joliet's has the names as they are.

    Args:
        label: the volume's, at most 16 ASCII characters.
        files: name -> content; ASCII names.

    Raises:
        ValueError: there are more files than fit into one sector's folder.
    """
    places: dict[str, tuple[int, int]] = {}
    sector = _FILES
    for name, content in files.items():
        places[name] = (sector, len(content))
        sector += -(-len(content) // SECTOR)
    plain = {_short(name): place for name, place in places.items()}
    wide = {f"{name};1".encode("utf-16-be"): place for name, place in places.items()}
    return b"".join(
        (
            bytes(_DESCRIPTORS * SECTOR),
            _descriptor(1, label, _TABLES, sector),
            _descriptor(2, label, _TABLES + 2, sector),
            _fill(b"\xffCD001\1"),
            *(_fill(_path(_ROOTS + tree, order)) for tree in (0, 1) for order in "<>"),
            _directory(_ROOTS, plain),
            _directory(_ROOTS + 1, wide),
            *map(_fill, files.values()),
        )
    )


def _short(name: str) -> bytes:
    """A name of eight capitals, digits and underscores (7.4.1), and the first version."""
    kept = "".join(c if c.isalnum() else "_" for c in name.upper())
    return f"{kept[:8]}.;1".encode("ascii")


def _descriptor(kind: int, label: str, tables: int, sectors: int) -> bytes:
    """The primary volume descriptor (8.4), kind 1, or the supplementary one (8.5), kind 2."""
    wide = kind == 2
    encoding, blank = ("utf-16-be", b"\0 ") if wide else ("ascii", b" ")
    parts = (
        struct.pack("B5sBx", kind, b"CD001", 1),
        (blank * 32)[:32],
        (label.encode(encoding) + blank * 32)[:32],
        bytes(8),
        _both(sectors),
        (_JOLIET if wide else b"").ljust(32, b"\0"),
        *map(_both_short, (1, 1, SECTOR)),
        _both(len(_path(0, "<"))),
        struct.pack("<II", tables, 0),
        struct.pack(">II", tables + 1, 0),
        _record(_SELF, (_ROOTS + wide, SECTOR), _DIRECTORY),
        (blank * 512)[:512],  # who made it, of what set
        *[(blank * 37)[:36] + b"\0" if wide else blank * 37] * 3,  # copyright and other files
        _UNTIMED * 4,
        b"\1",
    )
    return _fill(b"".join(parts))


def _both(number: int) -> bytes:
    """A number in both byte orders (7.3.3)."""
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both_short(number: int) -> bytes:
    """A short number in both byte orders (7.2.3)."""
    return struct.pack("<H", number) + struct.pack(">H", number)


def _path(root: int, order: str) -> bytes:
    """The path table's only entry, the root (9.4)."""
    return struct.pack(f"{order}BBIHBx", 1, 0, root, 1, 0)


def _directory(sector: int, entries: Mapping[bytes, tuple[int, int]]) -> bytes:
    own = (sector, SECTOR)
    records = [_record(name, own, _DIRECTORY) for name in (_SELF, _PARENT)]
    records += [_record(name, place) for name, place in sorted(entries.items())]
    if sum(map(len, records)) > SECTOR:
        msg = "a folder of one sector cannot hold so many files"
        raise ValueError(msg)
    return _fill(b"".join(records))


def _record(name: bytes, place: tuple[int, int], flags: int = 0) -> bytes:
    """A directory record (9.1), of even length."""
    start, size = place
    length = 33 + len(name) + (len(name) + 1) % 2
    packed = struct.pack("BB", length, 0) + _both(start) + _both(size) + bytes(7)
    packed += struct.pack("BBB", flags, 0, 0) + _both_short(1) + struct.pack("B", len(name)) + name
    return packed.ljust(length, b"\0")


def _fill(content: bytes) -> bytes:
    """A content in whole sectors."""
    return content + bytes(-len(content) % SECTOR)
