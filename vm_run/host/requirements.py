"""What a machine can need of the host before it starts: each kind, and what any hypervisor needs.

The rows of `vm_run.qemu` and `vm_run.bhyve` say which device needs which; `vm_run.host.linux` and
`vm_run.host.freebsd` check them.
"""

from __future__ import annotations

from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_spec.devices import Emulation, Nic, Passthru
    from vm_spec.machine import CloudInit, Machine, Tpm

OF_DEVICES = 1 << 30  # bytes reckoned for the devices' own memory, as libvirt does
MOST_SEED = 1 << 20  # bytes of a file for cloud-init, whose clouds take 16 to 64 KiB


class Needed(Value):
    """What every requirement has.

    Attributes:
        device: whose it is, `virtio-blk disk0`; empty for the machine's own.
        fix: whether the description asks for the known repair.
    """

    device: str = ""
    fix: bool = False


class File(Needed):
    """A file or device node that can be opened.

    Attributes:
        path: where it is.
        write: whether it is written to.
        hint: how to make or get it; {} in it is the path, as a shell reads it.
        most: the size in bytes of the regular file that it must be; 0 for any.
        granted: whether it is a node that vm-init grants.
    """

    path: str
    write: bool = False
    hint: str = ""
    most: int = 0
    granted: bool = False


class Directory(Needed):
    """A directory.

    Attributes:
        path: where it is.
        hint: how to make it; {} in it is the path, as a shell reads it.
    """

    path: str
    hint: str = "mkdir -p {}"


class Interface(Needed):
    """A tap or macvtap that this user may open.

    Attributes:
        name: the interface.
        macvtap: whether it is a macvtap.
    """

    name: str
    macvtap: bool = False


class Pci(Needed):
    """A PCI device that this user may hand to a guest.

    Attributes:
        address: 0000:01:00.0; empty when it is looked up.
        lookup: (vendor, device) as the description has them; empty without.
    """

    address: str = ""
    lookup: tuple[str, str] = ("", "")


class Port(Needed):
    """A port that no process listens on.

    Attributes:
        protocol: tcp or udp.
        address: the host's address.
        port: 1 to 65535.
    """

    protocol: str = "tcp"
    address: str
    port: int


class Socket(Needed):
    """A path at which the hypervisor can make a socket.

    Attributes:
        path: where.
    """

    path: str


class Tool(Needed):
    """A program that is run for the machine.

    Attributes:
        name: of the program, or its path.
        hint: how to get it.
    """

    name: str
    hint: str


class Memory(Needed):
    """Memory that may be locked: VFIO pins all of a guest's.

    Attributes:
        bytes: how much.
    """

    bytes: int


class Node(Needed):
    """A node of Linux's that QEMU opens as this user, and that no description names.

    The kernel makes it for root alone; udev's rules, where udev runs, open it to others.

    Attributes:
        path: where it is.
        module: of the kernel, that makes it.
        hint: how it is opened to this user; by its group when left out.
    """

    path: str
    module: str
    hint: str = ""


class OfFreeBsd(Needed):
    """What only FreeBSD has: `vm_run.host.bhyve_requirements`."""


Requirement = File | Directory | Interface | Pci | Port | Socket | Tool | Memory | Node | OfFreeBsd

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
KVM = Node(path="/dev/kvm", module="kvm_intel (AMD: kvm_amd)")


def fault(need: Needed, problem: str, hint: str = "") -> Fault:
    """The report of a requirement that is not met."""
    return Fault(device=need.device, problem=problem, hint=hint)


def collect(
    own: Iterable[Requirement],
    by_device: Iterable[tuple[Emulation, Iterable[Requirement]]],
) -> list[Requirement]:
    """Everything that a machine needs, once each: its own, what its devices share, then by device.

    Args:
        own: the machine's own.
        by_device: what each device's row needs.
    """
    shared: list[Requirement] = []
    each: list[Requirement] = []
    for device, needs in by_device:
        name = f"{device.kind} {device.label}"
        for need in needs:
            if isinstance(need, Memory | Node):
                shared.append(need)
            else:
                each.append(replace(need, device=name, fix=device.fix))
    return list(dict.fromkeys([*own, *shared, *each]))


def machine(machine: Machine) -> Iterator[Requirement]:
    """What a machine needs beside its devices, whichever hypervisor runs it."""
    if machine.bootrom not in (None, "uefi"):
        yield File(path=machine.bootrom, hint='bootrom = "uefi" takes this host\'s own firmware')
        if machine.varfile:
            hint = "copy the firmware's own template"
            yield File(path=machine.varfile, write=True, hint=hint)
    for path in (machine.kernel, machine.initrd):
        if path:
            yield File(path=path)
    if machine.tpm:
        yield _tpm(machine.tpm)
    if machine.cloud_init:
        yield from _seed(machine.cloud_init)
    if machine.graphic:
        yield Port(address=machine.graphic.host, port=machine.graphic.port, device="graphic")


def _tpm(tpm: Tpm) -> Requirement:
    if tpm.type == "swtpm":
        hint = "Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
        return Tool(device="tpm", name="swtpm", hint=hint)
    hint = "the host's TPM is root's: an admin gives it with a rule of udev or devfs.rules"
    return File(device="tpm", path=tpm.path or "/dev/tpm0", write=True, hint=hint)


def _seed(seed: CloudInit) -> Iterator[Requirement]:
    hint = "write it: vm.toml(5), cloud-init, has a first one"
    for path in (seed.user_data, seed.meta_data, seed.network_config):
        if path:
            yield File(device="cloud-init", path=path, hint=hint, most=MOST_SEED)


def image(path: str, layout: str, *, write: bool) -> Requirement:
    """A disk image of this format."""
    return File(path=path, write=write, hint=f"qemu-img create -f {layout} {{}} 20G")


def nic(nic: Nic) -> tuple[Requirement, ...]:
    """The interface of a NIC, and the ports that it forwards."""
    ports = (Port(protocol=f.protocol, address=f.address, port=f.port) for f in nic.forward)
    if nic.name and nic.backend in ("tap", "macvtap"):
        return Interface(name=nic.name, macvtap=nic.backend == "macvtap"), *ports
    return tuple(ports)


def passthru(device: Passthru) -> tuple[Requirement, ...]:
    """The PCI device that is handed over, and the file of its ROM."""
    lookup = (device.lookup.vendor, device.lookup.device) if device.lookup else ("", "")
    pci = Pci(address=device.src.sysfs if device.src else "", lookup=lookup)
    return (pci, File(path=device.rom)) if device.rom else (pci,)
