"""A box or a catalog in a file of this host, read as a download is."""

from __future__ import annotations

import errno
import os
import stat

from vm_pull.net import magic
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalDownload"]

_BLOCK = 128 << 10
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not hold us
_MISSING, _IO, _REFUSED = 66, 74, 77


class LocalDownload:
    """A regular file, with the interface of `vm_pull.net.download.Download`.

    Attributes:
        url: the file's path.
        size: bytes.
        first: its first bytes, not consumed.
    """

    def __init__(self, path: str) -> None:
        """Opens a file.

        Raises:
            VmError: it is not there (66), may not be read (77), or is no regular file (65).
        """
        self.url = path
        try:
            self._fd = os.open(path, _FLAGS)
        except (OSError, ValueError) as error:
            raise _unopened(path, error) from None
        try:
            self.size = _size(self._fd, path)
            self.first = _read(self._fd, magic.NEEDED, path)
        except BaseException:
            os.close(self._fd)
            raise

    def text(self, most_bytes: int, deadline_s: float) -> bytes:
        """The whole of a small file.

        Args:
            most_bytes: how much it may be.
            deadline_s: not needed here: a regular file does not trickle.

        Raises:
            VmError: it is larger (65), or cannot be read (74).
        """
        del deadline_s
        if self.size > most_bytes:
            problem = f"{self.url} is larger than {most_bytes >> 10} KiB"
            raise VmError(Fault(problem=problem, hint="is it a catalog?"))
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """The file's content, 128 KiB at a time.

        Raises:
            VmError: it cannot be read, or changed while it was read (74).
        """
        seen = len(self.first)
        if self.first:
            yield self.first
        while block := _read(self._fd, _BLOCK, self.url):
            seen += len(block)
            yield block
        if seen != self.size:
            problem = f"{self.url} changed while it was read"
            raise VmError(Fault(problem=problem, hint="run the command again"), status=_IO)

    def close(self) -> None:
        """Closes the file; once more does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _size(fd: int, path: str) -> int:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        is_folder = stat.S_ISDIR(found.st_mode)
        what = "a folder" if is_folder else "not a regular file"
        hint = "name a file in it" if is_folder else "save what comes from it to a file first"
        raise VmError(Fault(problem=f"{path} is {what}", hint=hint))
    return found.st_size


def _read(fd: int, count: int, path: str) -> bytes:
    try:
        return os.read(fd, count)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
        raise VmError(Fault(problem=problem), status=_IO) from None


def _unopened(path: str, error: OSError | ValueError) -> VmError:
    if isinstance(error, ValueError):
        return VmError(Fault(problem=f"{path} is no path"))
    problem = f"{path} cannot be opened: {error.strerror or error}"
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    return VmError(Fault(problem=problem), status=_MISSING if missing else _REFUSED)
