"""A table of JSON that others have written."""

from __future__ import annotations

import json

from vm_spec.frozen import TYPE_CHECKING, is_table

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Table", "table"]

_SHOWN = 100  # characters of a key in a fault
Table = dict[str, object]


def table(data: bytes) -> Table:
    """The one table that a text consists of; numbers with a point stay texts: 8.10 is not 8.1.

    A whole number of more than 18 digits, which is no size of anything, comes out as -1.

    Args:
        data: JSON; whoever calls has bounded its length.

    Raises:
        ValueError: it is not JSON, not a table, nested too deeply, holds NaN, or says a key twice.
    """
    try:
        raw: object = json.loads(
            data,
            object_pairs_hook=_once,
            parse_int=_whole,
            parse_float=str,
            parse_constant=_constant,
        )
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None
    if not is_table(raw):
        msg = "it is JSON, but no table"
        raise ValueError(msg)
    return raw


def _once(pairs: list[tuple[str, object]]) -> Table:
    made = dict(pairs)
    if len(made) != len(pairs):
        kept = [*made, None]  # in the order of first mention, so the first that differs is a second
        twice = next(pairs[i][0] for i, name in enumerate(kept) if pairs[i][0] != name)
        msg = f"{twice[:_SHOWN]!r} stands twice in one table"
        raise ValueError(msg)
    return made


def _whole(text: str) -> int:
    return int(text) if len(text) <= 18 else -1


def _constant(text: str) -> NoReturn:
    msg = f"{text} is no number"
    raise ValueError(msg)
