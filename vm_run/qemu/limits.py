"""What a description may say and QEMU cannot do."""

from __future__ import annotations

from vm_run.qemu.board import BUSES, family
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    Drive,
    Hda,
    Nvme,
    OtherNic,
    Raw,
    VirtioConsole,
    VirtioNet,
    VirtioScsi,
    Xhci,
)
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.pci_slots import Placed
    from vm_spec.devices import Emulation, Graphic
    from vm_spec.machine import Machine
    from vm_spec.types import PciSlot

    Problem = tuple[str, str, str]  # key, what is wrong with it, the next step

__all__ = ["limits"]

FREEBSD_NETS = ("netgraph", "netmap", "vale", "vmnet")
OWN_NAMES = ("graphic", "tablet", "qmp", "supervisor", "vnc-password")
OWN_BUSES = ("pci", "pcie", "ide", "isa")  # QEMU's own: pci.0, ide.3
OWN_SLOTS = {"q35": 31, "pc": 1}
IDE_DRIVES = {"q35": 6, "pc": 4, "microvm": 0}
ON_FREEBSD = "exists on FreeBSD only"
ON_BHYVE = "exists on bhyve only"


def limits(placed: Placed) -> list[Fault]:
    """Every such thing of a machine, its own first."""
    machine = placed.machine
    found = [*_ports(machine), *_kernel(machine), *_drives(machine)]
    if family(machine) == "microvm":
        found += _microvm(machine)
    if machine.extra_options:
        found.append(("extra_options", "holds arguments of bhyve", "use [qemu] args"))
    faults = [Fault(path=(key,), problem=problem, hint=hint) for key, problem, hint in found]
    if machine.graphic:
        faults += [
            Fault(path=("graphic", key), problem=problem, hint=hint)
            for key, problem, hint in [*_screen(machine.graphic), *_slot(placed, "graphic")]
        ]
    faults += [
        Fault(path=(key,) if key else (), problem=problem, hint=hint, device=_named(device))
        for device in machine.emulations
        for key, problem, hint in _device(device, placed)
    ]
    return faults


def _named(device: Emulation) -> str:
    return f"{device.kind} {device.label}"


def _ports(machine: Machine) -> Iterator[Problem]:
    terminals = 0
    for number, com in machine.coms:
        terminals += com == "stdio"
        if com == "nmdm" or com.startswith("/dev/nmdm"):
            yield f"com{number}", f"is a null modem, which {ON_FREEBSD}", 'use "socket"'
        elif com == "stdio" and terminals > 1:
            yield f"com{number}", "is a second port on the one terminal", 'use "socket"'


def _kernel(machine: Machine) -> Iterator[Problem]:
    for key, value in (("initrd", machine.initrd), ("cmdline", machine.cmdline)):
        if value and not machine.kernel:
            yield key, "needs a kernel to go with", "set kernel, or take it away"
    if machine.varfile and not machine.bootrom:
        yield "varfile", "needs a bootrom to go with", 'set bootrom = "uefi"'


def _drives(machine: Machine) -> Iterator[Problem]:
    """A machine's own controllers take so many drives and no more."""
    taken = 2 if machine.bootrom and (machine.bootrom == "uefi" or machine.varfile) else 0
    most = {"ide": IDE_DRIVES[family(machine)], "floppy": 2, "pflash": 2 - taken}
    drives = [device for device in machine.emulations if isinstance(device, Drive)]
    for interface, number in most.items():
        count = sum(drive.interface == interface for drive in drives)
        if count > number:
            problem = f"has {count} {interface} drives, and this machine takes {number}"
            yield "emulations", problem, "use virtio-blk for the others"


def _microvm(machine: Machine) -> Iterator[Problem]:
    q35 = "use machine q35"
    if not machine.kernel:
        yield "qemu.machine", "microvm boots a kernel that is given, and none is", "set kernel"
    if machine.bootrom:
        yield "bootrom", "is not used by microvm, which boots a kernel directly", q35
    if machine.graphic:
        yield "graphic", "needs a PCI bus, and microvm has none", q35
    if machine.tpm:
        yield "tpm", "is not seen by a guest of microvm", q35


