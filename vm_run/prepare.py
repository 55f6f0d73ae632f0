"""Getting ready: what a machine needs is there, or is made, or is said with the next step."""

from __future__ import annotations

import os

from vm_run import host
from vm_run.needs import File, FreeSocket, Interface, Pci, needs
from vm_spec.fault import VmError
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vm_run.needs import Need
    from vm_spec.fault import Fault
    from vm_spec.machine import Machine

__all__ = ["UNAVAILABLE", "lacks", "require"]

UNAVAILABLE = 69


def lacks(machine: Machine, vm: str) -> list[Fault]:
    """Everything that this host lacks for a machine."""
    return [fault for need in needs(machine) if (fault := host.lack(need, vm))]


def require(machine: Machine, vm: str, fix: bool, note: Callable[[str], None]) -> None:
    """Makes sure that a machine can start here.

    Args:
        machine: what is to start.
        vm: what the user calls it.
        fix: whether every known repair is applied, and not only those the description asks for.
        note: is told of each repair.

    Raises:
        VmError: with everything that is lacking and has no repair (69).
    """
    wanted = needs(machine)
    missing = [need for need in wanted if host.lack(need, vm)]
    if not missing:
        return
    _repair([need for need in missing if fix or need.fix], vm, note)
    faults = [fault for need in missing if (fault := host.lack(need, vm))]
    if faults:
        raise VmError(*faults, status=UNAVAILABLE)


def _repair(missing: Iterable[Need], vm: str, note: Callable[[str], None]) -> None:
    by_root = False
    for need in missing:
        if isinstance(need, FreeSocket):
            _remove_leftover(need.path, note)
        elif isinstance(need, Interface | Pci) or (
            isinstance(need, File) and host.is_node(need.path)
        ):
            by_root = True
    if by_root:
        from vm_run import command

        note(f"sudo vm-init {vm}")
        command.run(["sudo", "vm-init", vm], terminal=True)


def _remove_leftover(path: str, note: Callable[[str], None]) -> None:
    if not host.is_leftover(path):
        return
    import shlex

    note(f"rm {shlex.quote(path)}")
    try:
        os.unlink(path)
    except OSError:
        pass  # it is still lacking, and told as that
