"""What bhyve is told of each device on the PCI bus.

Untested on FreeBSD. Source: bhyve(8), -s; bhyve_config(5), PCI device settings.
"""

from __future__ import annotations

from vm_run.bhyve_network import network
from vm_run.bhyve_settings import Setting, escaped, first, given, named, own
from vm_run.bhyve_storage import storage
from vm_run.slots import HOST_BRIDGE
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
from vm_spec.value import TYPE_CHECKING, Value, assert_never, replace
from vm_spec.words import PciId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.bhyve_settings import Part
    from vm_run.slots import Placed
    from vm_run.wiring import Wiring
    from vm_spec.devices import Emulation
    from vm_spec.words import PciSlot

__all__ = ["Emulated", "emulated", "passes_through"]

CONSOLE_PORTS = 16
OWN_SYNTAX = {"virtio-console", "virtio-9p", "xhci"}  # `-s` reads key=value as something else
# names that only `-s` has -> what they stand for (pci_hostbridge.c, pci_ahci.c)
ALIASES = {
    "amd_hostbridge": ("hostbridge", (("pcireg.vendor", "0x1022"), ("pcireg.device", "0x7432"))),
    "ahci-hd": ("ahci", (("port.0.type", "hd"),)),
    "ahci-cd": ("ahci", (("port.0.type", "cd"),)),
}
NUMERIC = set("0123456789abcdefABCDEF.:[]")


class Emulated(Value):
    """A device in its slot.

    Attributes:
        slot: where it sits.
        name: what `-s` calls it; a raw device's whole value.
        settings: its settings, their keys relative to its node.
        of: the description's key that it comes from.
        title: what its faults are grouped by: `virtio-blk disk0`; empty for the board's own.
        raw: whether it has words only, and no keys.
    """

    slot: PciSlot
    name: str
    settings: tuple[Setting, ...] = ()
    of: str = ""
    title: str = ""
    raw: bool = False

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """All that bhyve_config(5) has of it, relative to its node; nothing of a raw device."""
        if self.raw:
            return ()
        device, implied = ALIASES.get(self.name, (self.name, ()))
        settings = (key for setting in self.settings for key in setting.keys)
        return (("device", device), *implied, *settings)

    @property
    def node(self) -> str:
        """Where its keys are in bhyve_config(5): `pci.0.3.0.`."""
        return f"pci.{self.slot.bus}.{self.slot.slot}.{self.slot.function}."


def emulated(placed: Placed, wiring: Wiring) -> tuple[list[Emulated], list[Fault]]:
    """The host bridge, the ISA bridge and then the devices in order of their slots."""
    faults = list(_too_many(placed))
    devices = list(_tablet(placed))
    for device, of in _described(placed, wiring):
        parts = list(_parts(device, wiring))
        title = f"{device.kind} {device.label}"
        faults += [replace(part, device=title) for part in parts if isinstance(part, Fault)]
        slot = placed.slots.get("graphic" if of == "graphic" else device.label)
        if slot:
            devices.append(
                Emulated(
                    slot=slot,
                    name=device.value if isinstance(device, Raw) else device.kind,
                    settings=tuple(part for part in parts if isinstance(part, Setting)),
                    of=of,
                    title=title,
                    raw=isinstance(device, Raw),
                )
            )
    devices.sort(key=lambda one: (one.slot.bus, one.slot.slot, one.slot.function))
    return [*_bridges(placed), *devices], faults


def passes_through(devices: Iterable[Emulated]) -> str:
    """The description's key of a device for which guest memory must be wired; empty for none."""
    return next((one.of for one in devices if one.name.split(",")[0] == "passthru"), "")


def _described(placed: Placed, wiring: Wiring) -> Iterator[tuple[Emulation, str]]:
    machine = placed.machine
    for device in machine.emulations:
        yield device, f"emulations ({device.label})"
    if machine.cloud_init:
        from vm_run.seed import disk

        yield disk(machine, wiring.folder(machine.name)), "cloud_init"
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


