"""Which system this is, and where its programs are.

shutil.which would cost some 2 ms at a start for importing shutil.
"""

from __future__ import annotations

import os

__all__ = ["is_bsd", "which"]


def is_bsd() -> bool:
    """Whether this is FreeBSD."""
    return os.uname().sysname == "FreeBSD"


def which(name: str) -> str | None:
    """The path of an executable: as it is when it has a slash, else the first in PATH."""
    folders = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
    for folder in folders:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None
