"""A description in the making: what another tool's file says, key by key, in our words.

Each value is judged as the decoder would when it is put in. One that the language does not take
becomes a comment; a device that would be another one without it is left out whole.
"""

from __future__ import annotations

import re

from vm_spec.devices import KINDS, Graphic
from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING, is_list, is_table
from vm_spec.limits import MOST_BYTES
from vm_spec.machine import Bhyve, Machine, Qemu, Tpm
from vm_spec.reader import Reader
from vm_spec.storage import format_of
from vm_spec.types import VmName

if TYPE_CHECKING:
    from vm_spec.frozen import Value

__all__ = ["Draft", "decoded", "plain", "with_format"]

Table = dict[str, object]

MOST_NOTES = 100
LONGEST = 200  # characters of a stranger's text in a comment
_SECRET = re.compile(r"(passw(?:or)?d\w* ?=).*", re.ASCII | re.IGNORECASE)
_OTHER = "is it the right file?"
_SHORT = {"disk": "virtio-blk", "cd": "ahci-cd", "net": "virtio-net"}
_TABLES: dict[str, type[Value]] = {
    "": Machine, "qemu": Qemu, "bhyve": Bhyve, "graphic": Graphic, "tpm": Tpm,
}  # fmt: skip
# without these a device is another one: a disk that is written, a card on another network
_NEEDED = {
    "path", "format", "ro", "media", "src", "rom", "model", "bridge", "host_interface", "name",
    "type", "sharename", "interface",
}  # fmt: skip


class Draft:
    """The tables of a description and the comments above them.

    Attributes:
        name: the machine's.
        tables: what will be written, without escapes.
    """

    def __init__(self, name: str, origin: str) -> None:
        self.name = _vm_name(name)
        self.tables: Table = {"name": self.name}
        self._origin = origin
        self._devices: dict[str, list[tuple[str, Table]]] = {}
        self._labels: dict[str, int] = {}
        self._hints: list[str] = []
        self._lost: list[str] = []
        self._idle: list[str] = []

    def hint(self, sentence: str) -> None:
        """A comment on something that is different now."""
        if plain(sentence) not in self._hints[-MOST_NOTES:]:
            self._hints.append(plain(sentence))

    def lost(self, what: str) -> None:
        """A comment: this could not be carried."""
        self._lost.append(plain(what))

    def idle(self, word: str) -> None:
        """A comment: this word of the other tool's means nothing here."""
        if plain(word) not in self._idle[-MOST_NOTES:]:
            self._idle.append(plain(word))

    def put(self, key: str, value: object) -> bool:
        """A key of the machine's, if it is good there."""
        found = self._good(Machine, {key: value}, "")
        self.tables |= found
        return bool(found)

    def within(self, table: str, **keys: object) -> None:
        """Keys of a table of the machine's: qemu, bhyve, graphic or tpm."""
        self._lay(self.tables, table, keys, f"{table} ")

    def at(self, target: str, table: str = "", **keys: object) -> None:
        """Keys of a target, or of a table of its own, as `within` has them."""
        self._lay(self._of(target), table, keys, f"targets.{target} ")

    def _lay(self, base: Table, table: str, keys: Table, where: str) -> None:
        """Lays good keys over a table; a table in it is completed."""
        place = base.setdefault(table, {}) if table else base
        if not is_table(place):
            return
        for key, value in self._good(_TABLES[table], keys, where).items():
            old = place.get(key)
            place[key] = old | value if is_table(old) and is_table(value) else value

    def device(self, kind: str, start: str, fields: Table, target: str = "") -> str:
        """A device.

        Args:
            kind: as vm.toml(5) calls it.
            start: what its label begins with; disk, cd and net are the shortcuts, too.
            fields: its keys.
            target: the target that has it; empty for the base.

        Returns:
            its label; empty when it had to be left out, which a comment says.
        """
        number = self._labels.get(start, 0)
        label = f"{start}{number}"
        good = self._good(KINDS[kind], fields, f"{label} ")
        missing = _NEEDED & (fields.keys() - good.keys())
        if missing:
            self.lost(f"the {kind} {label}, for want of its {', '.join(sorted(missing))}")
            return ""
        self._labels[start] = number + 1
        named = {} if _SHORT.get(start) == kind else {"device": kind}
        self._devices.setdefault(target, []).append((start, named | {"label": label} | good))
        return label

    def text(self) -> str:
        """The description: comments, then TOML that the decoder takes.

        Raises:
            VmError: what was read contradicts itself, or is too much for a description.
        """
        import tomli_w  # only for who writes one

        from vm_spec.decode import loads

        for target, found in self._devices.items():
            self._place(self._of(target), found)
        written = self._comments() + tomli_w.dumps(_escaped_table(self.tables))
        loads(written)
        return written

    def _of(self, target: str) -> Table:
        if not target:
            return self.tables
        targets = self.tables.setdefault("targets", {})
        own: object = None
        if is_table(targets):
            own = targets.setdefault(target, {"next_target": "default"})
        return own if is_table(own) else {}

    def _place(self, table: Table, found: list[tuple[str, Table]]) -> None:
        listed = [item for start, item in found if start not in _SHORT]
        if listed:
            table["emulations"] = listed
        for start in _SHORT:
            named = {
                str(item["label"]): {key: one for key, one in item.items() if key != "label"}
                for short, item in found
                if short == start
            }
            if named:
                table[start] = named

    def _good(self, cls: type[Value], given: Table, where: str) -> Table:
        """The keys that the decoder takes; comments on the others."""
        good: Table = {}
        for key, value in given.items():
            reader = Reader()
            reader.fields(cls, {key: value}, ())
            if reader.faults:
                self.lost(f"{where}{key} {_shown(value)}: {reader.faults[0].problem}")
            else:
                good[key] = value
        return good

    def _comments(self) -> str:
        lines = [self._origin, *self._hints[:MOST_NOTES]]
        if self._lost:
            lines += ["", "Could not be carried:", *(f"  {one}" for one in self._lost[:MOST_NOTES])]
        more = len(self._lost) - MOST_NOTES
        lines += [f"  and {more} more"] if more > 0 else []
        if self._idle:
            lines += ["", "Without a meaning here:", f"  {', '.join(self._idle[:MOST_NOTES])}"]
        return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"