def _screen(graphic: Graphic) -> Iterator[Problem]:
    if not 5900 <= graphic.port <= 65535:
        yield "port", "is outside VNC's 5900 to 65535", "leave it out for 5900"
    if graphic.wait:
        yield "wait", f"waiting for a viewer {ON_BHYVE}", "take it away"
    if not graphic.password and not _is_loopback(graphic.host):
        problem = "lets anyone who reaches it use the guest, without a password"
        yield "host", problem, 'set password, or host = "127.0.0.1"'


def _is_loopback(host: str) -> bool:
    numbers = host.split(".")
    return host in ("localhost", "::1") or (
        numbers[0] == "127" and len(numbers) == 4 and all(number.isdigit() for number in numbers)
    )


def _device(device: Emulation, placed: Placed) -> Iterator[Problem]:
    machine = placed.machine
    if _clashes(device):
        yield "label", "is a name that QEMU itself uses", "choose another"
    if device.sits_on_pci:
        yield from _slot(placed, device.label)
    if family(machine) == "microvm" and not _is_virtio(device):
        yield "", "is no virtio device, and microvm has no other", "use machine q35"
    yield from _kind(device)


def _clashes(device: Emulation) -> bool:
    """Whether the device, or a bus that it brings, would have the name of another."""
    first, dot, _ = device.label.partition(".")
    if device.label in OWN_NAMES or (first == "pci" and dot):
        return True
    brings_bus = isinstance(
        device, AhciHd | AhciCd | Nvme | VirtioScsi | VirtioConsole | Xhci | Hda
    )
    return brings_bus and first in OWN_BUSES


def _is_virtio(device: Emulation) -> bool:
    if isinstance(device, OtherNic):
        return device.model.endswith("-device")
    return device.kind.startswith("virtio-") or not device.sits_on_pci


def _slot(placed: Placed, label: str) -> Iterator[Problem]:
    slot = placed.slots[label]
    own = OWN_SLOTS.get(family(placed.machine))
    if slot.bus > BUSES:
        yield "slot", f"{slot} is on a bus past {BUSES}, the last one here", "leave it out"
    elif slot.bus == 0 and slot.slot == own:
        yield "slot", f"{slot} is the board's own", "leave it out to have one chosen"
    elif slot.function and not _begins(placed.slots.values(), slot):
        problem = f"{slot} cannot be found by the guest: nothing is at function 0 of its slot"
        yield "slot", problem, "leave it out to have one chosen"


def _begins(slots: Iterable[PciSlot], slot: PciSlot) -> bool:
    place = (slot.bus, slot.slot, 0)
    return any((one.bus, one.slot, one.function) == place for one in slots)


def _kind(device: Emulation) -> Iterator[Problem]:
    """What this kind of device cannot do."""
    match device:
        case VirtioNet() | E1000() | OtherNic():
            yield from _card(device)
        case AhciHd() | AhciCd():
            yield from _sata(device)
        case Nvme(ram=int()):
            yield "ram", f"a drive of memory {ON_BHYVE}", "give it a path"
        case VirtioScsi() if device.path.startswith("/dev/cam/"):
            yield "path", f"is a CAM target layer device, which {ON_FREEBSD}", "use an image"
        case Hda():
            yield from _sound(device)
        case Raw():
            yield "value", "is in bhyve's own words", "use [qemu] args"
        case _:
            return


def _sound(device: Hda) -> Iterator[Problem]:
    for key in ("play", "rec"):
        if getattr(device, key):
            yield key, f"a sound device by its path {ON_BHYVE}", "take it away"


def _card(card: VirtioNet | E1000 | OtherNic) -> Iterator[Problem]:
    if card.backend in FREEBSD_NETS:
        yield "type", f"{card.backend} {ON_FREEBSD}", "use tap, macvtap or user"
    if card.forward and card.backend != "user":
        yield "forward", "is for user networking", 'set type = "user", or take it away'


def _sata(device: AhciHd | AhciCd) -> Iterator[Problem]:
    if isinstance(device, AhciCd):
        if device.nmrr is not None:
            yield "nmrr", "a CD-ROM of QEMU has no rotation rate", "take it away"
        return
    if device.ro:
        yield "ro", "a SATA disk of QEMU is always writable", "use virtio-blk"
    if device.logical_sector_size not in (None, 512):
        yield "logical_sector_size", "a SATA disk of QEMU has sectors of 512", "use virtio-blk"
