"""Which program runs a machine."""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import platform
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_spec.machine import Machine

__all__ = ["hypervisor", "program"]


def hypervisor(machine: Machine) -> str:
    """Which hypervisor runs a machine: what it says, else bhyve on FreeBSD and QEMU elsewhere."""
    return machine.hypervisor or ("bhyve" if platform.is_bsd() else "qemu")


def program(machine: Machine) -> str:
    """The path of the program that runs a machine: $QEMU_BIN, $BHYVE_BIN, or the usual one.

    Raises:
        VmError: it is not installed (69).
    """
    if hypervisor(machine) == "bhyve":
        variable, default, hint = "BHYVE_BIN", "bhyve", "FreeBSD's base system has it"
    else:
        variable, default = "QEMU_BIN", "/usr/bin/qemu-system-x86_64"
        hint = "Debian: sudo apt install qemu-system-x86"
    name = os.environ.get(variable) or default
    path = which(name)
    if path is None:
        hint = f"install it ({hint}), or set {variable}"
        there = "is no program that you may run" if os.path.exists(name) else "is not there"
        raise VmError(Fault(problem=f"{name} {there}", hint=hint), status=69)
    return path
