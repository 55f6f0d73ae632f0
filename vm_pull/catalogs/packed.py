"""A box that Vagrant has unpacked, packed again on the fly: there is one way into a machine."""

from __future__ import annotations

import os
import tarfile

from vm_pull.catalogs import boxfolder
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_pull.catalogs.boxfolder import Member

__all__ = ["Packed"]

_BLOCK = 256 << 10


class Packed:
    """A folder of a box, with the interface of `vm_pull.net.download.Download`.

    Attributes:
        url: the folder.
        size: bytes of its files.
    """

    def __init__(self, folder: str) -> None:
        """Lists the folder.

        Raises:
            VmError: it cannot be read (74).
        """
        self.url = folder
        self._members = boxfolder.members(folder)
        self.size = sum(member.size for member in self._members)

    def blocks(self) -> Iterator[bytes]:
        """The box as a tar archive.

        Raises:
            VmError: a file cannot be read, or changes meanwhile (74).
        """
        for member in self._members:
            header = tarfile.TarInfo(member.name)
            header.size = member.size
            yield header.tobuf(tarfile.PAX_FORMAT)
            yield from _content(member)
            yield bytes(-member.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def close(self) -> None:
        """Holds nothing open."""


def _content(member: Member) -> Iterator[bytes]:
    left = member.size
    fd = boxfolder.open_member(member)
    try:
        while left and (block := os.read(fd, min(_BLOCK, left))):
            left -= len(block)
            yield block
    except OSError as error:
        problem = f"{member.path} cannot be read: {error.strerror or error}"
        raise VmError(Fault(problem=problem), status=74) from None
    finally:
        os.close(fd)
    if left:
        problem = f"{member.path} became shorter while it was read"
        raise VmError(Fault(problem=problem, hint="run the command again"), status=74)
