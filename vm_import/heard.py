"""What another tool's file says, and which of it has been asked for.

A reader takes what it knows; what nobody has taken is still there at the end, to be named.
"""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["OFF", "Keys", "number"]

_SECRET = re.compile("passw|secret", re.IGNORECASE)  # what it says is never shown
OFF = ("", "no", "off", "false", "0")


class Keys:
    """Keys with their values."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._asked: set[str] = set()

    def get(self, key: str, default: str = "") -> str:
        """A key's value; the default where the file has none, or an empty one."""
        self._asked.add(key)
        return self._words.get(key) or default

    def on(self, key: str, default: str = "") -> bool:
        """Whether a key's value is any but no, off, false, 0 and nothing."""
        return self.get(key, default).lower() not in OFF

    def row(self, start: str) -> list[str]:
        """The values of start0, start1, ... up to the first that is not there."""
        found: list[str] = []
        while value := self.get(f"{start}{len(found)}"):
            found.append(value)
        return found

    def numbers(self, start: str, end: str) -> list[int]:
        """The numbers between a start and an end that keys with a value have, in order."""
        shape = re.compile(rf"{start}(0|[1-9][0-9]{{0,2}}){end}", re.ASCII)
        matches = map(shape.fullmatch, self._words)
        return sorted(int(match[1]) for match in matches if match and self._words[match[0]])

    def rest(self) -> Iterator[tuple[str, str]]:
        """What has a value and nobody has asked for."""
        for key, value in self._words.items():
            if value and key not in self._asked:
                yield key, "..." if _SECRET.search(key) else value


def number(text: str) -> int:
    """A whole number; 0 for what is none."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text, re.ASCII) else 0
