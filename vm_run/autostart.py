"""Which VMs start with the host, and in which order."""

from __future__ import annotations

from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.library import load, names, read
from vm_spec.types import VmName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_spec.fault import Fault
    from vm_spec.machine import Description

__all__ = ["Found", "found", "groups"]

_KEY = "autostart"
_INDIRECT = (".ucl", ".conf")  # they may include other files


class Found(Value):
    """What a folder of descriptions says of the host's start.

    Attributes:
        groups: names that start together, a group for each order, the first group first.
        faults: of descriptions that cannot be read and speak of autostart.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    faults: tuple[Fault, ...] = ()


def found(folder: str) -> Found:
    """Which of a folder's descriptions start with the host; a wrong one does not hide the others.

    Only those that have the word autostart in them are read as descriptions.
    """
    orders: list[tuple[str, int]] = []
    faults: list[Fault] = []
    for name, file in _files(folder):
        try:
            if _speaks_of_it(file):
                orders += _order(name, load(file))
        except VmError as error:
            faults += error.faults
    return Found(groups=groups(orders), faults=tuple(faults))


def groups(orders: Iterable[tuple[str, int]]) -> tuple[tuple[str, ...], ...]:
    """Names with their order -> the names of each order, lowest first, each group by name."""
    together: dict[int, list[str]] = {}
    for name, order in sorted(orders):
        together.setdefault(order, []).append(name)
    return tuple(tuple(together[order]) for order in sorted(together))


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """The names that vm-run would run, with their files."""
    for name, file in names(folder):
        try:
            yield VmName(name), file
        except ValueError:
            continue


def _speaks_of_it(file: str) -> bool:
    return file.endswith(_INDIRECT) or _KEY in read(file)


def _order(name: str, description: Description) -> list[tuple[str, int]]:
    machine = description.machine
    return [(name, machine.autostart_order)] if machine.autostart else []
