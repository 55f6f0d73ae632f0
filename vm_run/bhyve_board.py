"""What bhyve is told of a machine beside its devices, and all of it together.

Untested on FreeBSD. Source: bhyve(8), OPTIONS; bhyve_config(5); amd64/bhyverun_machdep.c.
"""

from __future__ import annotations

from vm_run.bhyve_devices import emulated, passes_through
from vm_run.bhyve_settings import Setting, escaped, flawed, scalar
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vm_run.bhyve_devices import Emulated
    from vm_run.bhyve_settings import Part
    from vm_run.slots import Placed
    from vm_run.wiring import Wiring
    from vm_spec.machine import Com, Machine

__all__ = ["Whole", "whole"]

FIRMWARE = "/usr/local/share/uefi-firmware/"  # package edk2-bhyve
PAGE = 4096
MOST_CPUS = 65535  # a 16-bit number
FLAGS = (
    ("generate_acpi", "-A", "acpi_tables", "true"),
    ("wire_guest_mem", "-S", "memory.wired", "true"),
    ("yield_on_hlt", "-H", "x86.vmexit_on_hlt", "true"),
    ("force_msi", "-W", "virtio_msix", "false"),
    ("disable_mptable_gen", "-Y", "x86.mptable", "false"),
    ("utc_clock", "-u", "rtc.use_localtime", "false"),
    ("power_off_destroy_vm", "-D", "destroy_on_poweroff", "true"),
)


class Whole(Value):
    """A machine as bhyve is told of it.

    Attributes:
        before: what stands before the devices on a command line.
        devices: the bridges, then the devices in order of their slots.
        after: `-l`.
        last: what may change any of it: `-o`, the user's own arguments, and the name.
    """

    before: tuple[Setting, ...]
    devices: tuple[Emulated, ...]
    after: tuple[Setting, ...]
    last: tuple[Setting, ...]


def whole(placed: Placed, wiring: Wiring, check: Callable[[Setting], Iterable[Fault]]) -> Whole:
    """All of a placed machine.

    Args:
        placed: the machine and its slots.
        wiring: the host's ends.
        check: what the language in which it will be said cannot say.

    Raises:
        VmError: bhyve has not what the description asks for, with every fault there is.
    """
    machine = placed.machine
    devices, wrong = emulated(placed, wiring)
    faults = [*_missing(placed), *_impossible(machine)]
    after = tuple(_lpc(machine, wiring))
    last = list(_last(machine))
    faults += [part for part in last if isinstance(part, Fault)]
    faults += [fault for setting in after for fault in check(setting)]
    faults += wrong
    for one in devices:
        found = (fault for setting in one.settings for fault in check(setting))
        faults += [replace(fault, device=one.title) for fault in found]
    if faults:
        raise VmError(*faults)
    before = [*_flags(machine, passes_through(devices)), *_size(machine)]
    said = tuple(part for part in last if isinstance(part, Setting))
    return Whole(before=tuple(before), devices=tuple(devices), after=after, last=said)


def _missing(placed: Placed) -> Iterator[Fault]:
    """What bhyve has not."""
    machine = placed.machine
    for key in ("kernel", "initrd", "cmdline"):
        if getattr(machine, key):
            yield Fault(
                problem="bhyve boots no kernel directly",
                hint="boot a disk by its bootrom, or use hypervisor = qemu",
                path=(key,),
            )
    if placed.lpc.bus:
        yield Fault(
            problem="the ISA bridge can be on bus 0 only", hint='"0:31:0"', path=("lpc_slot",)
        )


def _impossible(machine: Machine) -> Iterator[Fault]:
    """Values that bhyve refuses, or takes for something else."""
    if machine.cpu.count > MOST_CPUS:
        problem = f"bhyve has at most {MOST_CPUS} processors"
        yield Fault(problem=problem, hint="cpu = 4", path=("cpu",))
    if "=" in (machine.varfile or ""):
        problem = "bhyve takes a name with = in it for an option, and the variables would be lost"
        yield Fault(problem=problem, hint="rename the file", path=("varfile",))
    if machine.mem.bytes < 1 << 20 or machine.mem.bytes % PAGE:
        yield Fault(
            problem=f"{machine.mem} is not at least 1M in steps of 4K, as bhyve needs it",
            hint="512M",
            path=("mem",),
        )
    if machine.uuid and machine.uuid.split("-")[3][0].lower() in "ef":
        yield Fault(
            problem="bhyve refuses a UUID whose fourth group begins with e or f",
            hint="uuidgen",
            path=("uuid",),
        )
    if sum(com == "stdio" for _, com in machine.coms) > 1:
        yield Fault(
            problem="stdio is the host's end of two serial ports",
            hint="nmdm for all but one",
            path=("com2",),
        )


