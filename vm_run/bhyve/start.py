"""A placed machine -> a bhyve that runs it. Untested on FreeBSD."""

from __future__ import annotations

import os

from vm_run import bhyve
from vm_run.bhyve import bhyvectl, loader, traces, vmm
from vm_run.bhyve.traces import SECRET, Traces
from vm_run.firmware import own_firmware
from vm_run.host.bhyve_requirements import reboots
from vm_run.host.check import is_leftover, look_up
from vm_run.program import Started, program, start
from vm_run.resources import Resources
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.vmm import Way
    from vm_run.claim import Claim
    from vm_run.options import Options
    from vm_run.pci_slots import Placed
    from vm_run.program import Descriptors
    from vm_spec.machine import Machine

__all__ = ["started"]

UNAVAILABLE = 69
_DUMP = "config.dump"
_FALSE = ("false", "no", "off", "0")


def started(placed: Placed, claim: Claim, options: Options, descriptors: Descriptors) -> Started:
    """Starts bhyve.

    Raises:
        VmError: it, or the loader, is not installed or cannot be started, or this user may not
            run a VM (69), or it cannot do what the machine asks for (65).
    """
    binary = program(placed.machine)
    way = vmm.choose(placed.machine.name, binary)
    if way.kind == "handed":  # its user could not make it again
        placed = replace(placed, machine=replace(placed.machine, power_off_destroy_vm=False))
    machine = placed.machine
    if way.kind == "monitor":
        _refuse(machine, claim, options)
    _refuse_running(machine.name)
    own_firmware(machine)
    resources = Resources(
        state=claim.directory,
        attached=not options.detached,
        pci=look_up(placed),
        monitor=way.kind == "monitor",
    )
    *argv, name = bhyve.argv(placed, resources, binary)
    argv += [*options.extra, name]
    _write_secret(placed, resources, claim)
    before = traces.read(claim.directory)
    traces.write(claim.directory, _traces(machine, way, claim, argv))
    _free(machine, claim)
    _ready(machine, way, force=options.force, ran=before is not None)
    if machine.bhyve.loader in ("bhyveload", "grub-bhyve"):
        wired = "-S" in argv
        attached = resources.attached
        folder = claim.directory
        loading = loader.Loading(placed=placed, folder=folder, wired=wired, attached=attached)
        loader.load(loading, descriptors)
    return Started(start(argv, descriptors), argv, None, way.said)


def _refuse(machine: Machine, claim: Claim, options: Options) -> None:
    """Refuses what needs a supervisor that starts the guest again: the monitor mode does so itself.

    Raises:
        VmError: with everything that cannot work there (69).
    """
    hint = f"have the VM made for you: sudo vm-init {claim.name}"
    faults = [Fault(problem=vmm.alone(what), hint=hint) for what in _impossible(machine, options)]
    if faults:
        raise VmError(*faults, status=UNAVAILABLE)


def _impossible(machine: Machine, options: Options) -> Iterator[str]:
    policy = options.policy
    yield from reboots(machine if policy.on is None else replace(machine, reboot_on=policy.on))
    if not policy.reboot:
        yield "--no-reboot"
    if policy.most is not None:
        yield "--reboot-count"


def _write_secret(placed: Placed, resources: Resources, claim: Claim) -> None:
    """Writes what bhyve reads and nobody else may: the command line names the file only."""
    from vm_run.bhyve.config import secret

    path = f"{claim.directory}/{SECRET}"
    claim.remove(path)
    text = secret(placed, resources)
    if text:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)


def _refuse_running(name: str) -> None:
    """Refuses a VM that another tool runs: what is done to its VM would end its guest.

    Raises:
        VmError: it runs (75).
    """
    pid = bhyvectl.runner(name)
    if pid:
        problem = f"{name} is already running (pid {pid}), and no vm-run of yours has started it"
        hint = "stop it by what has started it"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)


def _traces(machine: Machine, way: Way, claim: Claim, argv: list[str]) -> Traces:
    return Traces(
        name=machine.name,
        way=way.kind,
        reusable=machine.bhyve.loader is None,
        sockets=traces.sockets(machine),
        log_from=os.stat(f"{claim.directory}/hypervisor.log").st_size,
        program=os.path.basename(argv[0]),
        dumps=any(
            word.startswith(f"{_DUMP}=") and word.partition("=")[2].lower() not in _FALSE
            for word in argv
        ),
    )


def _free(machine: Machine, claim: Claim) -> None:
    """Removes the sockets that an earlier bhyve has left where this one makes its own."""
    for path in traces.sockets(machine):
        if is_leftover(path):
            claim.remove(path)


def _ready(machine: Machine, way: Way, *, force: bool, ran: bool) -> None:
    """Makes the kernel's VM one that bhyve, or the loader, can start in.

    With a bootrom bhyve uses the one that is there again.

    Raises:
        VmError: nobody has loaded it (69).
    """
    name, by = machine.name, machine.bhyve.loader
    if by == "none":
        if ran or not bhyvectl.exists(name):
            what = "has rebooted" if ran else "is not in the kernel"
            problem = f"{name} {what}, and loader = none means that somebody else loads it"
            hint = f"bhyveload -m {machine.mem} -d DISK {name}; or let vm-run: loader = bhyveload"
            raise VmError(Fault(problem=problem, hint=hint), status=UNAVAILABLE)
    elif way.kind == "root" and (by or force):
        bhyvectl.destroy(name)
