"""What is wrong with a description, said once and said whole."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Fault", "Path", "VmError", "report", "shown_path"]

Path = tuple[str | int, ...]


class Fault(Value):
    """One thing that is wrong, where it stands, and what to do about it.

    Attributes:
        problem: a sentence without a full stop: `is not a whole number`.
        hint: the next step, as a sentence or a command to type; empty if none is known.
        path: the key's path in the description, `("emulations", 0, "path")`; empty for the whole.
        device: what the fault is grouped by: `virtio-blk disk0`; empty for the machine itself.
        file: the description's file as the user named it; empty when there is none.
        line: the line in that file, from 1; 0 when unknown.
    """

    problem: str
    hint: str = ""
    path: Path = ()
    device: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """`web.toml:7: emulations[0].path: is missing`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, shown_path(self.path), self.problem) if part)


class VmError(Exception):
    """The only exception raised for what a user did or a host lacks.

    Attributes:
        faults: every fault found, at least one.
        status: the exit status of a command that ends with it (sysexits(3)): 65 for a wrong
            description, 66 no such VM, 69 the host lacks something, 75 busy, 77 refused.
    """

    def __init__(self, *faults: Fault, status: int = 65) -> None:
        super().__init__(*faults)
        self.faults = faults
        self.status = status

    def __str__(self) -> str:
        """The report, as a person reads it."""
        return report(self.faults)


def shown_path(path: Path) -> str:
    """A key's path as one writes it: `targets.install.emulations[0].path`."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            shown += ("." if shown else "") + printable(step)
    return shown


def printable(text: str) -> str:
    """Text that may be shown on a terminal: control and format characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def report(faults: Iterable[Fault]) -> str:
    """Faults grouped by device, the machine's own first, each with its next step."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.device, []).append(fault)
    ordered = sorted(groups, key=lambda device: device != "")
    return "\n".join(line for device in ordered for line in _group(device, groups[device]))


def _group(device: str, faults: list[Fault]) -> Iterable[str]:
    indent = ""
    if device:
        yield f"{printable(device)}:"
        indent = "  "
    for fault in faults:
        yield indent + printable(str(fault))
        if fault.hint:
            yield f"{indent}  hint: {printable(fault.hint)}"
