"""The line on which each key of a description stands.

tomli and json tell values without positions, and a fault must name a line. So the text is read
once more, after a fault was found, by a scanner that judges nothing: the text was accepted
before. On anything odd it stops, and the lines found so far are the answer.

One scanner serves both formats, since JSON looks like the value of a TOML key: a stack holds the
tables and arrays that are still open, and each word changes its top. There is no recursion, and
each character is looked at a bounded number of times.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

Path = tuple[str | int, ...]
"""Keys and array indices from the root: `("targets", "install", "emulations", 0, "path")`."""

DEPTH: Final = 32
"""Longest path in a result. Without a bound, paths of `[[[[…` would take quadratic memory."""

# Each turn of a loop can match in one way only, so an unclosed string fails after one look;
# possessive repeats would say so, and are broken in Python 3.11.2. `""` is never followed by a
# third quote in an accepted text, so the short strings leave three quotes to the long ones.
_WORD: Final = re.compile(
    r"""
    (?P<skip> [^\S\n]+ | \#[^\n]* )
    | \n | [][{}=:,.]
    | \"{3} (?: [^"\\] | \\. | "{1,2}(?!") )* "{3,5}
    | '{3} (?: [^'] | '{1,2}(?!') )* '{3,5}
    | "(?!"") (?: [^"\\\n] | \\[^\n] )* "
    | '(?!'') [^'\n]* '
    | [^\s\#"'\[\]{}=:,.]+
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(
    r"\\[xuU]((?<=x)H{2}|(?<=u)H{4}|(?<=U)00(?:0H|10)H{4})|\\(.)".replace("H", "[0-9a-fA-F]")
)
_CONTROLS: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def toml(text: str) -> dict[Path, int]:
    """The line, from 1, of each key, table and array element of a TOML text.

    A table stands where it is first named: `[a.b]` gives `("a",)` and `("a", "b")`. `[[a]]` gives
    `("a",)` and `("a", i)`. Paths longer than `DEPTH` are left out.
    """
    lines: dict[Path, int] = {}
    last: dict[Path, int] = {}
    stack = [_Open(())]
    source = _words(text)
    for word, line in source:
        if word == "[" and not stack[0].in_value:
            header = [word for word, _ in takewhile(lambda pair: pair[0] != "\n", source)]
            stack = [_Open(_header(lines, last, header, line))]
        else:
            _feed(lines, stack, word, line)
    return lines


def json(text: str) -> dict[Path, int]:
    """The line, from 1, of each key and array element of a JSON text, as `toml` gives them."""
    lines: dict[Path, int] = {}
    document = _Open(())
    document.in_value = True
    stack = [document]
    for word, line in _words(text):
        if word != "\n":  # which would end the value
            _feed(lines, stack, word, line)
    return lines


def find(lines: dict[Path, int], path: Path) -> int | None:
    """The line of the longest prefix of `path` that has one."""
    prefixes = (path[:length] for length in range(min(len(path), DEPTH), 0, -1))
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)


class _Open:
    """A table or array that is being read.

    Attributes:
        path: Where it stands.
        index: The present element of an array; None in a table.
        at: The path of the present key or element, as far as it was read.
        in_value: What comes next belongs to the value of `at`.
    """

    __slots__ = ("at", "in_value", "index", "path")

    def __init__(self, path: Path, index: int | None = None) -> None:
        self.path = self.at = path
        self.index = index
        self.in_value = False

    def step(self) -> None:
        """Go on to the next key or element."""
        self.at = self.path
        self.in_value = False
        if self.index is not None:
            self.index += 1


def _feed(lines: dict[Path, int], stack: list[_Open], word: str, line: int) -> None:
    top = stack[-1]
    match word:
        case ",":
            top.step()
        case "\n":
            if len(stack) == 1:
                top.step()
        case "]" | "}":
            del stack[max(1, len(stack) - 1) :]
        case "=" | ":":
            top.in_value = True
        case ".":
            pass  # between keys, or within a number
        case _:
            _begin(lines, stack, word, line)


def _begin(lines: dict[Path, int], stack: list[_Open], word: str, line: int) -> None:
    top = stack[-1]
    if not top.in_value:
        top.at = _note(lines, top.at, _decoded(word) if top.index is None else top.index, line)
        top.in_value = top.index is not None
    if top.in_value and word in {"[", "{"}:
        stack.append(_Open(top.at, 0 if word == "[" else None))


def _header(lines: dict[Path, int], last: dict[Path, int], words: list[str], line: int) -> Path:
    """The path of the table that a header opens, its first bracket already read.

    `last` has the newest index of each array of tables; a header goes on from there.
    """
    path: Path = ()
    for word in words:
        if word not in {"[", "]", "."}:
            parent = _child(path, last[path]) if path in last else path
            path = _note(lines, parent, _decoded(word), line)
    if words[:1] == ["["]:
        last[path] = last.get(path, -1) + 1
        path = _note(lines, path, last[path], line)
    return path


def _note(lines: dict[Path, int], parent: Path, key: str | int, line: int) -> Path:
    path = _child(parent, key)
    lines.setdefault(path, line)
    return path


def _child(path: Path, key: str | int) -> Path:
    return (*path, key) if len(path) < DEPTH else path


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Each word, sign and string, and the line where it begins; a string without end ends it."""
    position, line = 0, 1
    while found := _WORD.match(text, position):
        if found["skip"] is None:
            yield found[0], line
        line += found[0].count("\n")
        position = found.end()


def _decoded(word: str) -> str:
    """The key that a word spells. JSON writes one character as two surrogates; they are joined."""
    if word[0] == "'":
        return word[1:-1]
    if word[0] != '"':
        return word
    key = _ESCAPE.sub(_character, word[1:-1])
    return key.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _CONTROLS.get(escape[2], escape[2])
