"""What `vm-run --import` is asked for: a file of another tool, or a command line of bhyve."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "imported"]

MOST_BYTES = 1 << 20
"""Of a file that is imported."""


def imported(file: str, argv: list[str]) -> str:
    """The description, as the text of a file, without the last line's end.

    Args:
        file: another tool's file; empty for a command line.
        argv: bhyve's command line, the program's name first.

    Raises:
        VmError: it is of no kind that is known, or wrong for its kind (65); it cannot be read.
    """
    if not file:
        from vm_run.imports import bhyve

        return bhyve.imported(argv).rstrip("\n")
    from vm_pull.net.local import LocalDownload
    from vm_run.imports import kinds

    opened = LocalDownload(file)
    try:
        return kinds.imported(opened.text(MOST_BYTES, 0), file).rstrip("\n")
    finally:
        opened.close()
