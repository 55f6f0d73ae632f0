"""What `vm-run --import` is asked for: a file of another tool, or a command line of bhyve."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "imported"]

MOST_BYTES = 1 << 20
"""Of a file that is imported."""


def imported(file: str, argv: list[str]) -> str:
    """The description, as the text of a file, without the last line's end.

    What is a description in TOML already is printed as it is.

    Args:
        file: another tool's file; "-" is standard input; empty for a command line.
        argv: bhyve's command line, the program's name first.

    Raises:
        VmError: it is of no kind that is known, or wrong for its kind (65); it cannot be read.
    """
    if not file:
        from vm_import import bhyve

        return bhyve.imported(argv).rstrip("\n")
    from vm_spec.library import content

    return _translated(content(file, MOST_BYTES), file)


def _translated(text: bytes, file: str) -> str:
    from vm_import import detect
    from vm_spec.fault import VmError
    from vm_spec.frozen import replace

    try:
        if detect.is_native(text, file):
            return text.decode("utf-8-sig").rstrip("\n")
        return detect.imported(text, file).rstrip("\n")
    except VmError as error:
        faults = [replace(fault, file=fault.file or file) for fault in error.faults]
        raise VmError(*faults, status=error.status) from None
