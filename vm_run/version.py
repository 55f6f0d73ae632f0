"""Which version of vmman this is."""

from __future__ import annotations

__all__ = ["version"]


def version() -> str:
    """The installed version; a word where nothing is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("vmman")
    except PackageNotFoundError:
        return "(not installed)"
