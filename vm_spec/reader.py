"""A description being read: the faults found so far, and raw values becoming fields."""

from __future__ import annotations

import re

from vm_spec import devices, machine, types
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table
from vm_spec.limits import TEXT_LIMITS, WHOLE_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from vm_spec.fault import Path

    V = TypeVar("V", bound=Value)

__all__ = ["Raw", "Reader", "nearest"]

Raw = dict[str, object]

WORDS: dict[str, type[types.Word]] = {
    cls.__name__: cls
    for module in (types, devices, machine)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, types.Word)
}
RECORDS: dict[str, type[Value]] = {
    "Cpu": types.Cpu,
    "Lookup": devices.Lookup,
    "Qemu": machine.Qemu,
    "Bhyve": machine.Bhyve,
    "CloudInit": machine.CloudInit,
    "Tpm": machine.Tpm,
}


class Reader:
    """Turns raw tables into values; notes each fault and goes on.

    Attributes:
        folder: where relative paths start; empty for the current folder.
        home: what `~` at the beginning of a path stands for.
        faults: what was found wrong so far.
        device: what faults are grouped by at the moment.
        places: where each device stands, by its target's name (empty: the base's) and its label.
    """

    def __init__(self, folder: str = "", home: str = "") -> None:
        self.folder = folder
        self.home = home
        self.faults: list[Fault] = []
        self.device = ""
        self.places: dict[tuple[str, str], Path] = {}

    def note(self, path: Path, problem: str, hint: str = "") -> None:
        """Keeps a fault of the device that is being read."""
        self.faults.append(Fault(path=path, problem=problem, hint=hint, device=self.device))

    def record(self, cls: type[V], raw: object, path: Path, **known: object) -> V | None:
        """A value of a class, read from a table; None, with faults noted, if it cannot be one.

        Args:
            cls: the class.
            raw: the table.
            path: where the table stands.
            known: fields that are known already and may not stand in the table.
        """
        if not is_table(raw):
            self.note(path, "must be a table of keys and values")
            return None
        before = len(self.faults)
        given = self.fields(cls, raw, path, known)
        told = {fault.path for fault in self.faults[before:]}
        there = {*cls.defaults, *given, *known}
        for field in cls.fields:
            if field not in there and (*path, field) not in told:
                self.note((*path, field), "is missing")
        return cls(**(given | known)) if len(self.faults) == before else None

    def fields(
        self, cls: type[Value], raw: Raw, path: Path, skip: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The fields that a table gives, read; faults are noted, also for unknown keys."""
        given: dict[str, Any] = {}
        spelled: dict[str, str] = {}
        for key, item in raw.items():
            field = key.replace("-", "_")
            if field in skip or field not in cls.fields:
                self.unknown((*path, key), cls.fields.keys() - set(skip))
            elif spelled.setdefault(field, key) != key:
                self.note((*path, key), f"is given twice, as {spelled[field]} too")
            else:
                read = self.field(cls, field, item, (*path, key))
                if read is not FAULTY:
                    given[field] = read
        return given

    def field(self, cls: type[Value], field: str, raw: object, path: Path) -> object:
        """One field's value, or FAULTY."""
        before = len(self.faults)
        try:
            read = self._typed(cls.fields[field].removesuffix(" | None"), raw, path)
            _within_limits(cls, field, read)
        except ValueError as error:
            self.note(path, str(error))
        return read if len(self.faults) == before else FAULTY  # type: ignore[possibly-undefined]

    def unknown(self, path: Path, known: Iterable[str]) -> None:
        """Notes a key that does not exist, with the nearest one that does."""
        close = nearest(str(path[-1]), known) if len(self.faults) < MOST_HINTS else ""
        self.note(path, "is not a known key", f"did you mean {close}?" if close else "")

    def unknown_variable(self, path: Path, name: str, known: Iterable[str]) -> None:
        """Notes a variable that does not exist, with the nearest one that does."""
        close = nearest(name, known)
        hint = f"did you mean %({close})?" if close else "variables are set in [vars]"
        self.note(path, f"uses an unknown variable: %({name})", hint)

    def path(self, raw: object) -> types.FilePath:
        """A path of the host; a relative one starts at the description's folder.

        Raises:
            ValueError: it is no text, empty, or has a NUL in it.
        """
        text = types.FilePath(raw)
        if text.startswith("~/") and self.home:
            return types.FilePath(self.home + text[1:])
        if text.startswith("/"):
            return text
        return types.FilePath(f"{self.folder or '.'}/{text.removeprefix('./')}")

    def _typed(self, kind: str, raw: object, path: Path) -> object:
        if kind in RECORDS:
            return self._record(kind, raw, path)
        if kind in PATHS:
            return raw if kind == "FirmwarePath" and raw == "uefi" else self.path(raw)
        if kind in ALONE:
            return ALONE[kind](raw)
        if kind == "tuple[ConsolePort, ...]":
            return self._ports(raw)
        element = kind.removeprefix("tuple[").removesuffix(", ...]")
        return tuple(
            self._typed(element, item, (*path, index)) for index, item in enumerate(_list(raw))
        )

    def _record(self, kind: str, raw: object, path: Path) -> object:
        if kind == "Cpu" and isinstance(raw, int) and not isinstance(raw, bool):
            raw = {"cores": raw}
        if kind in ("CloudInit", "Tpm") and raw is False:
            return None  # as `graphic = false`: a target takes it away
        return self.record(RECORDS[kind], raw, path)

    def _ports(self, raw: object) -> tuple[devices.ConsolePort, ...]:
        """Paths named port1, port2, ... in order, or a table of name = path."""
        if is_list(raw):
            raw = {f"port{n}": item for n, item in enumerate(raw, 1)}
        if not is_table(raw) or not 0 < len(raw) <= 16:
            msg = "must be a list of 1 to 16 socket paths, or a table of name = path"
            raise ValueError(msg)
        return tuple(
            devices.ConsolePort(name=types.Label(name), path=self.path(item))
            for name, item in raw.items()
        )


FAULTY = object()
MOST_HINTS = 50  # each costs half a millisecond, and a hostile text has thousands of faults
LARGEST = 1.7976931348623157e308  # of finite numbers (IEEE 754)
_ODD = re.compile("[\0\ud800-\udfff]")  # what no argument of a program can have
PATHS = {"FilePath", "FirmwarePath"}


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is closest to one, or an empty text."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, sorted(known), 1, 0.5)), "")


def _text(raw: object) -> str:
    if isinstance(raw, str) and not _ODD.search(raw):
        return raw
    msg = "must be a text"
    raise ValueError(msg)


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    msg = "must be true or false"
    raise ValueError(msg)


def _whole(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and -(2**63) <= raw < 2**64:
        return raw
    msg = "must be a whole number"
    raise ValueError(msg)


def _list(raw: object) -> list[object]:
    if not is_list(raw):
        msg = "must be a list"
        raise ValueError(msg)
    return raw


def _table(raw: object) -> Raw:
    if not is_table(raw):
        msg = "must be a table of keys and values"
        raise ValueError(msg)
    return raw


def _properties(raw: object) -> devices.Properties:
    """Keys with plain values; a table in a table is a key with a dot."""
    flat: list[tuple[str, devices.Scalar]] = []
    for key, item in _table(raw).items():
        if is_table(item):
            flat += [(f"{key}.{inner}", value) for inner, value in _properties(item)]
        else:
            flat.append((_key(key), _scalar(item, key)))
    if len(dict(flat)) < len(flat):
        msg = "has a key twice, once with a dot"
        raise ValueError(msg)
    return tuple(flat)


def _key(raw: str) -> str:
    if raw.isascii() and raw.isprintable() and not set(raw) & set(" =,") and 0 < len(raw) < 256:
        return raw
    msg = f"{raw[:40]}: must be the name of a property"
    raise ValueError(msg)


def _scalar(raw: object, key: str) -> devices.Scalar:
    if isinstance(raw, float) and -LARGEST <= raw <= LARGEST:
        return raw
    if isinstance(raw, bool) or (isinstance(raw, str) and not _ODD.search(raw)):
        return raw
    try:
        return _whole(raw)
    except ValueError:
        msg = f"{key}: must be a text, a number, true or false"
        raise ValueError(msg) from None


def _blanks(raw: object) -> tuple[str, ...]:
    """A text split at blanks, or a list of texts."""
    if isinstance(raw, str):
        return tuple(_text(raw).split())
    return tuple(_text(item) for item in _list(raw))


def _arguments(raw: object) -> tuple[str, ...]:
    """A text split as a shell does, or a list of texts."""
    if isinstance(raw, str):
        from shlex import split

        return tuple(split(_text(raw)))
    return tuple(_text(item) for item in _list(raw))


ALONE: dict[str, Callable[[object], object]] = {
    **WORDS,
    "Size": types.Size.parse,
    "PciSlot": types.PciSlot.parse,
    "PciId": types.PciId.parse,
    "Forward": types.Forward.parse,
    "str": _text,
    "bool": _flag,
    "int": _whole,
    "Properties": _properties,
    "Blanks": _blanks,
    "Arguments": _arguments,
}


def _within_limits(cls: type[Value], field: str, read: object) -> None:
    if type(read) is int and field in WHOLE_LIMITS:
        low, high = WHOLE_LIMITS[field]
        if not low <= read <= high:
            msg = f"must be {low} to {high}"
            raise ValueError(msg)
    if type(read) is str and len(read.encode(errors="replace")) > TEXT_LIMITS.get(field, 4096):
        msg = f"must be at most {TEXT_LIMITS.get(field, 4096)} bytes"
        raise ValueError(msg)
