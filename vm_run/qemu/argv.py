"""The command line of QEMU: a pure function of a placed machine and of the host's resources.

No file is opened and nothing is looked up. The user's strings go into JSON objects, or into comma
lists with each comma doubled (`argument.options`), or stand alone after their option; only what
the `[qemu]` table has in qemu(1)'s own language is taken as such.
"""

from __future__ import annotations

from vm_run.argument import argument, options, words
from vm_run.host import requirements
from vm_run.qemu import unsupported
from vm_run.qemu.bus import bridges, plan, plug, to_json
from vm_run.qemu.chardev import control, serial, tpm
from vm_run.qemu.devices import row, screen
from vm_run.qemu.storage import Image, blockdev, drives
from vm_run.resources import NOMINAL
from vm_spec.devices import format_of
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.host.requirements import Requirement
    from vm_run.pci_slots import Placed
    from vm_run.qemu.bus import Bus
    from vm_run.resources import Resources
    from vm_spec.machine import Machine

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
HIDDEN = "kvm=off,hypervisor=off,tcg-cpuid=off"  # KVM's name, the hypervisor bit, TCG's name
MIB = 1 << 20


def argv(
    placed: Placed, resources: Resources = NOMINAL, binary: str = "/usr/bin/qemu-system-x86_64"
) -> list[str]:
    """The command that runs a machine.

    Raises:
        VmError: the machine has what QEMU cannot do; it names every such thing.
    """
    return [binary, *words(arguments(placed, resources))]


def arguments(placed: Placed, resources: Resources = NOMINAL) -> list[Argument]:
    """The arguments that run a machine, each with the key it comes from.

    Raises:
        VmError: the machine has what QEMU cannot do; it names every such thing.
    """
    bus, machine = plan(placed, resources), placed.machine
    rows = [(device, row(device, bus)) for device in machine.emulations]
    if faults := unsupported.find(bus, rows):
        raise VmError(*faults)
    return [
        *_identity(machine),
        argument("-machine", _machine(bus), key="qemu.machine" if machine.qemu.machine else ""),
        *_processor(machine, resources),
        *_memory(machine),
        *_behavior(bus),
        *_firmware(machine, resources),
        *_kernel(machine),
        *serial(bus),
        *bridges(bus),
        *(
            argument(*words, key=f"emulations ({device.label})")
            for device, row in rows
            for words in row.argv
        ),
        *_seed(bus),
        *(screen(machine.graphic, bus) if machine.graphic else []),
        *(tpm(machine.tpm, bus) if machine.tpm else []),
        *control(bus),
        *([argument(*machine.qemu.args, key="qemu.args")] if machine.qemu.args else []),
    ]


def needs(placed: Placed) -> list[Requirement]:
    """What the host must have for a machine: the machine's own, then by device in order."""
    bus, machine = plan(placed, NOMINAL), placed.machine
    own = [*requirements.machine(machine), *_own_needs(machine)]
    return requirements.collect(
        own, ((device, row(device, bus).needs) for device in machine.emulations)
    )


def _own_needs(machine: Machine) -> Iterator[Requirement]:
    if machine.qemu.needs_kvm:
        yield requirements.KVM
    if machine.qemu.hugepages:
        mount = "sudo mkdir -p {} && sudo mount -t hugetlbfs hugetlbfs {}"
        yield requirements.Directory(path=machine.qemu.hugepages, hint=mount)
    for number, com in machine.coms:
        if com.startswith("/dev/") and not com.startswith("/dev/nmdm"):
            yield requirements.File(path=com, write=True, device=f"com{number}", granted=True)


def _seed(bus: Bus) -> Iterator[Argument]:
    """The disk that cloud-init reads."""
    if bus.machine.cloud_init:
        from vm_run.cloud_init import disk

        for pair in row(disk(bus.machine, bus.directory), bus).argv:
            yield argument(*pair, key="cloud_init")


def _identity(machine: Machine) -> Iterator[Argument]:
    yield argument("-nodefaults")
    yield argument("-no-user-config")
    if machine.qemu.sandbox:
        yield argument("-sandbox", SANDBOX)
    yield argument("-name", options("", guest=machine.name), key="name")
    if machine.uuid:
        yield argument("-uuid", machine.uuid, key="uuid")
    for value in machine.qemu.smbios:
        yield argument("-smbios", value, key="qemu.smbios")


