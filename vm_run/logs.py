"""How much the logs of a running VM may take: they lie in memory where /run does.

A guest that writes for ever would fill it. The oldest part of a log that has grown too big is
given back to the file system as a hole: no byte moves, so whoever reads goes on where it was, and
the hypervisor's open file is none the wiser.
"""

from __future__ import annotations

import os
import time

from vm_state.file_watch import FileWatch

__all__ = ["KEPT", "LOGS", "MOST", "Logs"]

MOST, KEPT = 8 << 20, 4 << 20  # bytes that a log may take, and what is left of one that took more
LOGS = ("console.log", "com2.log", "com3.log", "com4.log", "hypervisor.log")
_AFTER_S = 5.0  # from a change to the look at it, so that a busy guest does not keep us busy
_PAGE = 1 << 16
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2), linux/falloc.h


class Logs:
    """The logs in a state folder, kept small while a guest runs."""

    def __init__(self, folder: str, most: int = MOST, kept: int = KEPT) -> None:
        self.folder = folder
        self.most = most
        self.kept = kept
        self.look_at: float | None = None
        self._growth = FileWatch(f"{folder}/{LOGS[0]}", self._changed)
        self._growth.arm()

    def _changed(self) -> None:
        if self.look_at is None:
            self.look_at = time.monotonic() + _AFTER_S

    def act(self, now: float) -> None:
        """Cuts what has grown too big, when it is time to look."""
        if self.look_at is None or now < self.look_at:
            return
        self.look_at = None
        self._growth.arm()
        for name in LOGS:
            cut(f"{self.folder}/{name}", self.most, self.kept)

    def close(self) -> None:
        """Lets the logs go."""
        self._growth.close()


def cut(path: str, most: int, kept: int) -> bool:
    """Gives the oldest part of a file back, if it takes more than `most` bytes; whether it did."""
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
