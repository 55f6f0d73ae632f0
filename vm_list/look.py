"""How text is fitted to who reads it: cells of a terminal, colours, spans of time."""

from __future__ import annotations

import os

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["COLOURS", "PLAIN", "Look", "coloured", "cut", "of_stream", "span", "width"]

COLOURS = {
    "running": "32",
    "starting": "36",
    "stopping": "36",
    "orphaned": "33",
    "crashed": "31",
    "broken": "31",
    "elsewhere": "35",
    "stopped": "2",
    "heading": "1",
}  # SGR parameters, ECMA-48, 8.3.117


class Look(Value):
    """What the reader's place can show.

    Attributes:
        width: how many cells a line may take; 0 for any number.
        colour: whether it shows colours.
        rules: whether it is a terminal that draws lines; else text stays plain.
    """

    width: int = 0
    colour: bool = False
    rules: bool = False


PLAIN = Look()


def of_stream(stream: TextIO) -> Look:
    """What a stream can show: plain text, unless it is a terminal.

    Source: no-color.org, for NO_COLOR.
    """
    try:
        if not stream.isatty():
            return PLAIN
        size = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return PLAIN
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    try:
        "\u2500".encode(stream.encoding)
    except UnicodeEncodeError:
        drawn = False
    else:
        drawn = not dumb
    return Look(width=size, colour=not dumb and not os.environ.get("NO_COLOR"), rules=drawn)


def coloured(text: str, kind: str, look: Look) -> str:
    """A text in the colour of a state or of headings, where there are colours."""
    return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if look.colour and text else text


def width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    from unicodedata import combining, east_asian_width

    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, most: int) -> str:
    """A text that takes at most so many cells; what was cut away ends in dots."""
    if len(text) <= most and width(text) <= most:
        return text
    dots = "..."[:most]
    left = most - len(dots)
    kept = ""
    for character in text:
        left -= _character_width(character)
        if left < 0:
            break
        kept += character
    return kept + dots


def span(seconds: int) -> str:
    """A time in its two largest units: 42s, 5m, 3h12m, 8d4h."""
    if seconds < 60:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours == 0:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60}m" if days == 0 else f"{days}d{hours % 24}h"
