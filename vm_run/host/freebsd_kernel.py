"""What FreeBSD's kernel tells of itself, through the programs that ask it. Untested on FreeBSD.

Source: kldstat(8), sysctl(8), pciconf(8).
"""

from __future__ import annotations

import os

from vm_run import program
from vm_run.host.pciconf import cards
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_run.host.pciconf import Card

__all__ = ["is_loaded", "number", "pci"]

_FOLDERS = ("/sbin", "/usr/sbin")  # a PATH of cron's lacks them


def is_loaded(module: str) -> bool:
    """Whether the kernel has a module, loaded or compiled in."""
    try:
        program.run([_program("kldstat"), "-q", "-m", module])
    except VmError:
        return False
    return True


def number(name: str) -> int | None:
    """The number that a sysctl has; None when there is no such sysctl, or it is none."""
    try:
        return int(program.run([_program("sysctl"), "-n", name]))
    except (VmError, ValueError):
        return None


def pci() -> list[Card]:
    """The PCI devices of this host, in order of their addresses.

    Raises:
        VmError: pciconf cannot be run (69).
    """
    return cards(program.run([_program("pciconf"), "-l"]))


def _program(name: str) -> str:
    found = which(name)
    for folder in () if found else _FOLDERS:
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return found or name
