"""Rows -> a table for people, JSON for programs."""

from __future__ import annotations

import time

from vm_list.look import PLAIN, Look, coloured, cut, span, width
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING, items
from vm_spec.types import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_list.row import Row

    Line = tuple[str, ...]

__all__ = ["hints", "json", "network", "seen", "table"]

_VERSION = 1
_EVEN_IF_EMPTY = {"uptime", "targets", "network", "consoles"}
_HEADINGS: tuple[str, ...] = (
    "NAME", "STATE", "TARGET", "CPUS", "MEMORY", "PID", "UPTIME", "HOST", "HYPERVISOR",
    "NETWORK", "CONSOLE", "VNC", "FILE",
)  # fmt: skip
_STATE, _HOST = _HEADINGS.index("STATE"), _HEADINGS.index("HOST")
# What a narrow terminal does without, first what is missed least.
_SPARED = (
    "HOST", "HYPERVISOR", "CONSOLE", "VNC", "NETWORK", "TARGET", "CPUS", "MEMORY", "PID", "UPTIME",
)  # fmt: skip
_WIDEST = 64  # of every column but the last; no good name is longer
_ROOM = 24  # cells that the last column should have: a file, or a fault
_SHORTEST = 16  # cells that a name keeps
_GAP = "  "


def table(rows: Sequence[Row], look: Look = PLAIN) -> str:
    """A line for each VM under a line of headings; empty without VMs.

    Args:
        rows: the VMs.
        look: for whom. On a terminal columns that are empty or do not fit are left out.
    """
    if not rows:
        return ""
    now = time.time()
    lines = ((*_cells(row, now), _last(row, look)) for row in rows)
    columns = list(zip(_HEADINGS, *lines, strict=True))
    if not any(row.state == "elsewhere" for row in rows):
        del columns[_HOST]
    widths = [max(map(width, column)) for column in columns]
    if look.width:
        columns, widths = _fitting(columns, widths, look.width)
    return _drawn([row.state for row in rows], columns, widths, look)


def _cells(row: Row, now: float) -> Line:
    """What stands in each column but the last."""
    elsewhere = row.state == "elsewhere"
    cells: Line = (
        row.name,
        f"on {row.host}" if elsewhere else row.state,
        row.target or "-",
        str(row.cpus or "-"),
        str(Size(bytes=row.memory)) if row.memory else "-",
        str(row.pid or "-"),
        seen(row, now) if elsewhere else "-" if row.uptime is None else span(row.uptime),
        row.host or "-",
        row.hypervisor or "-",
        ",".join(map(network, row.network)) if row.network else "-",
        ",".join(port.get("name", "?") for port in row.consoles) if row.consoles else "-",
        row.vnc or "-",
    )
    together = "".join(cells)
    if not together.isprintable() or len(together) > _WIDEST:
        cells = tuple(cut(printable(cell), _WIDEST) for cell in cells)
    return cells


def _last(row: Row, look: Look) -> str:
    """The file, or its fault, which alone may be long; on a terminal without the file's folder."""
    folder = row.file.rpartition("/")[0] + "/"
    fault = row.fault.removeprefix(folder) if look.width else row.fault
    return printable(fault or row.file) or "-"


def seen(row: Row, now: float) -> str:
    """When a VM of another host gave its last sign of life."""
    ago = max(0, int(now) - row.seen)
    return f"seen {span(ago)} ago" if ago > 1 else "seen now"


def network(card: dict[str, str]) -> str:
    """A card in one word: the host's end, and its address."""
    end = card.get("interface") or card.get("host_interface") or card.get("bridge")
    return f"{end or card.get('type') or '?'}/{card.get('mac') or '?'}"


def _fitting(columns: list[Line], widths: list[int], most: int) -> tuple[list[Line], list[int]]:
    """The columns that a line has room for, and long names shortened if that is not enough."""
    empty = [c[0] for c in columns[_STATE + 1 : -1] if all(cell == "-" for cell in c[1:])]
    kept = {column[0]: cells for column, cells in zip(columns, widths, strict=True)}
    for heading in (*empty, *_SPARED):
        if heading in kept and (heading in empty or _missing(kept, most) > 0):
            del kept[heading]
    columns = [column for column in columns if column[0] in kept]
    widths = list(kept.values())
    if _missing(kept, most) > 0:
        widths[0] = max(min(widths[0], _SHORTEST), widths[0] - _missing(kept, most))
        columns[0] = tuple(cut(name, widths[0]) for name in columns[0])
    return columns, widths


def _missing(kept: dict[str, int], most: int) -> int:
    """How many cells a line would need beyond those that it may have."""
    *short, last = kept.values()
    return sum(short) + min(last, _ROOM) + len(_GAP) * len(short) - most


def _drawn(states: list[str], columns: list[Line], widths: list[int], look: Look) -> str:
    """The table's text, each line cut to the terminal's width."""
    lines = [_line(cells, widths) for cells in zip(*columns, strict=True)]
    if not look.width:
        return "".join(f"{line}\n" for line in lines)
    lines = [cut(line, look.width) for line in lines]
    text = coloured(lines[0], "heading", look) + "\n"
    if look.rules:
        text += "\u2500" * min(look.width, max(map(width, lines))) + "\n"
    for state, name, line in zip(states, columns[0][1:], lines[1:], strict=True):
        begin = len(name) + widths[0] - width(name) + len(_GAP)
        end = begin + widths[_STATE]
        text += line[:begin] + coloured(line[begin:end], state, look) + line[end:] + "\n"
    return text


def _line(cells: Line, widths: list[int]) -> str:
    """Cells side by side; the last one ends where it ends."""
    *short, last = cells
    padded = [
        cell.ljust(most - width(cell) + len(cell))
        for cell, most in zip(short, widths, strict=False)
    ]
    return _GAP.join((*padded, last))


def hints(rows: Sequence[Row]) -> list[str]:
    """What somebody should do about VMs that are not well; a broken one's row says it itself."""
    return [
        f"{printable(row.name)}: {printable(row.hint)}"
        for row in rows
        if row.hint and row.state != "broken"
    ]


def json(rows: Sequence[Row]) -> str:
    """The rows as one JSON object.

    `{"version": 1, "vms": [...]}`, a VM being an object with every field of a Row, on a line of
    its own; what is not known is null. A later version of this program may add keys; one that
    takes a key away, or gives one another meaning, has another `version`.
    """
    from json import JSONEncoder

    encode = JSONEncoder().encode  # without indents, which would take ten times as long
    vms = ",\n".join(encode(_known(row)) for row in rows)
    return f'{{"version": {_VERSION}, "vms": [\n{vms}\n]}}\n'


def _known(row: Row) -> dict[str, object]:
    """A row's fields; an empty list and an uptime of 0 are known, an empty text is not."""
    return {
        key: found if found or key in _EVEN_IF_EMPTY else None for key, found in items(row).items()
    }
