"""What a catalog has, as rows and as lines for `--list`."""

from __future__ import annotations

from vm_pull.catalogs.catalog import newest_first
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_pull.catalogs.catalog import Catalog, Release

__all__ = ["Row", "listing", "table"]

_HEADINGS = ("VERSION", "PROVIDERS", "ARCHITECTURES", "STATUS", "SIZE")
_UNITS = ("", "K", "M", "G", "T")


class Row(Value):
    """One version.

    Attributes:
        version: as its publisher writes it.
        providers: each once, in the catalog's order.
        architectures: each once; "unknown" where the catalog does not tell.
        status: active, revoked, unreleased, or "unordered" for one that is taken only by name.
        size: bytes of its largest box; 0 when unknown.
    """

    version: str
    providers: tuple[str, ...]
    architectures: tuple[str, ...]
    status: str
    size: int


def listing(catalog: Catalog) -> tuple[Row, ...]:
    """A row for each version, the newest first, then those that have no place in the order."""
    placed = [release for _, release in newest_first(catalog.releases)]
    known = {release.version for release in placed}
    odd = [release for release in catalog.releases if release.version not in known]
    return (*(_row(one, "active") for one in placed), *(_row(one, "unordered") for one in odd))


def _row(release: Release, status: str) -> Row:
    return Row(
        version=release.version,
        providers=tuple(dict.fromkeys(one.provider for one in release.offers)),
        architectures=tuple(dict.fromkeys(one.architecture or "unknown" for one in release.offers)),
        status=status if release.is_active else release.status,
        size=max((one.size for one in release.offers), default=0),
    )


def table(rows: Sequence[Row]) -> str:
    """A line for each row under a line of headings, columns aligned; nothing a terminal obeys."""
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    words = (row.version, ",".join(row.providers), ",".join(row.architectures), row.status)
    return (*(printable(word) or "-" for word in words), _size(row.size))


def _size(count: int) -> str:
    """`371M`; a dash when unknown."""
    if not count:
        return "-"
    power = min((count.bit_length() - 1) // 10, len(_UNITS) - 1)
    number = count / 1024**power
    return f"{number:.0f}{_UNITS[power]}" if number >= 100 else f"{number:.3g}{_UNITS[power]}"
