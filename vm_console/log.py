"""The log of a guest's console: its history, and what the guest adds to it.

Any number of readers can follow one log, each at its own speed; the guest waits for none.
"""

from __future__ import annotations

import os
import re

_CHUNK = 1 << 16
_LOOKBACK = 1 << 20  # bytes of history in which the last lines are searched
# Queries that a terminal answers: status, attributes, colors. An answer to an old one would reach
# the guest as typed input. Source: ctlseqs (xterm), DSR, DA, OSC.
_QUERIES = re.compile(
    rb"\x1b\[[0-9;?>=]*[cn]|\x1b\[[0-9;?>]*\$p|\x1bZ|\x05"
    rb"|\x1b\][0-9;]*\?(?:\x07|\x1b\\)|\x1bP[+$]q[^\x1b]*\x1b\\"
)


def remove_queries(output: bytes) -> bytes:
    """Output for a terminal without the queries that the terminal would answer."""
    return _QUERIES.sub(b"", output)


class Tail:
    """A log that is followed.

    Attributes:
        offset: the next byte to read.
        history: the size of the log when it was opened, in bytes.
        is_cut: whether vm-run has discarded the log's oldest part.
    """

    def __init__(self, path: str, lines: int | None = None) -> None:
        """Opens a log.

        Args:
            path: the file.
            lines: how many of its last lines to begin with; None for all.

        Raises:
            OSError: it cannot be opened.
        """
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        self.history = os.fstat(self.fd).st_size
        self.offset = self._next_data(0)
        self.is_cut = self.offset > 0
        if lines is not None:
            self.offset = max(self.offset, self._last_lines(lines))
        elif self.is_cut:
            self.offset += os.pread(self.fd, _CHUNK, self.offset).find(b"\n") + 1

    def _next_data(self, offset: int) -> int:
        """The offset of the next data; a part that vm-run has discarded is a hole."""
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: no data up to the end
            return offset

    def _last_lines(self, lines: int) -> int:
        """The offset of the last so many lines."""
        if lines == 0:
            return self.history
        start = max(0, self.history - _LOOKBACK)
        content = os.pread(self.fd, self.history - start, start)
        at = len(content)
        for _ in range(lines + content.endswith(b"\n")):
            at = content.rfind(b"\n", 0, at)
            if at < 0:
                return start
        return start + at + 1

    def read(self) -> tuple[bytes, bool]:
        """The next chunk, empty at the present end; and whether it is history."""
        self.offset = self._next_data(self.offset)
        is_history = self.offset < self.history
        size = min(_CHUNK, self.history - self.offset) if is_history else _CHUNK
        chunk = os.pread(self.fd, size, self.offset)
        self.offset += len(chunk)
        return chunk, is_history

    def close(self) -> None:
        """Closes the log."""
        os.close(self.fd)
