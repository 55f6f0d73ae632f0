"""Variables: `%(name)` in any text of a description; `%%` is a percent sign."""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING, is_list, is_table

if TYPE_CHECKING:
    from vm_spec.fault import Path
    from vm_spec.reader import Reader

__all__ = ["expand"]

_USE = re.compile(r"%(?:%|\(([^)]*)\)|)")
_MOST = 64 * 1024
_TOO_LONG = "grows too long when its variables are replaced"


class Variables:
    """Names and what they stand for; texts of `[vars]` may use other variables.

    Attributes:
        values: raw texts by name, `[vars]` over the built-in ones.
        reader: where faults are noted.
    """

    def __init__(self, values: dict[str, str], reader: Reader) -> None:
        self.values = values
        self.reader = reader
        self.known: dict[str, str] = {}
        self.left = 16 * _MOST  # characters that may still be put in: lest texts double and double

    def text(self, raw: str, path: Path, within: tuple[str, ...] = ()) -> str:
        """A text with its variables replaced; faults are noted and leave it as it is."""
        if "%" not in raw:
            return raw
        shown = _USE.sub(lambda use: self._one(use, path, within), raw)
        if len(shown) <= _MOST and self.left >= 0:
            return shown
        if not any(fault.problem == _TOO_LONG for fault in self.reader.faults):
            self.reader.note(path, _TOO_LONG)
        return raw

    def _one(self, use: re.Match[str], path: Path, within: tuple[str, ...]) -> str:
        name = use[1]
        if use[0] == "%%":
            return "%"
        if name is None:
            self.reader.note(path, "has a lone %", "write %% for a percent sign")
        elif name in within:
            circle = " -> ".join((*within[within.index(name) :], name))
            self.reader.note(path, f"uses a variable that stands for itself: {circle}")
        elif name not in self.values:
            self.reader.unknown_variable(path, name, self.values)
        else:
            return self._known(name, path, within)
        return use[0]

    def _known(self, name: str, path: Path, within: tuple[str, ...]) -> str:
        """What a variable stands for, found out once."""
        if name not in self.known:
            self.known[name] = self.text(self.values[name], path, (*within, name))
        self.left -= len(self.known[name])
        return self.known[name] if self.left >= 0 else ""

    def walk(self, raw: object, path: Path) -> object:
        """A table or list with the variables of all its texts replaced; keys are left alone."""
        if isinstance(raw, str):
            return self.text(raw, path)
        if is_table(raw):
            return {key: self.walk(item, (*path, key)) for key, item in raw.items()}
        if is_list(raw):
            return [self.walk(item, (*path, index)) for index, item in enumerate(raw)]
        return raw


def expand(raw: dict[str, object], built_in: dict[str, str], reader: Reader) -> dict[str, object]:
    """A description's tables with every variable replaced, and without `[vars]`.

    Args:
        raw: the tables as parsed.
        built_in: name, user, home and confdir.
        reader: where faults are noted.
    """
    own = raw.get("vars", {})
    rest = {key: item for key, item in raw.items() if key != "vars"}
    values = dict(built_in)
    if is_table(own):
        for key, item in own.items():
            if isinstance(item, str):
                values[key] = item
            else:
                reader.note(("vars", key), "must be a text")
    else:
        reader.note(("vars",), "must be a table of names and texts")
    walked = Variables(values, reader).walk(rest, ())
    return walked if is_table(walked) else rest
