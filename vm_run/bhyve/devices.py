"""What bhyve is told of each device on the PCI bus.

Untested on FreeBSD. Source: bhyve(8), -s; bhyve_config(5), PCI device settings.
"""

from __future__ import annotations

from vm_run.bhyve.emulated import Emulated
from vm_run.bhyve.network import network
from vm_run.bhyve.passthru import passthru
from vm_run.bhyve.periphery import periphery
from vm_run.bhyve.screen import screen
from vm_run.bhyve.settings import Setting, first, own
from vm_run.bhyve.storage import storage
from vm_run.pci_slots import HOST_BRIDGE
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    AppleSmc,
    Drive,
    Graphic,
    Hda,
    Nvme,
    OtherNic,
    Passthru,
    Raw,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, assert_never, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.settings import Part
    from vm_run.pci_slots import Placed
    from vm_run.resources import Resources
    from vm_spec.devices import Emulation
    from vm_spec.types import PciSlot

__all__ = ["emulated"]

OWN_SYNTAX = {"virtio-console", "virtio-9p", "xhci"}  # `-s` reads key=value as something else
ALONE = {  # of which bhyve has one -> what gives it already
    "fbuf": "the screen is described by [graphic]",
    "xhci": "the tablet of graphic is an xhci (graphic.xhci_table)",
    "lpc": "lpc_slot says where it sits",
}


def emulated(placed: Placed, resources: Resources) -> tuple[list[Emulated], list[Fault]]:
    """The host bridge, the ISA bridge and then the devices in order of their slots."""
    faults: list[Fault] = []
    board = [*_bridges(placed), *_tablet(placed)]
    devices: list[Emulated] = []
    for device, of in _described(placed, resources):
        slot = placed.slots.get("graphic" if of == "graphic" else device.label)
        one, wrong = _emulated(device, of, slot or HOST_BRIDGE, resources)
        faults += wrong
        if slot:
            devices.append(one)
    faults += _too_many(board, devices)
    bridges, tablet = board[:2], board[2:]
    devices = [*tablet, *devices]
    devices.sort(key=lambda one: (one.slot.bus, one.slot.slot, one.slot.function))
    return [*bridges, *devices], faults


def _emulated(
    device: Emulation, of: str, slot: PciSlot, resources: Resources
) -> tuple[Emulated, list[Fault]]:
    parts = list(_parts(device, resources))
    faults = [part for part in parts if isinstance(part, Fault)]
    title = f"{device.kind} {device.label}"
    made = Emulated(
        slot=slot,
        name=device.kind,
        settings=tuple(part for part in parts if isinstance(part, Setting)),
        of=of,
        title=title,
    )
    if isinstance(device, Raw):
        from vm_run.bhyve.raw import read

        keys, wrong = read(device, slot)
        made = replace(made, name=device.value, raw=True, read=keys)
        faults += wrong
    return made, [replace(fault, device=title) for fault in faults]


def _described(placed: Placed, resources: Resources) -> Iterator[tuple[Emulation, str]]:
    machine = placed.machine
    for device in machine.emulations:
        yield device, f"emulations ({device.label})"
    if machine.cloud_init:
        from vm_run.cloud_init import disk

        yield disk(machine, resources.directory(machine.name)), "cloud_init"
    if machine.graphic:
        yield machine.graphic, "graphic"


def _bridges(placed: Placed) -> Iterator[Emulated]:
    yield Emulated(slot=HOST_BRIDGE, name=placed.machine.hostbridge, of="hostbridge")
    yield Emulated(slot=placed.lpc, name="lpc", of="lpc_slot")


def _tablet(placed: Placed) -> Iterator[Emulated]:
    graphic = placed.machine.graphic
    if graphic and graphic.xhci_table:
        yield Emulated(
            slot=placed.slots["tablet"],
            name="xhci",
            settings=(first("slot.1.device", value="tablet"),),
            of="graphic.xhci_table",
            title=f"{graphic.kind} {graphic.label}",
        )


def _too_many(board: list[Emulated], devices: list[Emulated]) -> Iterator[Fault]:
    """A fault for each device but the first of those of which bhyve has one."""
    ours = [one for one in devices if one.of == "graphic"]
    seen = {one.kind for one in (*board, *ours)}
    for one in devices:
        if one.kind in ALONE and one.kind in seen and one not in ours:
            yield Fault(
                problem=f"bhyve has one {one.kind} only, and there is one already",
                hint=f"take it away; {ALONE[one.kind]}",
                device=one.title,
            )
        seen.add(one.kind)


def _parts(device: Emulation, resources: Resources) -> Iterator[Part]:
    match device:
        case VirtioBlk() | AhciHd() | AhciCd() | Nvme() | VirtioScsi() | Drive():
            yield from storage(device)
        case VirtioNet() | E1000() | OtherNic():
            yield from network(device)
        case VirtioConsole() | Virtio9p() | VirtioRnd() | VirtioInput() | Xhci() | Hda():
            yield from periphery(device)
        case Graphic():
            yield from screen(device)
        case Passthru():
            yield from passthru(device, resources)
        case AppleSmc():
            yield Fault(problem="is QEMU's; bhyve has no such device", hint="take it away")
        case Raw():
            pass  # its value stands in the place of a name
        case _:
            assert_never(device)
    node = "port.0." if device.kind.startswith("ahci-") else ""
    yield from own(device.bhyve, carried=device.kind not in OWN_SYNTAX, node=node)
