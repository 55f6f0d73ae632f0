"""bhyvectl(8): what is asked of a VM in FreeBSD's kernel. Untested on FreeBSD."""

from __future__ import annotations

import os

from vm_run import command
from vm_spec.fault import VmError

__all__ = ["destroy", "force_poweroff"]


def force_poweroff(name: str) -> bool:
    """Takes a VM's power away; whether that could be done."""
    return _ask(name, "--force-poweroff")


def destroy(name: str) -> bool:
    """Removes a VM from the kernel, which keeps it after any end of bhyve; False if none is there.

    Source: bhyve(8), -D and -M: without them /dev/vmm/NAME stays after an end of bhyve.
    """
    return os.path.exists(f"/dev/vmm/{name}") and _ask(name, "--destroy")


def _ask(name: str, what: str) -> bool:
    try:
        command.run(["bhyvectl", f"--vm={name}", what])
    except VmError:
        return False
    return True