def _machine(bus: Bus) -> str:
    """The machine type in the user's own words, and the properties that other keys set."""
    machine = bus.machine
    flashes = ["firmware", "variables"] if machine.bootrom and _has_variables(machine) else []
    flashes += [bus.nodes[drive.label] for drive in drives(bus, "pflash")]
    return options(
        machine.qemu.machine or _type(bus),
        acpi=None if machine.generate_acpi else False,
        memory_backend="ram" if machine.qemu.hugepages else None,
        **{f"pflash{number}": node for number, node in enumerate(flashes)},
    )


def _type(bus: Bus) -> str:
    """q35, without its SATA controller where nothing can be on it: firmware starts 10 ms sooner."""
    used = bus.machine.qemu.args or drives(bus, "ide")
    return "q35" if used else "q35,sata=off"


def _processor(machine: Machine, resources: Resources) -> Iterator[Argument]:
    yield from _accelerator(machine, resources)
    qemu, cpu = machine.qemu, machine.cpu
    model = qemu.cpu or "max"
    if qemu.hide_hypervisor:
        yield argument("-cpu", f"{model},{HIDDEN}", key="qemu.hide_hypervisor")
    else:
        yield argument("-cpu", model, key="qemu.cpu" if qemu.cpu else "")
    if qemu.smp:
        yield argument("-smp", qemu.smp, key="qemu.smp")
    else:
        layout = options(str(cpu.count), sockets=cpu.sockets, cores=cpu.cores, threads=cpu.threads)
        yield argument("-smp", layout, key="cpu")


def _accelerator(machine: Machine, resources: Resources) -> Iterator[Argument]:
    """Nothing where the machine type's string names one already: QEMU refuses both at once."""
    if "accel=" in machine.qemu.machine:
        return
    if machine.qemu.accel:
        yield argument("-accel", machine.qemu.accel, key="qemu.accel")
    elif machine.qemu.needs_kvm:
        yield argument("-accel", "kvm", key="qemu.cpu")
    else:
        yield argument("-accel", resources.accel)


def _memory(machine: Machine) -> Iterator[Argument]:
    size = machine.mem.bytes
    shown = f"{machine.mem.mib}M" if size % MIB == 0 else f"{size}B"
    yield argument("-m", shown, key="mem")
    if machine.qemu.hugepages:
        backend = {
            "qom-type": "memory-backend-file", "id": "ram", "size": size,
            "mem-path": machine.qemu.hugepages, "share": False, "prealloc": True,
        }  # fmt: skip
        yield argument("-object", to_json(backend), key="qemu.hugepages")
    if machine.wire_guest_mem:
        yield argument("-overcommit", "mem-lock=on", key="wire_guest_mem")


def _behavior(bus: Bus) -> Iterator[Argument]:
    """Its clock, its display, what becomes of a reboot or a panic."""
    qemu = bus.machine.qemu
    base = "utc" if bus.machine.utc_clock else "localtime"
    yield argument("-rtc", f"base={base}", key="utc_clock")
    yield argument("-display", qemu.display or "none", key="qemu.display" if qemu.display else "")
    if qemu.vga:
        yield argument("-vga", qemu.vga, key="qemu.vga")
    yield argument("-action", "reboot=shutdown")  # the launcher starts it again
    if bus.family != "microvm":
        yield argument(*plug({"driver": "pvpanic"}))  # distinguishes a panic from a power-off


def _has_variables(machine: Machine) -> bool:
    return machine.bootrom == "uefi" or machine.varfile is not None


def _firmware(machine: Machine, resources: Resources) -> Iterator[Argument]:
    if not machine.bootrom:
        return
    if not _has_variables(machine):
        yield argument("-bios", machine.bootrom, key="bootrom")
        return
    path = resources.firmware if machine.bootrom == "uefi" else machine.bootrom
    code = Image(path=path, layout=format_of(path), readonly=True)
    yield argument(*blockdev(code, "firmware"), key="bootrom")
    path = machine.varfile or f"./{machine.name}.vars.fd"
    variables = Image(path=path, layout=format_of(path))
    yield argument(*blockdev(variables, "variables"), key="varfile")


def _kernel(machine: Machine) -> Iterator[Argument]:
    if machine.kernel:
        yield argument("-kernel", machine.kernel, key="kernel")
    if machine.initrd:
        yield argument("-initrd", machine.initrd, key="initrd")
    if machine.cmdline:
        yield argument("-append", machine.cmdline, key="cmdline")
