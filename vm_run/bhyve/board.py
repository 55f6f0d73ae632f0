"""What bhyve is told of a machine beside its devices, and all of it together.

Untested on FreeBSD. Source: bhyve(8), OPTIONS; bhyve_config(5); amd64/bhyverun_machdep.c.
"""

from __future__ import annotations

from vm_run.bhyve.devices import emulated
from vm_run.bhyve.limits import beyond
from vm_run.bhyve.lpc import isa, lacking
from vm_run.bhyve.passthru import passes_through
from vm_run.bhyve.settings import Setting, as_options, flawed, is_secret, scalar
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vm_run.bhyve.emulated import Emulated
    from vm_run.bhyve.settings import Part
    from vm_run.pci_slots import Placed
    from vm_run.resources import Resources
    from vm_spec.machine import Machine

__all__ = ["Whole", "whole"]

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

    def secrets(self) -> Iterator[tuple[str, str]]:
        """The keys that stand in a file only, with their values."""
        for device in self.devices:
            yield from device.secrets()
        for setting in self.last:
            yield from setting.keys if setting.secret else ()

    @property
    def secret_of(self) -> str:
        """The description's key that the first of them comes from; empty when there is none."""
        devices = (one.of for one in self.devices for _ in one.secrets())
        found = next(devices, "") or next((one.of for one in self.last if one.secret), "")
        return "graphic.password" if found == "graphic" else found


def whole(
    placed: Placed, resources: Resources, check: Callable[[Setting], Iterable[Fault]]
) -> Whole:
    """All of a placed machine.

    Args:
        placed: the machine and its slots.
        resources: the host's resources.
        check: what the language in which it will be said cannot say.

    Raises:
        VmError: bhyve has not what the description asks for, with every fault there is.
    """
    machine = placed.machine
    devices, wrong = emulated(placed, resources)
    last = list(_last(machine))
    told = Whole(
        before=(*_flags(machine, resources, passes_through(devices)), *_size(machine)),
        devices=tuple(devices),
        after=tuple(isa(machine, resources)),
        last=tuple(part for part in last if isinstance(part, Setting)),
    )
    faults = [*_missing(placed), *_impossible(machine), *lacking(machine)]
    faults += [part for part in last if isinstance(part, Fault)]
    faults += wrong
    faults += _unsaid(told, check)
    if not faults and _has_own(machine):
        from vm_run.bhyve.judgement import judged

        faults += judged(told.devices, _keys(told), machine)
    if faults:
        raise VmError(*faults)
    return told


def _has_own(machine: Machine) -> bool:
    """Whether there are keys or words of the user's own."""
    listed = any(one.bhyve or one.kind == "raw" for one in machine.emulations)
    return bool(listed or machine.bhyve.config or (machine.graphic and machine.graphic.bhyve))


def _keys(told: Whole) -> list[tuple[str, str]]:
    keys = [key for one in told.before for key in one.keys]
    keys += [(one.node + key, text) for one in told.devices for key, text in one.keys]
    return [*keys, *(key for one in (*told.after, *told.last) for key in one.keys)]


def _unsaid(told: Whole, check: Callable[[Setting], Iterable[Fault]]) -> Iterator[Fault]:
    """What cannot be said in a language, and numbers and texts beyond bhyve's limits."""
    for setting in (*told.after, *told.last):
        yield from check(setting)
    for setting in (*told.before, *told.after, *told.last):
        path = ("bhyve", "config") if setting.of == "bhyve.config" else ()
        found = (fault for key, text in setting.keys for fault in beyond("", key, text))
        yield from (replace(fault, path=path) for fault in found)
    for device in told.devices:
        kind = device.kind
        said = (*device.settings, Setting(keys=device.read))
        wrong = [fault for setting in said for fault in check(setting)]
        wrong += [fault for key, text in device.keys for fault in beyond(kind, key, text)]
        yield from (replace(fault, device=device.title) for fault in wrong)


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
    if machine.mem.bytes < 1 << 20 or machine.mem.bytes % PAGE:
        yield Fault(
            problem=f"{machine.mem} is not at least 1M in steps of 4K, as bhyve needs it",
            hint="512M",
            path=("mem",),
        )
    port = int((machine.gdb or "1").rpartition(":")[2].removeprefix("w"))
    if not 0 < port < 1 << 16:
        problem = f"{port} is not a port: 1 to 65535"
        yield Fault(problem=problem, hint='gdb = "127.0.0.1:1234"', path=("gdb",))
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


def _flags(machine: Machine, resources: Resources, passthru: str) -> Iterator[Setting]:
    """The options that are one letter; `passthru` is the key of a device that needs `-S`."""
    if resources.monitor:
        yield Setting(keys=(("monitor", "true"),), words=("-M",))
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
    memory = str(machine.mem)  # with its unit: a bare number below 1 MiB would mean MiB
    yield Setting(keys=(("memory.size", memory),), words=("-m", memory), of="mem")
    if machine.gdb:
        yield Setting(keys=_gdb(machine.gdb), words=("-G", machine.gdb), of="gdb")
    if machine.uuid:
        yield Setting(keys=(("uuid", machine.uuid),), words=("-U", machine.uuid), of="uuid")


def _gdb(given: str) -> tuple[tuple[str, str], ...]:
    wait = (("gdb.wait", "true"),) if given.startswith("w") else ()
    address, _, port = given.removeprefix("w").rpartition(":")
    return (*wait, *((("gdb.address", address),) if address else ()), ("gdb.port", port))


def _last(machine: Machine) -> Iterator[Part]:
    """The user's own keys and arguments, word for word, and the name."""
    if not machine.generate_acpi:  # bhyve of 15 makes the tables even without -A
        yield _late("acpi_tables", "false", "generate_acpi")
    for key, value in machine.bhyve.config:
        text = scalar(value)
        if flaw := flawed(key, text):
            problem, hint = flaw
            yield Fault(problem=problem, hint=hint, path=("bhyve", "config", key))
        else:
            yield _late(key, text, "bhyve.config")
    if machine.bhyve.args:
        yield Setting(words=machine.bhyve.args, of="bhyve.args")
    if machine.extra_options:
        yield Setting(words=machine.extra_options, of="extra_options")
    yield Setting(keys=(("name", machine.name),), words=(machine.name,), of="name")


def _late(key: str, text: str, of: str) -> Setting:
    keys = ((key, text),)
    return Setting(keys=keys, words=as_options(keys), of=of, secret=is_secret(key))
