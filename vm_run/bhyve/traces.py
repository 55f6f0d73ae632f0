"""What bhyve will leave on this host, written down before it starts. Untested on FreeBSD.

The VM stays in the kernel and the sockets of virtio consoles stay in their folders. The next
start, vm-stop, and a vm-run that takes the guest over find here what is to be removed.

Source: bhyve(8), -D and -M; pci_virtio_console.c, which binds sockets and never removes them.
"""

from __future__ import annotations

import json
import os

from vm_run.bhyve import bhyvectl
from vm_run.host.check import is_leftover
from vm_spec.devices import VirtioConsole
from vm_spec.frozen import TYPE_CHECKING, Value, items
from vm_state import statedir

if TYPE_CHECKING:
    from vm_run.claim import Claim
    from vm_spec.machine import Machine

__all__ = ["FILE", "SECRET", "Traces", "clear", "read", "sockets", "write"]

FILE = "bhyve.json"
SECRET = "secret.conf"  # noqa: S105  a file's name
_MOST = 1 << 16  # bytes of a log


class Traces(Value):
    """What one start of bhyve leaves.

    Attributes:
        name: the VM's in the kernel.
        way: handed, monitor or root; see `vm_run.bhyve.vmm.Way`.
        reusable: whether bhyve starts again in the VM that is there: with a bootrom it does.
        sockets: absolute paths of virtio consoles.
        log_from: where in hypervisor.log this start begins, bytes.
        program: what bhyve calls itself in its usage.
        dumps: whether it is told to show its configuration and to start nothing.
    """

    name: str
    way: str
    reusable: bool
    sockets: tuple[str, ...] = ()
    log_from: int = 0
    program: str = "bhyve"
    dumps: bool = False

    def said(self, folder: str) -> list[str]:
        """The last lines that this start has written into the log, at most 64 KiB."""
        try:
            with open(f"{folder}/hypervisor.log", "rb") as log:
                log.seek(max(self.log_from, log.seek(0, os.SEEK_END) - _MOST))
                return log.read(_MOST).decode(errors="replace").splitlines()
        except OSError:
            return []


def sockets(machine: Machine) -> tuple[str, ...]:
    """The sockets of a machine's virtio consoles, absolute."""
    consoles = (d for d in machine.emulations if isinstance(d, VirtioConsole))
    return tuple(os.path.abspath(port.path) for device in consoles for port in device.ports)


def write(folder: str, traces: Traces) -> None:
    """Writes down what a start will leave."""
    statedir.replace_file(f"{folder}/{FILE}", json.dumps(items(traces)) + "\n")


def read(folder: str) -> Traces | None:
    """What the last start has left; None for nothing that is known."""
    try:
        with open(f"{folder}/{FILE}", "rb") as file:
            found = json.loads(file.read(1 << 20))
        return Traces(**found | {"sockets": tuple(found["sockets"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def clear(claim: Claim, *, again: bool = False) -> None:
    """Removes what bhyve has left; a VM that was handed to this user is not his to make again.

    Args:
        claim: the VM's place; what cannot be removed is remembered there.
        again: whether the same machine starts next; then a VM that bhyve can use again stays.
    """
    left = read(claim.directory)
    if left is None:
        return
    for path in left.sockets:
        if is_leftover(path):
            claim.remove(path)
    if left.way == "root" and not (again and left.reusable):
        claim.leftovers += _undestroyed(left.name)


def _undestroyed(name: str) -> list[str]:
    """Destroys a VM, unless by now it is another tool's and runs; what is left of it."""
    vm = f"cannot be removed: the VM {name} in the kernel"
    if pid := bhyvectl.runner(name):
        return [f"{vm}: pid {pid} runs it"]
    return [] if bhyvectl.destroy(name) else [f"{vm}: bhyvectl could not destroy it"]
