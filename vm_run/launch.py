"""A placed machine -> a hypervisor that runs it."""

from __future__ import annotations

import os

from vm_run.claim import Claim
from vm_run.options import Options
from vm_run.pci_slots import Placed
from vm_run.program import Descriptors, Started, hypervisor
from vm_spec.fault import Fault, VmError
from vm_spec.machine import Machine
from vm_state.lock import INHERITED

__all__ = ["launch"]

_LOCK_FD = 5  # where a hypervisor has the lock beside the description


def launch(placed: Placed, claim: Claim, options: Options) -> Started:
    """Starts the hypervisor of a placed machine.

    Raises:
        VmError: the hypervisor is not installed or cannot be started (69), or cannot do what the
            machine asks for (65), or what cloud-init reads cannot be made (69, 74), or its TPM
            cannot be started (65, 69, 74, 75), or the state directory cannot be written to (74).
    """
    machine, descriptors = placed.machine, Descriptors()
    note = ""
    try:
        _open_streams(machine, claim, options, descriptors)
        if machine.cloud_init:
            from vm_run import cloud_init

            note = cloud_init.write_image(machine, claim.directory)
        if machine.tpm and machine.tpm.type == "swtpm":
            from vm_run import swtpm

            swtpm.start(machine, claim.directory, descriptors)
        started = _start(placed, claim, options, descriptors)
        started.note = "; ".join(filter(None, (started.note, note)))
        return started
    except OSError as error:  # a disk that is full, in most cases
        problem = f"{error.filename or claim.directory}: {error.strerror or error}"
        raise VmError(Fault(problem=problem), status=os.EX_IOERR) from None
    finally:
        descriptors.close()


def _start(placed: Placed, claim: Claim, options: Options, descriptors: Descriptors) -> Started:
    if hypervisor(placed.machine) == "bhyve":
        from vm_run.bhyve import start as start_bhyve

        return start_bhyve.started(placed, claim, options, descriptors)
    from vm_run.qemu import start as start_qemu

    return start_qemu.started(placed, claim, options, descriptors)


def _open_streams(
    machine: Machine, claim: Claim, options: Options, descriptors: Descriptors
) -> None:
    """Opens the standard streams: the terminal for a console on it; errors go into the log."""
    attached = not options.detached and _uses_terminal(machine)
    if attached and not options.terminal:
        descriptors.add(0, 0)
    else:
        descriptors.open(options.terminal if attached else os.devnull, os.O_RDWR, 0)
    if options.detached:
        descriptors.open(os.devnull, os.O_WRONLY, 1)
    else:
        descriptors.add(1, 1)
    log = f"{claim.directory}/hypervisor.log"
    descriptors.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2)
    if claim.lock and INHERITED:  # where it is ours alone, closing the copy would end it
        descriptors.add(claim.lock.fd, _LOCK_FD)


def _uses_terminal(machine: Machine) -> bool:
    has_stdio = any(com == "stdio" for _, com in machine.coms)
    return has_stdio or bool(machine.qemu.serial or machine.qemu.args)
