"""Copies of this checkout's folders, while other tests run its programs."""

from __future__ import annotations

import shutil
from pathlib import Path


def copied(source: Path, target: Path) -> None:
    """A folder without what is compiled in it: such files come and go while we copy."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
