"""What a machine of bhyve's needs of a FreeBSD host, beside what any machine needs."""

from __future__ import annotations

from vm_run.bhyve.lpc import FIRMWARE
from vm_run.host import requirements
from vm_run.host.requirements import Directory, File, OfFreeBsd, Socket, Tool
from vm_run.resources import null_modem
from vm_spec.devices import (
    AhciCd,
    AhciHd,
    Drive,
    Hda,
    Nic,
    Nvme,
    Passthru,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioScsi,
    format_of,
)
from vm_spec.frozen import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.host.requirements import Requirement
    from vm_spec.devices import Emulation
    from vm_spec.machine import Machine

__all__ = [
    "FIRMWARE",
    "Cpus",
    "Module",
    "Root",
    "TapUp",
    "Terminal",
    "Vm",
    "Wired",
    "needs_of",
    "reboots",
]

SLIRP = "/usr/local/lib/libslirp.so.0"
NETMAP = "/dev/netmap"
EDK2 = "sudo pkg install edk2-bhyve"
GRUB = "sudo pkg install grub2-bhyve"


class Vm(OfFreeBsd):
    """A way for this user to run the VM, as `vm_run.bhyve.vmm` has them.

    Attributes:
        name: of the VM.
        reboots: what only works where vm-run itself starts the guest again: `next_target = two`.
    """

    name: str
    reboots: tuple[str, ...] = ()


class Module(OfFreeBsd):
    """A module of the kernel, loaded or compiled in.

    Attributes:
        name: as kldstat(8) -m knows it.
        given: whether vm-init loads it.
    """

    name: str
    given: bool = True


class Cpus(OfFreeBsd):
    """As many processors as a guest may have.

    Attributes:
        count: how many.
    """

    count: int


class Wired(OfFreeBsd):
    """Memory that may be wired.

    Attributes:
        name: of the VM, which may have it from the guest before.
        bytes: how much.
        why: who wants it wired.
    """

    name: str
    bytes: int
    why: str


class Root(OfFreeBsd):
    """That bhyve is root's.

    Attributes:
        why: what only root may do, as the beginning of a sentence.
    """

    why: str


class Terminal(OfFreeBsd):
    """A terminal device that this user may open: bhyve's end of a serial port.

    Attributes:
        path: where it is.
    """

    path: str


class TapUp(OfFreeBsd):
    """A tap that is up once it is open."""


def needs_of(machine: Machine, detached: bool = False) -> list[Requirement]:
    """Everything a machine of bhyve's needs, the machine's own first, then by device in order.

    Args:
        machine: what is to start.
        detached: whether it has no terminal, so that its stdio is a null modem.
    """
    own = [*_kernel(machine, detached), *_start(machine), *requirements.machine(machine)]
    rows = ((device, list(_device(device))) for device in machine.emulations)
    return [_told(need) for need in requirements.collect(own, rows)]


def _told(need: Requirement) -> Requirement:
    """The same need, with the next step that it has here."""
    if isinstance(need, File) and need.path.startswith(FIRMWARE):
        return replace(need, hint=EDK2)
    if isinstance(need, File) and need.hint.startswith("qemu-img create"):
        return replace(need, hint="truncate -s 20G {}")
    return need


def _kernel(machine: Machine, detached: bool) -> Iterator[Requirement]:
    """What the kernel is to have and to allow."""
    yield Vm(name=machine.name, reboots=tuple(reboots(machine)))
    yield Cpus(count=machine.cpu.count)
    ends = [*_serial(machine, detached)]
    if any(end.path.startswith("/dev/nmdm") for end in ends):
        yield Module(name="nmdm")
    yield from ends
    cards = [device for device in machine.emulations if isinstance(device, Nic)]
    if any(card.name and card.backend == "tap" for card in cards):
        yield Module(name="if_tuntap")
        yield TapUp()
    if any(card.bridge or card.network for card in cards):
        yield Module(name="if_bridge")
    passes = any(isinstance(device, Passthru) for device in machine.emulations)
    if machine.wire_guest_mem or passes:
        why = "wire_guest_mem" if machine.wire_guest_mem else "passthru"
        yield Wired(name=machine.name, bytes=machine.mem.bytes, why=why)


def reboots(machine: Machine) -> Iterator[str]:
    """What of a machine only works where vm-run itself starts the guest again."""
    if machine.bhyve.loader:
        yield f"loader = {machine.bhyve.loader}"
    if machine.next_target:
        yield f"next_target = {machine.next_target}"
    if "reboot" not in machine.reboot_on:
        yield "reboot_on without reboot"


def _serial(machine: Machine, detached: bool) -> Iterator[Terminal]:
    """The hypervisor's ends of the serial ports, but for this terminal."""
    for number, com in machine.coms:
        if com in ("socket", "nmdm") or (com == "stdio" and detached):
            yield Terminal(device=f"com{number}", path=null_modem(machine.name, number, "A"))
        elif com != "stdio":
            yield Terminal(device=f"com{number}", path=com)


def _start(machine: Machine) -> Iterator[Requirement]:
    """What the machine starts with: a firmware or a loader."""
    loader = machine.bhyve.loader
    if loader == "bhyveload":
        yield Tool(name="bhyveload", hint="FreeBSD's base system has it")
    elif loader == "grub-bhyve":
        yield Tool(name="grub-bhyve", hint=GRUB)
    elif loader is None and machine.bootrom is None:
        yield File(path=f"{FIRMWARE}BHYVE_UEFI.fd", hint=EDK2)
    if loader and machine.bhyve.loader_disk:
        yield File(path=machine.bhyve.loader_disk)


def _device(device: Emulation) -> Iterator[Requirement]:
    match device:
        case VirtioBlk() | AhciHd() | AhciCd() | VirtioScsi() | Drive() | Nvme():
            yield from _image(device)
        case VirtioInput():
            yield File(path=device.path, write=True, granted=True)
        case Virtio9p():
            yield Directory(path=device.path)
        case VirtioConsole():
            yield from (Socket(path=port.path) for port in device.ports)
        case Passthru():
            yield from requirements.passthru(device)
            yield Root(why="bhyve hands PCI devices over for root alone")
        case Nic():
            yield from requirements.nic(device)
            yield from _card(device)
        case Hda():
            for path in dict.fromkeys(filter(None, (device.play, device.rec))):
                yield File(path=path, write=True)
        case _:
            pass


def _image(
    device: VirtioBlk | AhciHd | AhciCd | VirtioScsi | Drive | Nvme,
) -> Iterator[Requirement]:
    if device.path is not None:
        layout = getattr(device, "format", None) or format_of(device.path)
        if isinstance(device, AhciCd) or getattr(device, "media", "disk") == "cdrom":
            yield File(path=device.path)
        else:
            yield requirements.image(device.path, layout, write=not getattr(device, "ro", False))
    if isinstance(device, VirtioScsi):
        yield Module(name="ctl", given=False)


def _card(card: Nic) -> Iterator[Requirement]:
    if card.backend == "user":
        yield File(path=SLIRP, hint="sudo pkg install libslirp")
    elif card.backend in ("netmap", "vale"):
        yield File(path=NETMAP, write=True)
