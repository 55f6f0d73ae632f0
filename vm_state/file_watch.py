"""Events about a file that changes.

On Linux dnotify, which needs no library (fcntl(2), F_NOTIFY): inotify needs ctypes, a megabyte of
each supervisor. On FreeBSD kqueue, for one file; untested there.
"""

from __future__ import annotations

import fcntl
import os
import signal

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

__all__ = ["FileWatch"]

_LINUX = hasattr(fcntl, "F_NOTIFY")


class FileWatch:
    """A watch on a file; for the main thread.

    Linux sends SIGIO, which also writes to the descriptor of `signal.set_wakeup_fd`.

    Attributes:
        fd: becomes readable on FreeBSD when the file has changed; -1 on Linux.
    """

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        """Starts watching.

        Args:
            path: the file; on Linux every file beside it is watched too.
            changed: called on Linux when something has changed since `arm`.

        Raises:
            OSError: the file, or on Linux its directory, cannot be opened.
        """
        self.fd = -1
        self._changed = changed
        if _LINUX:
            self._watched = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
            self._former = signal.signal(signal.SIGIO, self._on_sigio)
        else:
            import select

            bsd: Any = select
            self._watched = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._queue = bsd.kqueue()
            self.fd = self._queue.fileno()

    def _on_sigio(self, number: int, frame: FrameType | None) -> None:
        self._changed()

    def arm(self) -> None:
        """Asks for the next change, once; read the file after this to miss none."""
        if not _LINUX:
            self._arm_queue()
            return
        try:
            fcntl.fcntl(self._watched, fcntl.F_NOTIFY, fcntl.DN_MODIFY)
        except OSError:  # a kernel without it: only other events wake the caller then
            pass

    def _arm_queue(self) -> None:
        import select

        bsd: Any = select
        flags = bsd.KQ_EV_ADD | bsd.KQ_EV_ONESHOT
        notes = bsd.KQ_NOTE_WRITE | bsd.KQ_NOTE_EXTEND
        event = bsd.kevent(self._watched, bsd.KQ_FILTER_VNODE, flags, notes)
        self._queue.control([event], 0)

    def close(self) -> None:
        """Stops watching; first, as the former action of SIGIO may be to end us."""
        os.close(self._watched)
        if _LINUX:
            signal.signal(signal.SIGIO, self._former or signal.SIG_DFL)
        else:
            self._queue.close()
