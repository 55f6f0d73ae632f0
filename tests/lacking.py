"""What a test does where a tool that it needs is missing."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["lacking", "need"]


def lacking(what: str) -> NoReturn:
    """Skips the test at home; where CI is set every tool must be here, and it fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def need(program: str) -> str:
    """The path of a program, root's own included."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return found or lacking(f"{program} is missing")