def _too_many(placed: Placed) -> Iterator[Fault]:
    """A fault for each frame buffer and USB controller but the first: bhyve has one of each."""
    graphic = placed.machine.graphic
    seen = {"fbuf"} if graphic else set[str]()
    if graphic and graphic.xhci_table:
        seen.add("xhci")
    for device in placed.machine.emulations:
        if device.kind in seen:
            yield Fault(
                problem=f"bhyve has one {device.kind} only, and there is one already",
                hint="take it away; the tablet of graphic is an xhci (graphic.xhci_table)",
                device=f"{device.kind} {device.label}",
            )
        if device.kind in ("fbuf", "xhci"):
            seen.add(device.kind)


def _parts(device: Emulation, wiring: Wiring) -> Iterator[Part]:
    match device:
        case VirtioBlk() | AhciHd() | AhciCd() | Nvme() | VirtioScsi() | Drive():
            yield from storage(device)
        case VirtioNet() | E1000() | OtherNic():
            yield from network(device)
        case VirtioConsole() | Virtio9p() | VirtioRnd() | VirtioInput() | Xhci() | Hda():
            yield from _small(device)
        case Graphic():
            yield from _screen(device)
        case Passthru():
            yield from _passthru(device, wiring)
        case AppleSmc():
            yield Fault(problem="is QEMU's; bhyve has no such device", hint="take it away")
        case Raw():
            pass  # its value stands in the place of a name
        case _:
            assert_never(device)
    node = "port.0." if device.kind.startswith("ahci-") else ""
    yield from own(device.bhyve, carried=device.kind not in OWN_SYNTAX, node=node)


def _small(
    device: VirtioConsole | Virtio9p | VirtioRnd | VirtioInput | Xhci | Hda,
) -> Iterator[Part]:
    match device:
        case VirtioConsole():
            yield from _console(device)
        case Virtio9p():
            path = escaped(device.path)
            yield Setting(
                keys=(("sharename", device.sharename), ("path", path)),
                words=(f"{device.sharename}={path}",),
            )
            yield from given(ro=device.ro)
        case VirtioRnd():
            pass
        case VirtioInput():
            yield first("path", value=device.path)
        case Xhci():
            if device.tablet:
                yield first("slot.1.device", value="tablet")
        case Hda():
            yield from given(play=device.play, rec=device.rec)
        case _:
            assert_never(device)


def _console(console: VirtioConsole) -> Iterator[Part]:
    if not 0 < len(console.ports) <= CONSOLE_PORTS:
        yield Fault(
            problem=f"has {len(console.ports)} ports, and bhyve takes 1 to {CONSOLE_PORTS}",
            hint="spread them over several virtio-consoles",
        )
    for number, port in enumerate(console.ports):
        path = escaped(port.path)
        yield Setting(
            keys=((f"port.{number}.name", port.name), (f"port.{number}.path", path)),
            words=(f"{port.name}={path}",),
        )


def _screen(graphic: Graphic) -> Iterator[Part]:
    """The frame buffer; its password stands in the argv, which other users may see with ps(1).

    bhyve has no other way in `-s`; a `-k` file that only the user can read carries it as a key,
    wholly (bhyve_config) or as one line after `-s` (a later option wins).
    """
    host = graphic.host
    if not set(host) <= NUMERIC or not {".", ":"} & set(host):
        yield Fault(
            problem=f"host {host!r} is not a numeric address, and bhyve looks up no names",
            hint="host = 127.0.0.1",
        )
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    yield named("tcp", f"{host}:{graphic.port}")
    yield from given(
        w=graphic.width,
        h=graphic.height,
        vga=graphic.vga,
        wait=graphic.wait,
        password=graphic.password,
    )


def _passthru(device: Passthru, wiring: Wiring) -> Iterator[Part]:
    found = wiring.pci.get(device.label)
    source = device.src or (PciId.parse(found) if found else None)
    if source:
        if source.domain:
            yield Fault(
                problem=f"{source} is in PCI domain {source.domain}, and bhyve knows domain 0 only",
                hint="pciconf -l lists what this host has",
            )
        parts = (str(source.bus), str(source.slot), str(source.function))
        yield Setting(
            keys=tuple(zip(("bus", "slot", "func"), parts, strict=True)), words=("/".join(parts),)
        )
    elif device.lookup:  # a dry run: nobody looked
        yield first("pptdev", value=f"lookup:{device.lookup.vendor}:{device.lookup.device}")
    else:
        yield Fault(problem="has neither src nor lookup", hint='src = "1:0:0"')
    yield from given(rom=device.rom)
