"""The command line of QEMU: a pure function of a placed machine and of the host's ends.

No file is opened and nothing is looked up. Text of the user's goes into JSON objects, or into
comma lists with each comma doubled (`argument.options`), or stands alone after its option; only
what the `[qemu]` table says is in qemu(1)'s own language is taken as such.
"""

from __future__ import annotations

from vm_run.argument import argument, options, words
from vm_run.qemu.board import Board, board, bridges, in_json, plug
from vm_run.qemu.devices import device, screen
from vm_run.qemu.image import Image, blockdev
from vm_run.qemu.limits import limits
from vm_run.qemu.serial import control, serial
from vm_run.qemu.storage import drives
from vm_run.wiring import NOMINAL
from vm_spec.devices import format_of
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.argument import Argument
    from vm_run.pci_slots import Placed
    from vm_run.wiring import Wiring
    from vm_spec.machine import Machine

__all__ = ["arguments", "argv"]

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
HIDDEN = "kvm=off,hypervisor=off,tcg-cpuid=off"  # KVM's name, the hypervisor bit, TCG's name
MIB = 1 << 20


def argv(
    placed: Placed, wiring: Wiring = NOMINAL, binary: str = "/usr/bin/qemu-system-x86_64"
) -> list[str]:
    """The command that runs a machine.

    Raises:
        VmError: the machine has what QEMU cannot do; every such thing is told.
    """
    return [binary, *words(arguments(placed, wiring))]


def arguments(placed: Placed, wiring: Wiring = NOMINAL) -> list[Argument]:
    """The arguments that run a machine, each with the key it comes from.

    Raises:
        VmError: the machine has what QEMU cannot do; every such thing is told.
    """
    faults = limits(placed)
    if faults:
        raise VmError(*faults)
    on = board(placed, wiring)
    machine = placed.machine
    return [
        argument("-nodefaults"),
        argument("-no-user-config"),
        *([argument("-sandbox", SANDBOX)] if machine.qemu.sandbox else []),
        argument("-name", options("", guest=machine.name), key="name"),
        *_identity(machine),
        argument("-machine", _machine(on), key=_machine_key(machine)),
        *_accelerator(machine, wiring),
        argument("-cpu", _cpu(machine), key=_cpu_key(machine)),
        *_processors(machine),
        *_memory(machine),
        *_habits(on),
        *_firmware(machine, wiring),
        *_kernel(machine),
        *serial(on),
        *bridges(on),
        *(one for emulation in machine.emulations for one in device(emulation, on)),
        *(_seed(on) if machine.cloud_init else []),
        *(screen(machine.graphic, on) if machine.graphic else []),
        *(_tpm(on) if machine.tpm else []),
        *control(on),
        *([argument(*machine.qemu.args, key="qemu.args")] if machine.qemu.args else []),
    ]


def _seed(on: Board) -> list[Argument]:
    """The disk that cloud-init reads."""
    from vm_run.cloud_init import disk

    shown = device(disk(on.machine, on.folder), on)
    return [replace(one, key="cloud_init") for one in shown]


def _tpm(on: Board) -> Iterable[Argument]:
    from vm_run.qemu.tpm import tpm

    return tpm(on.machine.tpm, on) if on.machine.tpm else ()


def _identity(machine: Machine) -> Iterator[Argument]:
    if machine.uuid:
        yield argument("-uuid", machine.uuid, key="uuid")
    for text in machine.qemu.smbios:
        yield argument("-smbios", text, key="qemu.smbios")


def _machine(on: Board) -> str:
    """The machine type in the user's own words, with what else of the description is said here."""
    machine = on.machine
    flashes = ["firmware", "variables"] if machine.bootrom and _has_variables(machine) else []
    flashes += [on.nodes[drive.label] for drive in drives(on, "pflash")]
    return options(
        machine.qemu.machine or _type(on),
        acpi=None if machine.generate_acpi else False,
        memory_backend="ram" if machine.qemu.hugepages else None,
        **{f"pflash{number}": node for number, node in enumerate(flashes)},
    )


