"""File descriptors that a `with` closes."""

from __future__ import annotations

import os


class Opened(int):
    """An open descriptor; `with` gives it, and closes it in the end."""

    def __enter__(self) -> int:
        """The descriptor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self)
