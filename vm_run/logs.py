"""The size of a running VM's logs, which are in memory where /run is.

A guest that never stops writing would fill it. The oldest part of a log that is too big becomes a
hole in the file: no byte moves, so a reader continues where it was, and the hypervisor's open
file stays as it is.
"""

from __future__ import annotations

import os
import time

from vm_state.file_watch import FileWatch

__all__ = ["KEPT", "LOGS", "MOST", "Logs"]

MOST, KEPT = 8 << 20, 4 << 20  # bytes that a log may take, and the rest of one that took more
LOGS = ("console.log", "com2.log", "com3.log", "com4.log", "hypervisor.log")
_AFTER_S = 5.0  # from a change to the check, so that a busy guest does not keep us busy
_PAGE = 1 << 16
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2), linux/falloc.h


class Logs:
    """The logs in a state directory, kept small while a guest runs."""

    def __init__(self, directory: str, most: int = MOST, kept: int = KEPT) -> None:
        self.directory = directory
        self.most = most
        self.kept = kept
        self.check_at: float | None = None
        self._watch = FileWatch(f"{directory}/{LOGS[0]}", self._changed)
        self._watch.arm()

    def _changed(self) -> None:
        if self.check_at is None:
            self.check_at = time.monotonic() + _AFTER_S

    def act(self, now: float) -> None:
        """Cuts what is too big, when a check is due."""
        if self.check_at is None or now < self.check_at:
            return
        self.check_at = None
        self._watch.arm()
        for name in LOGS:
            cut(f"{self.directory}/{name}", self.most, self.kept)

    def close(self) -> None:
        """Stops watching."""
        self._watch.close()


def cut(path: str, most: int, kept: int) -> bool:
    """Cuts the oldest part of a file, if it takes more than `most` bytes; whether it did."""
    try:
        found = os.stat(path, follow_symlinks=False)
        if found.st_blocks * 512 <= most:
            return False
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return _punch(fd, (found.st_size - kept) // _PAGE * _PAGE)
    finally:
        os.close(fd)


def _punch(fd: int, length: int) -> bool:
    if length <= 0:
        return False
    import ctypes

    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is None:  # FreeBSD, where bhyve writes no logs
        return False
    mode = _KEEP_SIZE | _PUNCH_HOLE
    return int(fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(length))) == 0
