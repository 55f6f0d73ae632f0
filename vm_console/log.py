"""What a guest has written and goes on writing, from its console's log.

Any number of readers may follow one log, each as slowly as it likes; the guest waits for none.
"""

from __future__ import annotations

import os
import re

__all__ = ["Tail", "quiet"]

_CHUNK = 1 << 16
_BACK = 1 << 20  # bytes of history in which the last lines are looked for
# What asks a terminal to answer: its status, its attributes, its colours. What a guest asked long
# ago must not be answered now, as if it had been typed. Source: ctlseqs (xterm), DSR, DA, OSC.
_QUESTIONS = re.compile(
    rb"\x1b\[[0-9;?>=]*[cn]|\x1b\[[0-9;?>]*\$p|\x1bZ|\x05"
    rb"|\x1b\][0-9;]*\?(?:\x07|\x1b\\)|\x1bP[+$]q[^\x1b]*\x1b\\"
)


def quiet(text: bytes) -> bytes:
    """Text of a terminal without the questions that the terminal would answer."""
    return _QUESTIONS.sub(b"", text)


class Tail:
    """A log that grows.

    Attributes:
        offset: the next byte to read.
        history: how many bytes there were when it was opened.
    """

    def __init__(self, path: str, lines: int | None = None) -> None:
        """Opens a log.

        Args:
            path: the file.
            lines: how many of its last lines to begin with; None for all that is kept.

        Raises:
            OSError: it cannot be opened.
        """
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        self.history = os.fstat(self.fd).st_size
        self.offset = self._data(0)
        self.is_cut = self.offset > 0
        if lines is not None:
            self.offset = max(self.offset, self._last(lines))
        elif self.is_cut:
            self.offset += os.pread(self.fd, _CHUNK, self.offset).find(b"\n") + 1

    def _data(self, offset: int) -> int:
        """Where there is data at or after an offset: what vm-run gave back is a hole."""
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: no data up to the end
            return offset

    def _last(self, lines: int) -> int:
        """Where the last so many lines begin."""
        if lines == 0:
            return self.history
        start = max(0, self.history - _BACK)
        text = os.pread(self.fd, self.history - start, start)
        at = len(text)
        for _ in range(lines + text.endswith(b"\n")):
            at = text.rfind(b"\n", 0, at)
            if at < 0:
                return start
        return start + at + 1

    def read(self) -> bytes:
        """What comes next; empty at the end, for the moment."""
        self.offset = self._data(self.offset)
        size = _CHUNK
        if self.offset < self.history:  # history and what comes after it are never mixed
            size = min(size, self.history - self.offset)
        chunk = os.pread(self.fd, size, self.offset)
        self.offset += len(chunk)
        return chunk

    def close(self) -> None:
        """Lets the log go."""
        os.close(self.fd)
