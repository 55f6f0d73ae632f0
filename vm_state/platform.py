"""The host's system: which one it is, this boot of it, and where its programs are.

shutil.which would cost some 2 ms at a start for importing shutil.
"""

from __future__ import annotations

import os

__all__ = ["boot_id", "is_bsd", "which"]


def is_bsd() -> bool:
    """Whether this is FreeBSD."""
    return os.uname().sysname == "FreeBSD"


def boot_id() -> str:
    """The id of this boot of the host; empty on FreeBSD, which has none that anybody may read."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def which(name: str) -> str | None:
    """The path of an executable: as it is when it has a slash, else the first in PATH."""
    directories = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
    for directory in directories:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None
