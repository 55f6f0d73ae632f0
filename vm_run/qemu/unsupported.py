"""What a description may say and QEMU cannot do, beside the problems of each device's row."""

from __future__ import annotations

from vm_run.qemu.bus import BUSES, refuse
from vm_run.qemu.storage import drives
from vm_spec.devices import OtherNic
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.qemu.bus import Bus, Problem, Row
    from vm_spec.devices import Emulation, Graphic
    from vm_spec.machine import Machine

OWN_NAMES = ("graphic", "tablet", "qmp", "supervisor", "vnc-password")
OWN_BUSES = ("pci", "pcie", "ide", "isa")  # QEMU's own: pci.0, ide.3
OWN_SLOTS = {"q35": 31, "pc": 1}
IDE_DRIVES = {"q35": 6, "pc": 4, "microvm": 0}


def find(bus: Bus, rows: Iterable[tuple[Emulation, Row]]) -> list[Fault]:
    """Everything of a machine that QEMU cannot do, the machine's own first."""
    machine = bus.machine
    own = [*_machine(machine), *_drives(bus)]
    if bus.family == "microvm":
        own += _microvm(machine)
    faults = [Fault(path=(key,), problem=problem, hint=hint) for key, problem, hint in own]
    if machine.graphic:
        faults += [
            Fault(path=("graphic", key), problem=problem, hint=hint)
            for key, problem, hint in [*_screen(machine.graphic), *_slot(bus, "graphic")]
        ]
    for device, row in rows:
        name = f"{device.kind} {device.label}"
        for key, problem, hint in [*_device(device, row, bus), *row.problems]:
            path = (key,) if key else ()
            faults.append(Fault(path=path, problem=problem, hint=hint, device=name))
    return faults


def _machine(machine: Machine) -> Iterator[Problem]:
    terminals = 0
    for number, com in machine.coms:
        terminals += com == "stdio"
        if com == "nmdm" or com.startswith("/dev/nmdm"):
            yield f"com{number}", "is a null modem, which exists on FreeBSD only", 'use "socket"'
        elif com == "stdio" and terminals > 1:
            yield f"com{number}", "is a second port on the one terminal", 'use "socket"'
    no_kernel, hint = not machine.kernel, "set kernel, or take it away"
    no_firmware, uefi = machine.varfile and not machine.bootrom, 'set bootrom = "uefi"'
    yield from refuse(
        (machine.initrd and no_kernel, "initrd", "needs a kernel to go with", hint),
        (machine.cmdline and no_kernel, "cmdline", "needs a kernel to go with", hint),
        (no_firmware, "varfile", "needs a bootrom to go with", uefi),
        (machine.extra_options, "extra_options", "holds arguments of bhyve", "use [qemu] args"),
    )


def _drives(bus: Bus) -> Iterator[Problem]:
    """A machine's own controllers take a fixed number of drives."""
    has_flash = bus.machine.bootrom == "uefi" or (bus.machine.bootrom and bus.machine.varfile)
    flashes = 0 if has_flash else 2
    most = {"ide": IDE_DRIVES[bus.family], "floppy": 2, "pflash": flashes}
    for interface, number in most.items():
        count = len(drives(bus, interface))
        if count > number:
            problem = f"has {count} {interface} drives, and this machine takes {number}"
            yield "emulations", problem, "use virtio-blk for the others"


def _microvm(machine: Machine) -> tuple[Problem, ...]:
    q35, no_kernel = (
        "use machine q35",
        "microvm boots a kernel directly, and none is set",
    )
    return refuse(
        (not machine.kernel, "qemu.machine", no_kernel, "set kernel"),
        (machine.bootrom, "bootrom", "is not used by microvm, which boots a kernel directly", q35),
        (machine.graphic, "graphic", "needs a PCI bus, and microvm has none", q35),
        (machine.tpm, "tpm", "is not seen by a guest of microvm", q35),
    )


def _screen(graphic: Graphic) -> tuple[Problem, ...]:
    no_display = not 5900 <= graphic.port <= 65535
    exposed = not graphic.password and not _is_loopback(graphic.host)
    anyone = "lets anyone who reaches it use the guest, without a password"
    return refuse(
        (no_display, "port", "is outside VNC's 5900 to 65535", "leave it out for 5900"),
        (graphic.wait, "wait", "waiting for a viewer exists on bhyve only", "take it away"),
        (exposed, "host", anyone, 'set password, or host = "127.0.0.1"'),
    )


def _is_loopback(host: str) -> bool:
    numbers = host.split(".")
    return host in ("localhost", "::1") or (
        numbers[0] == "127" and len(numbers) == 4 and all(number.isdigit() for number in numbers)
    )


def _device(device: Emulation, row: Row, bus: Bus) -> Iterator[Problem]:
    """What any device may have wrong: its name, its slot, a board without its bus."""
    first, dot, _ = device.label.partition(".")
    of_bridge = first == "pci" and bool(dot)
    if device.label in OWN_NAMES or of_bridge or (row.owns_bus and first in OWN_BUSES):
        yield "label", "is a name that QEMU itself uses", "choose another"
    if device.sits_on_pci:
        yield from _slot(bus, device.label)
    if bus.family == "microvm" and not _is_virtio(device):
        yield "", "is no virtio device, and microvm has no other", "use machine q35"


def _is_virtio(device: Emulation) -> bool:
    if isinstance(device, OtherNic):
        return device.model.endswith("-device")
    return device.kind.startswith("virtio-") or not device.sits_on_pci


def _slot(bus: Bus, label: str) -> Iterator[Problem]:
    slot = bus.placed.slots[label]
    first = replace(slot, function=0)
    if slot.bus > BUSES:
        yield "slot", f"{slot} is on a bus past {BUSES}, the last one here", "leave it out"
    elif slot.bus == 0 and slot.slot == OWN_SLOTS.get(bus.family):
        yield "slot", f"{slot} is the board's own", "leave it out to have one chosen"
    elif slot.function and first not in bus.placed.slots.values():
        problem = f"{slot} cannot be found by the guest: nothing is at function 0 of its slot"
        yield "slot", problem, "leave it out to have one chosen"
