"""How RubyGems orders and selects versions, which is how Vagrant does."""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Constraint", "Version", "constraints", "satisfies"]

_LONGEST = 128  # characters; a longer one is nobody's version
_SHAPE = r"[0-9]+(?:\.[0-9A-Za-z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_CONSTRAINT = re.compile(rf"(=|!=|>=|<=|~>|>|<|)\s*({_SHAPE})", re.ASCII)
Segment = int | str


class Version(Value):
    """A version that has a place in the order.

    Attributes:
        text: as it is written.
        segments: its numbers and words; `-` begins a pre-release as `.pre.` does.
        canonical: the segments without zeros that say nothing: what is compared.
    """

    text: str
    segments: tuple[Segment, ...]
    canonical: tuple[Segment, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Reads 1.2.3, 2.0.0.rc1, 2024.01.05-2; an empty text is version 0.

        Raises:
            ValueError: RubyGems would not take it: `v1.0`, `1_0`, `1.0+x`.

        Source: RubyGems, Gem::Version.
        """
        plain = text.strip() or "0"
        if len(plain) > _LONGEST or not re.fullmatch(_SHAPE, plain, re.ASCII):
            msg = "is no version such as 1.2.3"
            raise ValueError(msg)
        words = re.findall(r"[0-9]+|[A-Za-z]+", plain.replace("-", ".pre."))
        segments = tuple(int(word) if word.isdigit() else word for word in words)
        return cls(text=text, segments=segments, canonical=_canonical(segments))

    def __lt__(self, other: Version) -> bool:
        """Whether it is older: numbers by value, words below any number, what is absent is 0."""
        return _compare(self, other) < 0


class Constraint(Value):
    """One condition of a version.

    Attributes:
        operator: one of `= != > < >= <= ~>`.
        version: what is compared with.
    """

    operator: str
    version: Version


def constraints(text: str) -> tuple[Constraint, ...]:
    """Reads `>= 1.0, < 2.0`: all of them must hold; a bare version is `=`.

    Raises:
        ValueError: it is not understood.

    Source: Vagrant, Box Versioning, Version Constraints.
    """
    found = [_CONSTRAINT.fullmatch(part.strip()) for part in text.split(",")]
    read = [Constraint(operator=f[1] or "=", version=Version.parse(f[2])) for f in found if f]
    if len(read) != len(found):
        msg = "must be versions with = != > < >= <= or ~> before them, and commas between"
        raise ValueError(msg)
    return tuple(read)


def satisfies(version: Version, wanted: Iterable[Constraint]) -> bool:
    """Whether a version meets all conditions; pre-releases do like any other."""
    return all(_holds(version, one) for one in wanted)


def _holds(version: Version, wanted: Constraint) -> bool:
    order = _compare(version, wanted.version)
    if wanted.operator == "~>":
        return order >= 0 and _order(_released(version), _bumped(wanted.version)) < 0
    return {
        "=": order == 0,
        "!=": order != 0,
        ">=": order >= 0,
        "<=": order <= 0,
        ">": order > 0,
        "<": order < 0,
    }[wanted.operator]


def _released(version: Version) -> list[Segment]:
    """The segments without the pre-release: everything before the first word."""
    kept = list(version.segments)
    while any(isinstance(segment, str) for segment in kept):
        kept.pop()
    return kept


def _bumped(version: Version) -> list[Segment]:
    """The first version that `~>` shuts out: the last number but one is counted up."""
    kept = [segment for segment in _released(version) if isinstance(segment, int)]
    kept = kept[:-1] if len(kept) > 1 else kept
    return [*kept[:-1], kept[-1] + 1]


def _compare(one: Version, other: Version) -> int:
    return _order(one.canonical, other.canonical)


def _canonical(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Without zeros that say nothing: those before the first word and those at the end."""
    words = [i for i, segment in enumerate(segments) if isinstance(segment, str)]
    first_word = words[0] if words else len(segments)
    return (*_stripped(segments[:first_word]), *_stripped(segments[first_word:]))


def _stripped(segments: Sequence[Segment]) -> list[Segment]:
    kept = list(segments)
    while kept and kept[-1] == 0:
        kept.pop()
    return kept


def _order(one: Sequence[Segment], other: Sequence[Segment]) -> int:
    longest = max(len(one), len(other))
    padded = [[*side, *[0] * (longest - len(side))] for side in (one, other)]
    for left, right in zip(*padded, strict=True):
        if left != right:
            return -1 if _rank(left) < _rank(right) else 1
    return 0


def _rank(segment: Segment) -> tuple[bool, int, str]:
    return (True, segment, "") if isinstance(segment, int) else (False, 0, segment)