def plain(text: str) -> str:
    """A stranger's text on one line, without a password and what a terminal would obey."""
    line = " ".join(text.split())[: LONGEST + 1]
    shown = printable(_SECRET.sub(r"\1...", line))
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def decoded(text: bytes | str, what: str) -> str:
    """A file's text.

    Raises:
        VmError: it is not UTF-8, has a NUL in it, or is longer than a description may be.
    """
    try:
        read = text if isinstance(text, str) else text.decode()
        size = len(read.encode())
    except UnicodeError:
        raise VmError(Fault(problem=f"the {what} is not text in UTF-8", hint=_OTHER)) from None
    if "\0" in read or size > MOST_BYTES:
        fault = "has a NUL in it" if "\0" in read else f"is longer than {MOST_BYTES >> 10} KiB"
        raise VmError(Fault(problem=f"the {what} {fault}", hint=_OTHER))
    return read


def with_format(path: str, form: str) -> Table:
    """A disk's path, and its format where the path's ending does not say it."""
    return {"path": path} if format_of(path) == form else {"path": path, "format": form}


def _vm_name(text: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:64].lstrip("-._")
    return str(VmName(kept or "vm"))


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _escaped_table(table: Table) -> Table:
    return {key: _escaped(item) for key, item in table.items()}


def _escaped(value: object) -> object:
    """The value with its percent signs meaning themselves."""
    if isinstance(value, str):
        return value.replace("%", "%%")
    if is_table(value):
        return _escaped_table(value)
    return [_escaped(item) for item in value] if is_list(value) else value
