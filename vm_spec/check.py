"""What must hold between the keys of a description, whatever the host."""

from __future__ import annotations

from vm_spec.devices import Device, Disk, Nic, Nvme, Passthru
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_spec.targets import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vm_spec.devices import Emulation
    from vm_spec.fault import Path
    from vm_spec.machine import Description, Machine, Target

__all__ = ["check"]


def check(description: Description, places: Mapping[tuple[str, str], Path]) -> list[Fault]:
    """Every fault between keys, of the base and of its targets.

    Args:
        description: what was read.
        places: where each device stands, by its target's name (empty: the base's) and its label.
    """
    faults = [*_base(description)]
    for target in description.targets:
        faults += _target(description, target)
    return [replace(fault, path=_place(fault.path, places)) for fault in faults]


def _place(path: Path, places: Mapping[tuple[str, str], Path]) -> Path:
    """The path of a key; that of a device, which `_of` names by its label, as it stands."""
    if "emulations" not in path:
        return path
    owner, label = str(path[1]) if path[0] == "targets" else "", str(path[-1])
    return places.get((owner, label)) or places.get(("", label), path[:-1])


def _base(description: Description) -> Iterator[Fault]:
    machine = description.machine
    yield from _unique(machine.emulations, ())
    yield from _machine(machine, ())
    yield from _next(machine, description, ())
    for device in machine.emulations:
        yield from _device(device, ())


def _target(description: Description, target: Target) -> Iterator[Fault]:
    path: Path = ("targets", target.name)
    labels = {device.label for device in description.machine.emulations}
    for label in target.remove:
        if label not in labels:
            shown = ", ".join(sorted(labels)) or "none"
            problem = f"no device of the base has the label {label}"
            yield Fault(path=(*path, "remove"), problem=problem, hint=f"labels are: {shown}")
    yield from _unique(target.emulations, path)
    machine = select(description, target.name)
    yield from _machine(machine, path)
    yield from _next(machine, description, path)
    for device in target.emulations:
        yield from _device(device, path)


def _unique(devices: Iterable[Emulation], path: Path) -> Iterator[Fault]:
    seen: set[str] = set()
    for device in devices:
        if device.label in seen:
            yield _of(device, path, "has a label that another device has too")
        seen.add(device.label)


def _of(device: Device, path: Path, problem: str, hint: str = "") -> Fault:
    where = (*path, "emulations", device.label)
    return Fault(path=where, device=f"{device.kind} {device.label}", problem=problem, hint=hint)


def _next(machine: Machine, description: Description, path: Path) -> Iterator[Fault]:
    names = {"default", *(target.name for target in description.targets)}
    if machine.next_target and machine.next_target not in names:
        hint = f"targets are: {', '.join(sorted(names))}"
        problem = f"there is no target {machine.next_target}"
        yield Fault(path=(*path, "next_target"), problem=problem, hint=hint)


def _machine(machine: Machine, path: Path) -> Iterator[Fault]:
    if machine.kernel is None and (machine.initrd or machine.cmdline):
        key = "initrd" if machine.initrd else "cmdline"
        yield Fault(path=(*path, key), problem="needs a kernel", hint="add kernel = PATH")
    if machine.varfile and machine.bootrom is None:
        hint = 'add bootrom = "uefi", or the path of the firmware'
        yield Fault(path=(*path, "varfile"), problem="needs a bootrom", hint=hint)
    if machine.lpc_slot and machine.lpc_slot.bus:
        yield Fault(path=(*path, "lpc_slot"), problem="must be on bus 0")
    for device in machine.emulations if machine.graphic else ():
        if device.label in ("graphic", "tablet"):
            yield _of(device, path, "has the label of the screen's own", "choose another label")
    if machine.cloud_init:
        yield from _cloud_init(machine, path)
    if sum(com == "stdio" for _, com in machine.coms) > 1:
        yield Fault(path=(*path, "com1"), problem='only one serial port can be "stdio"')
    yield from _ports(machine, path)


def _cloud_init(machine: Machine, path: Path) -> Iterator[Fault]:
    for device in machine.emulations:
        if device.label == "cloud-init":
            yield _of(device, path, "has the label of cloud-init's disk", "choose another label")
    if machine.cloud_init and machine.cloud_init.meta_data and machine.cloud_init.instance_id:
        hint = "keep it there, or leave meta_data out"
        where = (*path, "cloud_init", "instance_id")
        yield Fault(path=where, problem="belongs into the meta_data that is given", hint=hint)


def _ports(machine: Machine, path: Path) -> Iterator[Fault]:
    """A port of the host leads to one guest port only."""
    seen: dict[tuple[str, str, int], str] = {}
    for card in machine.emulations:
        for forward in card.forward if isinstance(card, Nic) else ():
            port = (forward.protocol, forward.address, forward.port)
            if port in seen:
                hint = f"{seen[port]} forwards it already: choose another port"
                yield _of(card, path, f"forwards {forward.protocol} port {forward.port}", hint)
            seen.setdefault(port, card.label)


def _device(device: Emulation, path: Path) -> Iterator[Fault]:
    if isinstance(device, Disk):
        yield from _sectors(device, path)
    if isinstance(device, Nic):
        yield from _nic(device, path)
    if isinstance(device, Nvme) and (device.path is None) == (device.ram is None):
        yield _of(device, path, "needs either path or ram")
    if isinstance(device, Passthru) and (device.src is None) == (device.lookup is None):
        yield _of(device, path, "needs either src or lookup")


def _sectors(disk: Disk, path: Path) -> Iterator[Fault]:
    logical, physical = disk.logical_sector_size or 512, disk.physical_sector_size or 0
    if logical & (logical - 1):
        yield _of(disk, path, "logical_sector_size must be a power of two")
    elif physical % logical or physical & (physical - 1):
        yield _of(disk, path, "physical_sector_size must be a power of two from the logical size")


def _nic(nic: Nic, path: Path) -> Iterator[Fault]:
    if nic.forward and nic.backend != "user":
        problem = f"forward is for user networking, and this card is a {nic.backend}"
        yield _of(nic, path, problem, "take away forward, or name, bridge and type")
    if nic.host_interface and (nic.bridge or nic.network):
        yield _of(nic, path, "has both a bridge and a host-interface", "keep one of them")
    if nic.backend in ("netgraph", "netmap", "vale", "vmnet") and nic.name is None:
        yield _of(nic, path, f"needs a name: the host's {nic.backend} port")
    if nic.backend in ("tap", "macvtap") and ":" in (nic.name or ""):
        yield _of(nic, path, f"has the name of a port, {nic.name}, and is a {nic.backend}")
