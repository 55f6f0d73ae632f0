"""What of this host a machine is connected to, whichever hypervisor runs it."""

from __future__ import annotations

import os

from vm_run.host import linux
from vm_spec.devices import Passthru
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.pci_slots import Placed
    from vm_spec.machine import Machine

__all__ = ["looked_up", "own_firmware"]

UNAVAILABLE = 69


def own_firmware(machine: Machine) -> str:
    """The host's firmware, if it is asked for; the VM's own variables are made when missing."""
    if machine.bootrom != "uefi":
        return ""
    from vm_run.host import firmware

    code, template = firmware.find()
    if machine.varfile and not os.path.exists(machine.varfile):
        firmware.make_variables(template, machine.varfile)
    return code


def looked_up(placed: Placed) -> dict[str, str]:
    """Label of each device that is looked up -> its address on this host.

    Raises:
        VmError: one of them is not there, or this host's devices cannot be listed (69).
    """
    return {
        device.label: _address(device)
        for device in placed.machine.emulations
        if isinstance(device, Passthru) and device.lookup
    }


def _address(device: Passthru) -> str:
    lookup = (device.lookup.vendor, device.lookup.device) if device.lookup else ("", "")
    found = linux.pci_address(lookup)
    if not found:
        problem = f"there is no PCI device {lookup[0]} {lookup[1]}"
        where = f"{device.kind} {device.label}"
        raise VmError(Fault(problem=problem, device=where), status=UNAVAILABLE)
    return found
