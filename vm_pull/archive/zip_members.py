"""The files in a box that is a zip archive."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from contextlib import contextmanager

from vm_pull.archive.members import Member, Names
from vm_pull.archive.refusal import cut_short, refusal
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Generator, Iterator
    from typing import IO

    Piece = tuple[int, bytes]

__all__ = ["MAGIC", "zip_members"]

MAGIC = b"PK\3\4"
_MOST_AT_ONCE = 1 << 20  # bytes; the directory of 4096 members has some 400 KiB
_BLOCK = 128 << 10
_ENCRYPTED = 0x1 | 0x20 | 0x40 | 0x2000  # also patched data, strong encryption, hidden directory
_STORED, _DEFLATED = 0, 8
_ERRORS = (
    zlib.error, struct.error, OSError, EOFError, RuntimeError, OverflowError, ValueError
)  # fmt: skip


class _File:
    """What zipfile reads from: a file, and never much of it at once.

    zipfile gathers the archive's directory in memory, however large that says it is.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._size = os.fstat(fd).st_size

    def read(self, count: int = -1) -> bytes:
        """The next bytes.

        Raises:
            VmError: it would be more than a MiB.
        """
        if count < 0:
            count = max(self._size - self._at, 0)
        if count > _MOST_AT_ONCE:
            raise refusal("the directory of the box's zip archive is impossibly large")
        content = os.pread(self._fd, count, self._at)
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if begin + offset < 0:
            raise OSError("before the beginning")
        self._at = begin + offset
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leaves the file open: it is not ours."""


def zip_members(fd: int, *, most_bytes: int) -> Iterator[Member]:
    """Every file of a zip archive, in the order of its directory.

    Args:
        fd: the archive, whole.
        most_bytes: of all its files together.

    Raises:
        VmError: as for a tar archive; or it is encrypted, its files are larger than `most_bytes`,
            or compressed in a way that zip tools of 1993 did not know.
    """
    import zipfile

    with _damage(), zipfile.ZipFile(_File(fd)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > most_bytes:
            raise refusal(f"the files in the box have more than {most_bytes} bytes together")
        yield from _members(archive, infos)


@contextmanager
def _damage() -> Generator[None]:
    """Turns what zipfile raises for a damaged archive into our error."""
    import zipfile

    try:
        yield
    except (zipfile.BadZipFile, *_ERRORS) as error:
        raise refusal(f"the box's zip archive is damaged: {error}") from None


def _members(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> Iterator[Member]:
    names = Names()
    for info in infos:
        _check(info)
        if info.orig_filename.endswith("/"):
            names.add_folder(info.orig_filename)
        else:
            name = names.add(info.orig_filename)
            with archive.open(info) as file:
                yield Member(name=name, size=info.file_size, pieces=_pieces(file, info.file_size))


def _check(info: zipfile.ZipInfo) -> None:
    """Refuses what is neither a file nor a folder, and what we cannot read."""
    name = info.orig_filename[:100]
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise refusal(f"{name} in the box is a link or a device")
    if info.flag_bits & _ENCRYPTED:
        raise refusal(f"{name} in the box is encrypted", "look for a box that is not")
    if info.compress_type not in {_STORED, _DEFLATED}:
        raise refusal(f"{name} in the box is compressed in a way that is not read")


def _pieces(file: IO[bytes], size: int) -> Iterator[Piece]:
    at = 0
    while at < size:
        with _damage():
            content = file.read(_BLOCK)
        if not content:
            raise cut_short("inside a member")
        yield at, content
        at += len(content)
