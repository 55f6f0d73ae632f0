"""noVNC, the viewer that runs in a browser: where it is installed, and its files."""

from __future__ import annotations

import os
import re

from vm_spec.fault import Fault, VmError

__all__ = ["find", "read"]

_USUAL = ("/usr/share/novnc",)
_MODULE = re.compile(r"(core|vendor)(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\.js")
_MISSING = 69


def find() -> str:
    """The folder of noVNC: $NOVNC_DIR, or where systems install it.

    Raises:
        VmError: it is not installed (69).
    """
    given = os.environ.get("NOVNC_DIR")
    for folder in (given,) if given else _USUAL:
        if os.path.isfile(f"{folder}/core/rfb.js"):
            return folder
    hint = "Debian: sudo apt install --no-install-recommends novnc; or unpack it, and set NOVNC_DIR"
    problem = f"there is no noVNC in {given}" if given else "noVNC is not installed"
    raise VmError(Fault(problem=problem, hint=hint), status=_MISSING)


def read(folder: str, name: str) -> bytes | None:
    """One of noVNC's JavaScript modules; None for whatever else is asked for."""
    if not _MODULE.fullmatch(name) or ".." in name:
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError:
        return None