def _type(on: Board) -> str:
    """q35, without its SATA controller where nothing can be on it: firmware starts 10 ms sooner."""
    used = on.machine.qemu.args or drives(on, "ide")
    return "q35" if used else "q35,sata=off"


def _machine_key(machine: Machine) -> str:
    return "qemu.machine" if machine.qemu.machine else ""


def _accelerator(machine: Machine, wiring: Wiring) -> Iterator[Argument]:
    """Nothing where the machine type's text names one already: QEMU refuses both at once."""
    if "accel=" in machine.qemu.machine:
        return
    if machine.qemu.accel:
        yield argument("-accel", machine.qemu.accel, key="qemu.accel")
    elif machine.qemu.needs_kvm:
        yield argument("-accel", "kvm", key="qemu.cpu")
    else:
        yield argument("-accel", wiring.accel)


def _cpu(machine: Machine) -> str:
    model = machine.qemu.cpu or "max"
    return f"{model},{HIDDEN}" if machine.qemu.hide_hypervisor else model


def _cpu_key(machine: Machine) -> str:
    if machine.qemu.hide_hypervisor:
        return "qemu.hide_hypervisor"
    return "qemu.cpu" if machine.qemu.cpu else ""


def _processors(machine: Machine) -> Iterator[Argument]:
    if machine.qemu.smp:
        yield argument("-smp", machine.qemu.smp, key="qemu.smp")
        return
    cpu = machine.cpu
    layout = options(str(cpu.count), sockets=cpu.sockets, cores=cpu.cores, threads=cpu.threads)
    yield argument("-smp", layout, key="cpu")


def _memory(machine: Machine) -> Iterator[Argument]:
    size = machine.mem.bytes
    shown = f"{machine.mem.mib}M" if size % MIB == 0 else f"{size}B"
    yield argument("-m", shown, key="mem")
    if machine.qemu.hugepages:
        backend = {
            "qom-type": "memory-backend-file", "id": "ram", "size": size,
            "mem-path": machine.qemu.hugepages, "share": False, "prealloc": True,
        }  # fmt: skip
        yield argument("-object", in_json(backend), key="qemu.hugepages")
    if machine.wire_guest_mem:
        yield argument("-overcommit", "mem-lock=on", key="wire_guest_mem")


def _habits(on: Board) -> Iterator[Argument]:
    """How the machine behaves: its clock, its display, what becomes of a reboot or a panic."""
    qemu = on.machine.qemu
    base = "utc" if on.machine.utc_clock else "localtime"
    yield argument("-rtc", f"base={base}", key="utc_clock")
    yield argument("-display", qemu.display or "none", key="qemu.display" if qemu.display else "")
    if qemu.vga:
        yield argument("-vga", qemu.vga, key="qemu.vga")
    yield argument("-action", "reboot=shutdown")  # the launcher starts it again
    if on.family != "microvm":
        yield plug({"driver": "pvpanic"}, key="")  # so that a panic is told from a power-off


def _has_variables(machine: Machine) -> bool:
    return machine.bootrom == "uefi" or machine.varfile is not None


def _firmware(machine: Machine, wiring: Wiring) -> Iterator[Argument]:
    if not machine.bootrom:
        return
    if not _has_variables(machine):
        yield argument("-bios", machine.bootrom, key="bootrom")
        return
    path = wiring.firmware if machine.bootrom == "uefi" else machine.bootrom
    code = Image(node="firmware", path=path, layout=format_of(path), readonly=True)
    yield blockdev(code, "bootrom")
    path = machine.varfile or f"./{machine.name}.vars.fd"
    yield blockdev(Image(node="variables", path=path, layout=format_of(path)), "varfile")


def _kernel(machine: Machine) -> Iterator[Argument]:
    if machine.kernel:
        yield argument("-kernel", machine.kernel, key="kernel")
    if machine.initrd:
        yield argument("-initrd", machine.initrd, key="initrd")
    if machine.cmdline:
        yield argument("-append", machine.cmdline, key="cmdline")
