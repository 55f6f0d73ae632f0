"""A placed machine -> a hypervisor that runs it.

Everything is opened and bound before the hypervisor exists and handed to it as descriptors, so
that there is nothing to wait for.
"""

from __future__ import annotations

import os

from vm_run.program import hypervisor
from vm_run.starting import Descriptors
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import lock

if TYPE_CHECKING:
    from vm_run.options import Options
    from vm_run.pci_slots import Placed
    from vm_run.room import Room
    from vm_run.starting import Started
    from vm_spec.machine import Machine

__all__ = ["launch"]

_CANNOT_WRITE = 74
_LOCK_FD = 5  # where a hypervisor has the lock beside the description


def launch(placed: Placed, room: Room, options: Options) -> Started:
    """Starts the hypervisor of a placed machine.

    Raises:
        VmError: the hypervisor is not installed or cannot be started (69), or cannot do what the
            machine asks for (65), or what cloud-init reads cannot be made (69, 74), or its TPM
            cannot be started (65, 69, 74, 75), or the state folder cannot be written to (74).
    """
    descriptors = Descriptors()
    try:
        _streams(placed.machine, room, options, descriptors)
        note = _seed(placed.machine, room)
        _tpm(placed.machine, room, descriptors)
        started = _hypervisor(placed, room, options, descriptors)
        started.note = "; ".join(filter(None, (started.note, note)))
        return started
    except OSError as error:  # a disk that is full, in most cases
        problem = f"{error.filename or room.folder}: {error.strerror or error}"
        raise VmError(Fault(problem=problem), status=_CANNOT_WRITE) from None
    finally:
        descriptors.close()


def _hypervisor(placed: Placed, room: Room, options: Options, descriptors: Descriptors) -> Started:
    if hypervisor(placed.machine) == "bhyve":
        from vm_run.bhyve import start as start_bhyve

        return start_bhyve.started(placed, room, options, descriptors)
    from vm_run.qemu import start as start_qemu

    return start_qemu.started(placed, room, options, descriptors)


def _seed(machine: Machine, room: Room) -> str:
    """The disk that cloud-init reads is made anew; what to say of it."""
    if machine.cloud_init is None:
        return ""
    from vm_run.cloud_init import make

    return make(machine, room.folder)


def _tpm(machine: Machine, room: Room, descriptors: Descriptors) -> None:
    """The program that is the guest's TPM is started; it ends when the hypervisor does."""
    if machine.tpm is None or machine.tpm.type != "swtpm":
        return
    from vm_run import swtpm

    swtpm.start(machine, room.folder, descriptors)


def _streams(machine: Machine, room: Room, options: Options, descriptors: Descriptors) -> None:
    """Standard streams: the terminal for a console on it, else nothing; faults into the log."""
    attached = not options.detached and _wants_terminal(machine)
    if attached and not options.terminal:
        descriptors.give(0, 0)
    else:
        descriptors.open(options.terminal if attached else os.devnull, os.O_RDWR, 0)
    if options.detached:
        descriptors.open(os.devnull, os.O_WRONLY, 1)
    else:
        descriptors.give(1, 1)
    log = f"{room.folder}/hypervisor.log"
    descriptors.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2)
    if room.lock and lock.INHERITED:  # where it is ours alone, closing the copy would end it
        descriptors.give(room.lock.fd, _LOCK_FD)


def _wants_terminal(machine: Machine) -> bool:
    return any(com == "stdio" for _, com in machine.coms) or bool(
        machine.qemu.serial or machine.qemu.args
    )
