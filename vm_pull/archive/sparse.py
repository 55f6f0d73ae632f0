"""A new file with holes where nothing but zeros was written."""

from __future__ import annotations

import errno
import os
import threading

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.archive.cursor import Buffer

__all__ = ["SparseFile"]

_WINDOW = 32 << 20  # bytes that are written before the disk gets them

_BLOCK = 1 << 16  # bytes that become a hole, or are written in one go: larger writes took longer
_ZEROS = bytes(_BLOCK)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SparseFile:
    """A file that is being written, in any order.

    Attributes:
        fd: the open file, for reading too.
        name: its name in its folder.
    """

    def __init__(self, folder: int, name: str, *, most_bytes: int) -> None:
        """Makes the file, for this user alone.

        Args:
            folder: the folder, open.
            name: the file's name; nothing may have it yet, not even a link to nowhere.
            most_bytes: how long the file may become.

        Raises:
            VmError: it cannot be made (74).
        """
        self.name = name
        self._most_bytes = most_bytes
        self._holes_from = 0  # nothing was written from here on
        self._end = 0  # of all that was given, zeros too
        self._sent = self._unsent = 0  # where the disk's share ends, bytes written since
        self._lock = threading.Lock()  # several threads may write, each to places of its own
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.fd = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            problem = f"{name} cannot be made: {error.strerror or error}"
            hint = "look at the folder, and at what has that name there"
            raise VmError(Fault(problem=problem, hint=hint), status=74) from None

    def write_at(self, offset: int, data: Buffer) -> None:
        """Writes all of the data, or makes a hole of its blocks of zeros.

        Args:
            offset: bytes from the file's beginning.
            data: any amount.

        Raises:
            VmError: the file would be longer than allowed (77), there is no space left (69), or
                it cannot be written (74).
        """
        view = memoryview(data)
        end = offset + len(view)
        if end > self._most_bytes:
            problem = f"{self.name} becomes longer than the {self._most_bytes} bytes allowed"
            raise VmError(Fault(problem=problem, hint="the box holds more than it says"), status=77)
        for begin in range(0, len(view), _BLOCK):
            block = view[begin : begin + _BLOCK]
            if offset + begin < self._holes_from or not _is_zero(block):
                self._write(offset + begin, block)
        with self._lock:
            self._end = max(self._end, end)

    def _write(self, offset: int, view: memoryview) -> None:
        while view:
            try:
                count = os.pwrite(self.fd, view, offset)
            except OSError as error:
                raise self._trouble(error, len(view)) from None
            offset += count
            view = view[count:]
            with self._lock:
                self._holes_from = max(self._holes_from, offset)
                self._unsent += count
            if self._unsent >= _WINDOW:
                self._send()

    def _send(self) -> None:
        """Has the kernel begin to write what it holds, so that little is left to wait for."""
        with self._lock:
            begin, self._sent = self._sent, self._holes_from
            self._unsent = 0
        if self._sent > begin and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fd, begin, self._sent - begin, os.POSIX_FADV_DONTNEED)

    def _trouble(self, error: OSError, needed: int) -> VmError:
        if error.errno not in _NO_SPACE:
            problem = f"{self.name} cannot be written: {error.strerror or error}"
            hint = "look at the file system's limits, and at ulimit -f"
            return VmError(Fault(problem=problem, hint=hint), status=74)
        room = os.fstatvfs(self.fd)
        problem = (
            f"there is no space left for {self.name}: {self._end} bytes are done, "
            f"{needed} more are needed now, {room.f_bavail * room.f_frsize} are free"
        )
        return VmError(Fault(problem=problem, hint="make room there: df -h ."), status=69)

    def finish(self, size: int) -> None:
        """Makes the file exactly this long, and waits until it is on the disk.

        Args:
            size: bytes; at least the end of everything that was written.

        Raises:
            VmError: something was written beyond that (70), or the disk does not take it (69, 74).
        """
        if not self._end <= size <= self._most_bytes:
            problem = f"{self.name} cannot be {size} bytes long: {self._end} were written"
            raise VmError(Fault(problem=problem, hint="tell us: this is a bug"), status=70)
        try:
            os.ftruncate(self.fd, size)
            os.fsync(self.fd)
        except OSError as error:
            raise self._trouble(error, size - self._holes_from) from None

    def close(self) -> None:
        """Closes the file, which stays; once more does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _is_zero(view: memoryview) -> bool:
    """Whether a block of at most 64 KiB holds only zeros; its ends say mostly at once."""
    return not (view and (view[0] or view[-1])) and bytes(view) == _ZEROS[: len(view)]
