"""Rows -> text for people, JSON for programs."""

from __future__ import annotations

from vm_spec.fault import printable
from vm_spec.value import TYPE_CHECKING, items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_list.survey import Row

__all__ = ["hints", "json", "table"]

_VERSION = 1
_HEADINGS: tuple[str, ...] = ("NAME", "STATE", "TARGET", "PID", "HOST", "FILE")
_HOST = _HEADINGS.index("HOST")
_WIDEST = 64  # of every column but the last; no good name is longer
_GAP = "  "


def table(rows: Sequence[Row], width: int = 0) -> str:
    """A line for each VM under a line of headings; empty without VMs.

    Args:
        rows: the VMs.
        width: how many cells a line may take; 0 for any number.
    """
    if not rows:
        return ""
    lines = [_HEADINGS, *map(_cells, rows)]
    if not any(row.state == "elsewhere" for row in rows):
        lines = [(*line[:_HOST], *line[_HOST + 1 :]) for line in lines]
    return _aligned(lines, width)


def _cells(row: Row) -> tuple[str, ...]:
    """What stands in each column; the last one, alone, may be long."""
    state = f"on {row.host}" if row.state == "elsewhere" else row.state
    short = (row.name, state, row.target, str(row.pid or ""), row.host)
    return (*(_cut(printable(cell), _WIDEST) or "-" for cell in short), _last(row))


def _last(row: Row) -> str:
    return printable(row.fault or row.file) or "-"


def _aligned(lines: Sequence[tuple[str, ...]], width: int) -> str:
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)][:-1]
    text = ""
    for *short, last in lines:
        padded = (
            cell + " " * (most - _width(cell)) for cell, most in zip(short, widths, strict=True)
        )
        line = _GAP.join((*padded, last))
        text += (_cut(line, width) if width else line) + "\n"
    return text


def _width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    from unicodedata import combining, east_asian_width

    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    """A text that takes at most so many cells; what was cut away ends in dots."""
    if _width(text) <= width:
        return text
    dots = "..."[:width]
    left = width - len(dots)
    kept = ""
    for character in text:
        left -= _character_width(character)
        if left < 0:
            break
        kept += character
    return kept + dots


def hints(rows: Sequence[Row]) -> list[str]:
    """What somebody should do about VMs that are not well; a broken one's row says it itself."""
    return [
        f"{printable(row.name)}: {printable(row.hint)}"
        for row in rows
        if row.hint and row.state != "broken"
    ]


def json(rows: Sequence[Row]) -> str:
    """The rows as one JSON object.

    `{"version": 1, "vms": [...]}`, a VM being an object with every field of a Row; what is not
    known is null. A later version of this program may add keys; one that takes a key away, or
    gives one another meaning, has another `version`.
    """
    from json import dumps

    vms = [{key: found or None for key, found in items(row).items()} for row in rows]
    return dumps({"version": _VERSION, "vms": vms}, indent=1) + "\n"