def _flags(machine: Machine, passthru: str) -> Iterator[Setting]:
    """The options that are one letter; `passthru` is the key of a device that needs `-S`."""
    for field, flag, key, value in FLAGS:
        of = field if getattr(machine, field) else ""
        if field == "wire_guest_mem":
            of = of or passthru
        if of:
            yield Setting(keys=((key, value),), words=(flag,), of=of)


def _size(machine: Machine) -> Iterator[Setting]:
    """Processors, memory, debugger, identity."""
    cpu, count = machine.cpu, str(machine.cpu.count)
    parts = [("cpus", count)]
    if cpu.cores > 1 or cpu.threads > 1:  # a number alone means that many sockets
        parts += [(part, str(getattr(cpu, part))) for part in ("sockets", "cores", "threads")]
        count = ",".join(f"{part}={number}" for part, number in parts)
    yield Setting(keys=tuple(parts), words=("-c", count), of="cpu")
    # K: below 1 MiB a bare number would mean MiB
    memory = f"{machine.mem.bytes >> 10}K"
    yield Setting(keys=(("memory.size", memory),), words=("-m", memory), of="mem")
    if machine.gdb:
        yield Setting(keys=_gdb(machine.gdb), words=("-G", machine.gdb), of="gdb")
    if machine.uuid:
        yield Setting(keys=(("uuid", machine.uuid),), words=("-U", machine.uuid), of="uuid")


def _gdb(given: str) -> tuple[tuple[str, str], ...]:
    wait = (("gdb.wait", "true"),) if given.startswith("w") else ()
    address, _, port = given.removeprefix("w").rpartition(":")
    return (*wait, *((("gdb.address", address),) if address else ()), ("gdb.port", port))


def _lpc(machine: Machine, wiring: Wiring) -> Iterator[Setting]:
    """What hangs on the ISA bridge: the firmware and the serial ports."""
    rom, variables = machine.bootrom or f"{FIRMWARE}BHYVE_UEFI.fd", machine.varfile or ""
    if rom == "uefi":
        rom = f"{FIRMWARE}BHYVE_UEFI_CODE.fd"
        variables = variables or f"./{machine.name}.vars.fd"
    files = {"bootrom": escaped(rom)} | ({"bootvars": escaped(variables)} if variables else {})
    # bootrom is read from 15 on, lpc.bootrom before; 15 warns of the latter only when it is alone
    keys = tuple((old + key, path) for old in ("", "lpc.") for key, path in files.items())
    words = ("-l", ",".join(("bootrom", *files.values())))
    yield Setting(keys=keys, words=words, of="bootrom")
    for number, com in machine.coms:
        path = escaped(_com(machine, number, com, wiring))
        keys = ((f"lpc.com{number}.path", path),)
        yield Setting(keys=keys, words=("-l", f"com{number},{path}"), of=f"com{number}")


def _com(machine: Machine, number: int, com: Com, wiring: Wiring) -> str:
    """The host's end: bhyve has no sockets there, so a pair of nmdm(4), of which A is bhyve's."""
    if com in ("socket", "nmdm") or (com == "stdio" and not wiring.attached):
        return f"/dev/nmdm-{machine.name}.{number}A"
    return com


def _last(machine: Machine) -> Iterator[Part]:
    """The user's own keys and arguments, word for word, and the name."""
    if not machine.generate_acpi:  # bhyve of 15 makes the tables even without -A
        yield _late("acpi_tables", "false", "generate_acpi")
    for key, value in machine.bhyve.config:
        text = scalar(value)
        if flaw := flawed(key, text):
            yield Fault(problem=flaw, path=("bhyve", "config", key))
        else:
            yield _late(key, text, "bhyve.config")
    if machine.bhyve.args:
        yield Setting(words=machine.bhyve.args, of="bhyve.args")
    if machine.extra_options:
        yield Setting(words=machine.extra_options, of="extra_options")
    yield Setting(keys=(("name", machine.name),), words=(machine.name,), of="name")


def _late(key: str, text: str, of: str) -> Setting:
    return Setting(keys=((key, text),), words=("-o", f"{key}={text}"), of=of)
