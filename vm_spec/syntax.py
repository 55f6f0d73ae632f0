"""A text -> the tables that a parser gives, with what the command line lays over them."""

from __future__ import annotations

import tomli

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table
from vm_spec.limits import MOST_BYTES

if TYPE_CHECKING:
    from vm_spec.reader import Raw

__all__ = ["Context", "parsed"]


class Context(Value):
    """What a text is read for.

    Attributes:
        file: the description's file as the user named it; faults begin with it.
        folder: where relative paths start; empty for the current folder.
        name: the machine's name when the description gives none.
        user: the account that reads it: `%(user)`.
        uid: of that account; part of generated names of interfaces.
        home: that account's home: `%(home)`.
        confdir: where descriptions are kept: `%(confdir)`.
        syntax: toml or json.
        overrides: (key, value) pairs that are laid over the description (vm-run -o).
    """

    file: str = ""
    folder: str = ""
    name: str = ""
    user: str = ""
    uid: int = 0
    home: str = ""
    confdir: str = ""
    syntax: str = "toml"
    overrides: tuple[tuple[str, str], ...] = ()


def parsed(text: str, context: Context) -> Raw:
    """The tables of a text.

    Raises:
        VmError: it is too long, or not in the syntax it should be in.
    """
    if len(text) > MOST_BYTES:
        problem = f"is longer than {MOST_BYTES // 1024} KiB: not a description"
        raise VmError(Fault(problem=problem, file=context.file))
    try:
        raw = _parse_json(text, context) if context.syntax == "json" else tomli.loads(text)
    except ValueError as error:
        raise VmError(_syntax(error, context)) from None
    if not is_table(raw):
        problem = "must be a table of keys and values"
        raise VmError(Fault(problem=problem, file=context.file, line=1))
    for key, value in context.overrides:
        _override(raw, key, value)
    return raw


def _parse_json(text: str, context: Context) -> object:
    import json

    def unique(pairs: list[tuple[str, object]]) -> Raw:
        table: Raw = {}
        for key, item in pairs:
            if key in table:
                problem = "is given twice in one table"
                raise VmError(Fault(problem=problem, path=(key,), file=context.file))
            table[key] = item
        return table

    return json.loads(text, object_pairs_hook=unique)


def _syntax(error: ValueError, context: Context) -> Fault:
    message = str(getattr(error, "msg", error)).partition(";")[0]
    line = getattr(error, "lineno", 0)
    return Fault(
        problem=f"is not {context.syntax.upper()}: {message}",
        file=context.file,
        line=line if isinstance(line, int) else 0,
    )


def _override(raw: Raw, key: str, value: str) -> None:
    """Lays one KEY=VALUE over the tables: `cpu.cores`, `emulations.0.path`, `disk.root.path`.

    Raises:
        VmError: there is no such place.
    """
    place: object = raw
    *way, last = key.split(".")
    for step in way:
        place = _step(place, step, key)
    if is_list(place):
        place[_index(place, last, key)] = _plain(value)
    elif is_table(place) and last:
        place[last] = _plain(value)
    else:
        raise VmError(Fault(problem=f"-o {key}: there is no such key"), status=64)


def _step(place: object, step: str, key: str) -> object:
    if is_list(place):
        return place[_index(place, step, key)]
    if is_table(place):
        return place.setdefault(step, {})
    raise VmError(Fault(problem=f"-o {key}: there is no such key"), status=64)


def _index(items: list[object], step: str, key: str) -> int:
    if step.isascii() and step.isdigit() and int(step) < len(items):
        return int(step)
    problem = f"-o {key}: there are {len(items)} of them, numbered from 0"
    raise VmError(Fault(problem=problem), status=64)


def _plain(value: str) -> object:
    """A TOML value where the text is one, else the text itself."""
    try:
        return tomli.loads(f"v = {value}")["v"]
    except ValueError:
        return value
