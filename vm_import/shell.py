"""Assignments of a shell, read as data: nothing is expanded, nothing is run.

A value is a word of plain characters and of quoted ones without `$` and backquotes, or an array
of such words. Each other line is handed back as it stands; so is what stands in a function, a
condition, a loop, a here-document, and behind a backslash or a quote that is still open.

Source: POSIX.1-2017, Shell Command Language, 2.2 Quoting; bash(1), Arrays.
"""

from __future__ import annotations

import re

from vm_spec.frozen import Value

__all__ = ["Assignments", "read"]

_PIECE = r"""'[^'\n]*'|"(?:[^"\\$`\n]|\\["\\$`])*"|[A-Za-z0-9_./:@%+,=~^-]"""
_END = r"(?:[ \t]*;)?(?:[ \t]+\#[^\n]*|[ \t\r]*)(?:\n|\Z)"  # one way only to take many blanks
_NAME = r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)"
_WORD = re.compile(rf"{_NAME}=((?:{_PIECE})*){_END}")
_ARRAY = re.compile(rf"{_NAME}=\(((?:{_PIECE}|[ \t\r\n]\#[^\n]*(?=\n)|[ \t\r\n])*)\){_END}")
_NOTHING = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_LINE = re.compile(r"[^\n]*(?:\n|\Z)")
_PART = re.compile(r"""'([^'\n]*)'|"((?:[^"\\]|\\.)*)"|([^'"])""")
_ITEM = re.compile(rf"(?:{_PIECE})+|[ \t\r\n]\#[^\n]*")
_OPENS = re.compile(r"\s*(?:if|for|while|until|case|select)\b|.*[{(]\s*$")
_CLOSES = re.compile(r"\s*(?:fi|done|esac|[)}])(?:\s|;|$)")


class Assignments(Value):
    """What a file assigns.

    Attributes:
        words: each name with its last value; of an empty one an empty text.
        arrays: each name with its last array.
        others: the lines that are none of these, in order.
    """

    words: dict[str, str]
    arrays: dict[str, tuple[str, ...]]
    others: tuple[str, ...] = ()


def read(text: str) -> Assignments:
    """The assignments of a text, and the lines that are something else."""
    words: dict[str, str] = {}
    arrays: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    inside = _Inside()
    at = 0
    while at < len(text):
        found = None if inside else _NOTHING.match(text, at) or _WORD.match(text, at)
        array = None if inside or found else _ARRAY.match(text, at)
        if found and found.re is _WORD:
            words[found[1]] = _unquoted(found[2])
        elif array:
            arrays[array[1]] = _items(array[2])
        match = found or array or _LINE.match(text, at)
        if not match:  # never: a line is always there
            break
        if not found and not array:
            inside.line(match[0])
            others += [match[0].strip()] if match[0].strip() else []
        at = match.end()
    return Assignments(words=words, arrays=arrays, others=tuple(others))


class _Inside:
    """Whether a line belongs to something that began before it."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._goes_on = False

    def line(self, line: str) -> None:
        """Takes notice of a line that is no assignment."""
        if "<<" in line:
            self._depth += 1 << 30  # nobody looks for the end of a here-document
        for char in line.replace("\\\\", "").replace('\\"', ""):
            if char in "'\"" and self._quote in ("", char):
                self._quote = "" if self._quote else char
        if _CLOSES.match(line):
            self._depth = max(0, self._depth - 1)
        elif _OPENS.match(line):
            closed = re.search(r"\b(?:fi|done|esac)\s*;?$", line.rstrip())
            self._depth += 0 if closed else 1
        self._goes_on = line.rstrip("\r\n").endswith("\\")

    def __bool__(self) -> bool:
        return bool(self._depth or self._quote or self._goes_on)


def _unquoted(word: str) -> str:
    return "".join(
        part[1] or re.sub(r"\\(.)", r"\1", part[2] or "") or part[3] or ""
        for part in _PART.finditer(word)
    )


def _items(body: str) -> tuple[str, ...]:
    """The words of an array's body; a comment begins behind a blank."""
    found = _ITEM.finditer(f" {body}")
    return tuple(_unquoted(item[0]) for item in found if not item[0][0].isspace())
