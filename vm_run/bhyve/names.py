"""Every key that bhyve reads, spelled out: what a key that it never reads may be meant to be."""

from __future__ import annotations

import re

__all__ = ["spelled"]

ATOM = re.compile(r"\\(.)|\[(.)[^]]*\]\+?|(.)", re.DOTALL)


def spelled(pattern: str) -> list[str]:
    r"""The texts that a pattern of `imports/bhyve_known.py` matches, each number once.

    It knows as much of regular expressions as stands there: `a|b`, `(a|b)`, `\.`, `[0-9]+`.
    """
    return [text for one in _alternatives(pattern) for text in _sequence(one)]


def _alternatives(pattern: str) -> list[str]:
    """The parts between the bars that are in no bracket."""
    found, depth = [""], 0
    for sign in pattern:
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and not depth:
            found.append("")
        else:
            found[-1] += sign
    return found


def _sequence(pattern: str) -> list[str]:
    if not pattern:
        return [""]
    if pattern.startswith("("):
        end = _closing(pattern)
        heads, rest = spelled(pattern[1:end]), pattern[end + 1 :]
    else:
        atom = ATOM.match(pattern)
        assert atom  # noqa: S101  for the type checker: the last alternative takes any sign
        heads, rest = [next(filter(None, atom.groups()))], pattern[atom.end() :]
    tails = _sequence(rest)
    return [head + tail for head in heads for tail in tails]


def _closing(pattern: str) -> int:
    """Where the bracket at the beginning ends."""
    depth = 0
    for place, sign in enumerate(pattern):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return place
    return len(pattern)
