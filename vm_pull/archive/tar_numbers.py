"""Numbers as tar archives write them."""

from __future__ import annotations

from vm_pull.archive.refusal import refusal

__all__ = ["decimal", "octal"]

_LARGEST = 1 << 63
_MOST_DIGITS = 18  # below 2**63


def octal(field: bytes) -> int:
    """A number in a header: octal digits, or binary where it is too large for these (GNU).

    Raises:
        VmError: it is something else, negative, or has more than 63 bits.
    """
    if field[:1] == b"\x80":
        value = int.from_bytes(field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):
            raise refusal("a number in a header of the box is none")
        value = int(digits or b"0", 8)
    if value >= _LARGEST:
        raise refusal("a number in a header of the box is impossibly large")
    return value


def decimal(digits: bytes) -> int:
    """A number in an extended header or a map.

    Raises:
        VmError: it is none, negative or impossibly large.
    """
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise refusal("a number in an extended header of the box is none, or impossibly large")
    return int(digits)
