"""Frozen values: `@dataclass(frozen=True, slots=True, kw_only=True)` at a tenth of its price.

Importing `dataclasses` and decorating this project's thirty classes costs 20 ms at each start,
more than reading the description; `bench/start.py` shows it. A class made here is read by type
checkers exactly like a dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard, TypeVar, assert_never, dataclass_transform

    V = TypeVar("V", bound="Value")
else:

    def dataclass_transform(**_):
        """Stands in for `typing.dataclass_transform`: importing typing costs 7 ms."""
        return lambda cls: cls

    def assert_never(value: object) -> None:
        """Stands in for `typing.assert_never`."""
        msg = f"not handled: {value!r}"
        raise AssertionError(msg)


__all__ = ["TYPE_CHECKING", "Value", "assert_never", "is_list", "is_table", "items", "replace"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class ValueType(type):
    """Makes slots of a class's annotations and keeps its defaults aside."""

    fields: dict[str, str]
    defaults: dict[str, Any]

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> ValueType:
        """The class, with `fields` (name -> annotation) and `defaults` in order of declaration."""
        own: dict[str, str] = body.get("__annotations__", {})
        defaults = {field: body.pop(field) for field in own if field in body}
        made = super().__new__(cls, name, bases, {"__slots__": tuple(own), **body})
        made.fields = {}
        made.defaults = {}
        for base in reversed(made.__mro__[1:]):
            made.fields |= getattr(base, "fields", {})
            made.defaults |= getattr(base, "defaults", {})
        made.fields |= own
        made.defaults |= defaults
        return made


class Value(metaclass=ValueType):
    """A record that cannot change: equal by its fields, hashable, made by keywords only."""

    if not TYPE_CHECKING:

        def __init__(self, **given):
            cls = type(self)
            values = {**cls.defaults, **given}
            if values.keys() != cls.fields.keys():
                odd = sorted(values.keys() ^ cls.fields.keys())
                msg = f"{cls.__name__}: missing or unknown: {', '.join(odd)}"
                raise TypeError(msg)
            for field, value in values.items():
                object.__setattr__(self, field, value)

        def __setattr__(self, name, value):
            msg = f"{type(self).__name__}.{name} cannot be changed"
            raise AttributeError(msg)

    def __eq__(self, other: object) -> bool:
        """True for a value of the same class with equal fields."""
        return (
            isinstance(other, Value) and type(self) is type(other) and items(self) == items(other)
        )

    def __hash__(self) -> int:
        """Equal values have equal hashes."""
        return hash((type(self), *items(self).values()))

    def __repr__(self) -> str:
        """Looks like the call that makes it."""
        shown = ", ".join(f"{field}={value!r}" for field, value in items(self).items())
        return f"{type(self).__name__}({shown})"


def items(value: Value) -> dict[str, Any]:
    """The fields of a value with their contents, in order of declaration."""
    return {field: getattr(value, field) for field in type(value).fields}


def replace(value: V, **changes: object) -> V:
    """A copy of a value in which some fields are others."""
    given: dict[str, Any] = items(value) | changes
    return type(value)(**given)


def is_table(raw: object) -> TypeGuard[dict[str, object]]:
    """Whether it is a table: every parser here gives texts as keys."""
    return isinstance(raw, dict)


def is_list(raw: object) -> TypeGuard[list[object]]:
    """Whether it is a list of anything."""
    return isinstance(raw, list)
