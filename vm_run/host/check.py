"""Getting ready: what a machine needs is there, or is made, or is said with the next step."""

from __future__ import annotations

import os

from vm_run.host import linux
from vm_run.host.requirements import (
    File,
    Folder,
    FreeSocket,
    Interface,
    OfFreeBsd,
    Pci,
    Port,
    needs,
)
from vm_run.program import hypervisor
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vm_run.host.requirements import Need
    from vm_spec.fault import Fault
    from vm_spec.machine import Machine

__all__ = ["UNAVAILABLE", "lacks", "require"]

UNAVAILABLE = 69
_ANYWHERE = (File, Folder, FreeSocket, Port)


def lacks(machine: Machine, vm: str) -> list[Fault]:
    """Everything that this host lacks for a machine."""
    return [fault for need in _wanted(machine, False) if (fault := linux.lack(need, vm))]


def _wanted(machine: Machine, detached: bool) -> list[Need]:
    if hypervisor(machine) != "bhyve":
        return needs(machine)
    if platform.is_bsd():
        from vm_run.host.bhyve_requirements import needs_of

        return needs_of(machine, detached)
    return [need for need in needs(machine) if isinstance(need, _ANYWHERE) and _is_plain(need)]


def _is_plain(need: Need) -> bool:
    """Whether it is more than a node of another system, where a bhyve can only be a stand-in."""
    return not (isinstance(need, File) and need.path.startswith("/dev/"))


def require(
    machine: Machine, vm: str, fix: bool, note: Callable[[str], None], detached: bool = False
) -> None:
    """Makes sure that a machine can start here.

    Args:
        machine: what is to start.
        vm: what the user calls it.
        fix: whether every known repair is applied, and not only those the description asks for.
        note: is told of each repair.
        detached: whether the machine has no terminal.

    Raises:
        VmError: with everything that is lacking and has no repair (69).
    """
    wanted = _wanted(machine, detached)
    missing = [need for need in wanted if linux.lack(need, vm)]
    if not missing:
        return
    _repair([need for need in missing if fix or need.fix], vm, note)
    faults = [fault for need in missing if (fault := linux.lack(need, vm))]
    if faults:
        raise VmError(*faults, status=UNAVAILABLE)


def _repair(missing: Iterable[Need], vm: str, note: Callable[[str], None]) -> None:
    by_root = False
    for need in missing:
        if isinstance(need, FreeSocket):
            _remove_leftover(need.path, note)
        by_root = by_root or _is_vm_inits(need)
    if by_root:
        from vm_run import program

        note(f"sudo vm-init {vm}")
        program.run(["sudo", "vm-init", vm], terminal=True)


def _is_vm_inits(need: Need) -> bool:
    """Whether vm-init makes what is missing."""
    match need:
        case Interface() | Pci():
            return True
        case File():
            return need.given and linux.is_node(need.path)
        case OfFreeBsd():
            from vm_run.host import freebsd as host_bsd

            return host_bsd.by_vm_init(need)
        case _:
            return False


def _remove_leftover(path: str, note: Callable[[str], None]) -> None:
    import shlex

    from vm_run.host import endpoints

    if not endpoints.is_leftover(path):
        return

    note(f"rm {shlex.quote(path)}")
    try:
        os.unlink(path)
    except OSError:
        pass  # it is still lacking, and told as that
