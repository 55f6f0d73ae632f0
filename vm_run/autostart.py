"""The VMs that start with the host, and their order."""

from __future__ import annotations

from vm_spec.fault import Fault, VmError
from vm_spec.library import load, names, read
from vm_spec.types import VmName

__all__ = ["find_groups"]

_INDIRECT = (".ucl", ".conf")  # they may include other files


def find_groups(directory: str) -> tuple[list[list[str]], list[Fault]]:
    """The VMs of a directory that start together, a group for each order, the lowest order first.

    Only descriptions with the word autostart in them are decoded. A wrong one hides no other: its
    faults come second.
    """
    groups: dict[int, list[str]] = {}
    faults: list[Fault] = []
    for name, file in names(directory):
        try:
            if _is_name(name) and (file.endswith(_INDIRECT) or "autostart" in read(file)):
                machine = load(file).machine
                if machine.autostart:
                    groups.setdefault(machine.autostart_order, []).append(name)
        except VmError as error:
            faults += error.faults
    return [sorted(groups[order]) for order in sorted(groups)], faults


def _is_name(name: str) -> bool:
    try:
        VmName(name)
    except ValueError:
        return False
    return True
