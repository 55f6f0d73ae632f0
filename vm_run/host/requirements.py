"""What a machine needs of the host before it can start, device by device."""

from __future__ import annotations

from vm_spec.devices import (
    AhciCd,
    AhciHd,
    Drive,
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
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_spec.devices import Emulation
    from vm_spec.machine import CloudInit, Machine, Tpm

    Storage = VirtioBlk | AhciHd | AhciCd | VirtioScsi | Drive | Nvme

__all__ = [
    "File",
    "Folder",
    "FreeSocket",
    "Interface",
    "Lockable",
    "Need",
    "Node",
    "OfFreeBsd",
    "Pci",
    "Port",
    "Tool",
    "fault",
    "needs",
]

MOST_SEED = 1 << 20  # bytes of a file for cloud-init, whose clouds take 16 to 64 KiB
OF_DEVICES = 1 << 30  # what is reckoned for the devices' own memory, as libvirt does


class Wanted(Value):
    """What every need has.

    Attributes:
        device: whose it is, `virtio-blk disk0`; empty for the machine's own.
        fix: whether the description asks for the known repair.
    """

    device: str = ""
    fix: bool = False


class File(Wanted):
    """A file or device node that can be opened.

    Attributes:
        path: where it is.
        write: whether it is written to.
        hint: how one comes by it; {} in it is the path, as a shell reads it.
        most: the size in bytes of the regular file that it must be; 0 for any.
        given: whether it is a node that vm-init gives.
    """

    path: str
    write: bool = False
    hint: str = ""
    most: int = 0
    given: bool = False


class Folder(Wanted):
    """A folder.

    Attributes:
        path: where it is.
        hint: how one comes by it; {} in it is the path, as a shell reads it.
    """

    path: str
    hint: str = "mkdir -p {}"


class Interface(Wanted):
    """A tap or macvtap that this user may open.

    Attributes:
        name: the interface.
        macvtap: whether it is a macvtap.
    """

    name: str
    macvtap: bool = False


class Pci(Wanted):
    """A PCI device that this user may hand to a guest.

    Attributes:
        address: 0000:01:00.0; empty when it is looked up.
        lookup: (vendor, device) as the description has them; empty without.
    """

    address: str = ""
    lookup: tuple[str, str] = ("", "")


class Lockable(Wanted):
    """Memory that may be locked: VFIO pins all of a guest's.

    Attributes:
        bytes: how much.
    """

    bytes: int


class Node(Wanted):
    """A node of Linux's that QEMU opens as this user, and that no description names.

    The kernel makes it for root alone; udev's rules, where udev runs, open it to others.

    Attributes:
        path: where it is.
        module: of the kernel, that makes it.
        hint: how it is opened to this user.
    """

    path: str
    module: str
    hint: str


TUN = Node(
    path="/dev/net/tun",
    module="tun",
    hint="sudo chmod 666 /dev/net/tun, as udev does; it gives nothing away: a tap still opens "
    "for its owner only",
)
VFIO = Node(
    path="/dev/vfio/vfio",
    module="vfio-pci",
    hint="sudo chmod 666 /dev/vfio/vfio, as the kernel does; it gives nothing away: each device "
    "is behind its group's node",
)
KVM = Node(
    path="/dev/kvm",
    module="kvm_intel (AMD: kvm_amd)",
    hint="vm-run --check has the next step; or take kvm and the cpu host out of [qemu]: then the "
    "guest is emulated",
)


class Port(Wanted):
    """A port that nobody listens on.

    Attributes:
        protocol: tcp or udp.
        address: the host's address.
        port: 1 to 65535.
    """

    protocol: str = "tcp"
    address: str
    port: int


class FreeSocket(Wanted):
    """A path at which the hypervisor can make a socket.

    Attributes:
        path: where.
    """

    path: str


class Tool(Wanted):
    """A program that is run for the machine.

    Attributes:
        name: of the program, or its path.
        hint: how one comes by it.
    """

    name: str
    hint: str


class OfFreeBsd(Wanted):
    """What only FreeBSD has: `vm_run.host.bhyve_requirements`."""


Need = File | Folder | Interface | Pci | Lockable | Node | Port | FreeSocket | Tool | OfFreeBsd


def fault(need: Wanted, problem: str, hint: str = "") -> Fault:
    """What is said of a need that is not met."""
    return Fault(device=need.device, problem=problem, hint=hint)


def needs(machine: Machine) -> list[Need]:
    """Everything a machine needs, the machine's own first, then by device in order."""
    found: list[Need] = [*_own(machine)]
    if any(isinstance(device, Passthru) for device in machine.emulations):
        found += [Lockable(bytes=machine.mem.bytes + OF_DEVICES), VFIO]
    if any(isinstance(device, Nic) and device.backend == "tap" for device in machine.emulations):
        found.append(TUN)
    for device in machine.emulations:
        found += _device(device, f"{device.kind} {device.label}")
    return found


def _own(machine: Machine) -> Iterator[Need]:
    if machine.qemu.needs_kvm:
        yield KVM
    yield from _firmware(machine)
    for path in (machine.kernel, machine.initrd):
        if path:
            yield File(path=path)
    if machine.qemu.hugepages:
        mount = "sudo mkdir -p {} && sudo mount -t hugetlbfs hugetlbfs {}"
        yield Folder(path=machine.qemu.hugepages, hint=mount)
    yield from _serial(machine)
    if machine.tpm:
        yield _tpm(machine.tpm)
    if machine.cloud_init:
        yield from _seed(machine.cloud_init)
    if machine.graphic:
        yield Port(address=machine.graphic.host, port=machine.graphic.port, device="graphic")


def _serial(machine: Machine) -> Iterator[Need]:
    for number, com in machine.coms:
        if com.startswith("/dev/") and not com.startswith("/dev/nmdm"):
            yield File(path=com, write=True, device=f"com{number}", given=True)


def _tpm(tpm: Tpm) -> Need:
    if tpm.type == "swtpm":
        hint = "Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
        return Tool(device="tpm", name="swtpm", hint=hint)
    hint = "the host's TPM is root's: an admin gives it with a rule of udev or devfs.rules"
    return File(device="tpm", path=tpm.path or "/dev/tpm0", write=True, hint=hint)


def _seed(given: CloudInit) -> Iterator[Need]:
    for path in (given.user_data, given.meta_data, given.network_config):
        if path:
            hint = "write it: vm.toml(5), cloud-init, has a first one"
            yield File(device="cloud-init", path=path, hint=hint, most=MOST_SEED)


def _firmware(machine: Machine) -> Iterator[Need]:
    if machine.bootrom in (None, "uefi"):
        return
    hint = 'bootrom = "uefi" takes this host\'s own firmware'
    yield File(path=machine.bootrom, hint=hint)
    if machine.varfile:
        yield File(path=machine.varfile, write=True, hint="copy the firmware's own template")


def _device(device: Emulation, name: str) -> Iterator[Need]:
    match device:
        case VirtioBlk() | AhciHd() | AhciCd() | VirtioScsi() | Drive() | Nvme():
            yield from _image(device, name)
        case VirtioInput():
            yield File(device=name, fix=device.fix, path=device.path, write=True, given=True)
        case Virtio9p():
            yield Folder(device=name, path=device.path)
        case VirtioConsole():
            for port in device.ports:
                yield FreeSocket(device=name, fix=device.fix, path=port.path)
        case Passthru():
            yield from _passthru(device, name)
        case Nic():
            yield from _nic(device, name)
        case _:
            pass


def _image(device: Storage, name: str) -> Iterator[Need]:
    if device.path is None:
        return
    if isinstance(device, AhciCd) or getattr(device, "media", "disk") == "cdrom":
        yield File(device=name, path=device.path)
    else:
        made = f"qemu-img create -f {device.format or format_of(device.path)} {{}} 20G"
        write = not getattr(device, "ro", False)
        yield File(device=name, path=device.path, write=write, hint=made)


def _passthru(device: Passthru, name: str) -> Iterator[Need]:
    lookup = (device.lookup.vendor, device.lookup.device) if device.lookup else ("", "")
    address = device.src.sysfs if device.src else ""
    yield Pci(device=name, fix=device.fix, address=address, lookup=lookup)
    if device.rom:
        yield File(device=name, path=device.rom)


def _nic(nic: Nic, name: str) -> Iterator[Need]:
    if nic.name and nic.backend in ("tap", "macvtap"):
        macvtap = nic.backend == "macvtap"
        yield Interface(device=name, fix=nic.fix, name=nic.name, macvtap=macvtap)
    for forward in nic.forward:
        yield Port(
            device=name, protocol=forward.protocol, address=forward.address, port=forward.port
        )
