"""A machine in the making: keys are taken out of bhyve's configuration until none is left."""

from __future__ import annotations

import re

from vm_import.bhyve_config import is_true
from vm_import.bhyve_cpus import TOPOLOGY, shape
from vm_import.bhyve_emulations import LABELS, device, path_of
from vm_import.bhyve_known import devices
from vm_import.bhyve_memory import memory
from vm_import.bhyve_rest import settled
from vm_import.bhyve_same import same
from vm_run.bhyve.settings import escaped
from vm_spec.devices import Graphic, Nic
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.limits import MOST_EMULATIONS, WHOLE_LIMITS
from vm_spec.machine import (
    Bhyve,
    Com,
    Description,
    FirmwarePath,
    Gdb,
    HostBridge,
    HypervisorName,
    LoaderName,
    Machine,
    Tpm,
    TpmType,
    Uuid,
)
from vm_spec.types import Cpu, FilePath, Label, PciSlot, Size, VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_import.bhyve_config import Tree
    from vm_spec.devices import Emulation

__all__ = ["Making"]

# a flag of ours -> the key, what it is when it is left out, what it is when ours is true
FLAGS = {
    "generate_acpi": ("acpi_tables", True, True),
    "wire_guest_mem": ("memory.wired", False, True),
    "yield_on_hlt": ("x86.vmexit_on_hlt", False, True),
    "force_msi": ("virtio_msix", True, False),
    "disable_mptable_gen": ("x86.mptable", True, False),
    "utc_clock": ("rtc.use_localtime", True, False),
    "power_off_destroy_vm": ("destroy_on_poweroff", False, True),
}
AMD = {"pcireg.vendor": "0x1022", "pcireg.device": "0x7432"}
TPM = ("tpm.type", "tpm.path", "tpm.version", "tpm.intf", "tpm.ppi")
LAST = 31  # the slot of the ISA bridge
PATH = re.compile(r"bootrom|bootvars|tpm\.path|pci\..*\.(path|rom|play|rec)", re.DOTALL)


class Making:
    """What is being made of a configuration.

    Attributes:
        left: what is not in a word of ours yet.
        whole: all of it.
        notes: sentences for the user.
    """

    def __init__(self, tree: Tree, notes: list[str]) -> None:
        """Begins with a configuration that bhyve takes, without variables and empty texts."""
        self.left = dict(tree)
        self.whole = dict(tree)
        self.notes = notes
        self._said = {key: escaped(text) for key, text in tree.items()}
        self._labels: dict[str, int] = {}

    def description(self, args: tuple[str, ...]) -> Description:
        """The description.

        Args:
            args: arguments that have no key.

        Raises:
            VmError: there is no room for the ISA bridge, which vm-run always gives.
        """
        machine = self._machine(args)
        return Description(machine=settled(machine, self.left, self.notes))

    def _machine(self, args: tuple[str, ...]) -> Machine:
        fields: dict[str, object] = {"name": self._name(), "hypervisor": HypervisorName("bhyve")}
        self._relative()
        fields |= self._size()
        fields |= self._flags()
        firmware = self._firmware()
        loader = firmware.pop("loader", None)
        fields |= firmware
        fields |= self._bridges()
        for number in range(1, 5):
            fields[f"com{number}"] = self._word(f"lpc.com{number}.path", _com)
        fields["uuid"] = self._word("uuid", Uuid)
        fields["gdb"] = self._debugger()
        fields["tpm"] = self._tpm()
        emulations = self._devices()
        fields["graphic"] = next((one for one in emulations if isinstance(one, Graphic)), None)
        fields["emulations"] = tuple(one for one in emulations if not isinstance(one, Graphic))
        fields["bhyve"] = Bhyve(args=args, loader=loader)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return Machine(**fields)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def _name(self) -> VmName:
        name = self.left.pop("name")
        good = re.sub("[^A-Za-z0-9_.-]", "-", name)[:64].lstrip("._-") or "vm"
        if good != name:
            also = "" if "uuid" in self.left else ", and bhyve makes its UUID from the name"
            self.notes.append(f"The name was {name}{also}")
        return VmName(good)

    def _relative(self) -> None:
        """Tells of paths that start elsewhere now."""
        kinds = {place: keys["device"] for place, keys in devices(self.whole).items()}
        nets = {"pci.{}.{}.{}.path".format(*p) for p, kind in kinds.items() if kind in NETS}
        paths = [
            text
            for key, text in self.whole.items()
            if PATH.fullmatch(key) and key not in nets and not text.startswith("/")
        ]
        if paths:
            said = "Relative paths start at this file's folder, not where bhyve was started"
            self.notes.append(f"{said}: {', '.join(dict.fromkeys(paths))}")

    def _word(self, key: str, cls: Callable[[str], object]) -> object:
        """A key's text in a word of ours; None, and the key stays, if it is none."""
        try:
            made = cls(self.left[key]) if "," not in self.left[key] else None
        except (KeyError, ValueError):
            return None
        if made is not None:
            del self.left[key]
        return made

    def _size(self) -> dict[str, object]:
        size = Size(bytes=memory(self.left.pop("memory.size")))
        sockets, cores, threads = shape(self.left)
        for key in TOPOLOGY:
            self.left.pop(key, None)
        numbers = {"sockets": sockets, "cores": cores, "threads": threads}
        if all(number <= WHOLE_LIMITS[key][1] for key, number in numbers.items()):
            return {"mem": size, "cpu": Cpu(**numbers)}
        numbers["cpus"] = sockets * cores * threads  # behind the single processor of -c 1
        self.left |= {key: str(number) for key, number in numbers.items()}
        return {"mem": size}

    def _flags(self) -> dict[str, object]:
        flags: dict[str, object] = {
            field: is_true(self.left, key, default=default) is on
            for field, (key, default, on) in FLAGS.items()
        }
        for key, _, _ in FLAGS.values():
            self.left.pop(key, None)
        if "monitor" in self.left:
            if is_true(self.left, "monitor"):
                self.notes.append("Left out: -M, which vm-run gives bhyve where it is needed")
            del self.left["monitor"]
        return flags

    def _firmware(self) -> dict[str, object]:
        if "bootrom" not in self.left:
            self.notes.append(
                'It has no bootrom: loader = "bhyveload" loads a kernel before each start'
            )
            return {"loader": LoaderName("none")}
        rom = self._word("bootrom", lambda text: FirmwarePath(path_of(text)))
        # bhyve takes a word with = behind the bootrom for an option
        good = rom is not None and "=" not in self.left.get("bootvars", "")
        return {"bootrom": rom, "varfile": self._word("bootvars", path_of) if good else None}

    def _debugger(self) -> Gdb | None:
        address, port = self.left.get("gdb.address", ""), self.left.get("gdb.port", "")
        wait = "w" if is_true(self.left, "gdb.wait") else ""
        if not wait and address.startswith("w"):  # -G would take it for the letter
            return None
        try:
            made = Gdb(f"{wait}{address}{':' if address else ''}{port}")
        except ValueError:
            return None
        if not 0 < int(port) < 1 << 16:  # 0 is none to bhyve, and wrong to us
            return None
        for key in ("gdb.address", "gdb.port", "gdb.wait"):
            self.left.pop(key, None)
        return made

    def _tpm(self) -> Tpm | None:
        """The host's own TPM; that of an swtpm somebody else runs stays as it is."""
        kind, path = self.left.get("tpm.type"), self.left.get("tpm.path", "")
        if kind == "swtpm":
            self.notes.append(f"Its TPM is the swtpm that listens at {path}: start it before")
            self.notes.append("vm-run starts one itself for [tpm] with path = its state's folder")
        made = self._word("tpm.path", path_of) if kind == "passthru" else None
        if not isinstance(made, FilePath):
            return None
        for key in TPM:
            self.left.pop(key, None)
        return Tpm(type=TpmType("passthru"), path=made)

    def _bridges(self) -> dict[str, object]:
        """The two bridges, which vm-run gives to every machine."""
        on_bus = devices(self.whole)
        fields: dict[str, object] = {}
        bridge = on_bus.get((0, 0, 0), {})
        if bridge.get("device") == "hostbridge":
            del self.left["pci.0.0.0.device"]
            if AMD.items() <= bridge.items():
                fields["hostbridge"] = HostBridge("amd_hostbridge")
                for key in AMD:
                    del self.left[f"pci.0.0.0.{key}"]
        elif not bridge:
            self.notes.append("Added: a host bridge in slot 0, which vm-run always gives")
        return fields | self._isa_bridge(on_bus)

    def _isa_bridge(self, on_bus: dict[tuple[int, int, int], Tree]) -> dict[str, object]:
        for (bus, slot, function), keys in on_bus.items():
            if keys["device"] == "lpc":
                if (bus, slot, function) == (0, 0, 0):
                    problem = "slot 0 has an lpc, and vm-run gives each machine a host bridge there"
                    raise VmError(Fault(problem=problem, hint="-s 31,lpc is the usual place"))
                del self.left[f"pci.{bus}.{slot}.{function}.device"]
                place = PciSlot(bus=bus, slot=slot, function=function)
                return {} if slot == LAST and not function else {"lpc_slot": place}
        self.notes.append("Added: an ISA bridge, which vm-run always gives")
        used = {slot for bus, slot, _ in on_bus if not bus}
        free = max({*range(1, LAST + 1)} - used, default=None)
        if free is None:
            problem = "bus 0 is full, and vm-run gives each machine an ISA bridge"
            raise VmError(Fault(problem=problem, hint="give one device another bus: -s 1:0:0,..."))
        return {} if free == LAST else {"lpc_slot": PciSlot(slot=free)}

    def _devices(self) -> list[Emulation]:
        found: list[Emulation] = []
        for place, keys in [*devices(self.left).items()][:MOST_EMULATIONS]:
            kind = keys.pop("device", "")
            node = "pci.{}.{}.{}".format(*place)
            bus, slot, function = place
            label = self._label(kind)
            made = _tried(kind, label, PciSlot(bus=bus, slot=slot, function=function), keys)
            if made and _fits(made, found) and same(made, node, self._said):
                found.append(made)
                for key in (*keys, "device"):
                    del self.left[f"{node}.{key}"]
        return found

    def _label(self, kind: str) -> Label:
        start = LABELS.get(kind, kind.removeprefix("virtio-")) or "device"
        self._labels[start] = self._labels.get(start, -1) + 1
        return Label(f"{start}{self._labels[start]}")


NETS = ("virtio-net", "e1000")


def _com(text: str) -> Com:
    """A serial port's end; `socket` and `nmdm` are words of ours, and files to bhyve."""
    if text != "stdio" and not text.startswith("/"):
        raise ValueError
    return Com(text)


def _fits(made: Emulation, found: list[Emulation]) -> bool:
    """Whether a description takes a device beside others: one xhci, each port of the host once."""
    if made.kind == "xhci" and any(one.kind == "xhci" for one in found):
        return False
    ports = [port for one in (*found, made) for port in _ports(one)]
    return len(ports) == len(set(ports)) or not _ports(made)


def _ports(device: Emulation) -> list[tuple[str, str, int]]:
    """The host's ports that a card forwards."""
    forward = device.forward if isinstance(device, Nic) else ()
    return [(one.protocol, one.address, one.port) for one in forward]


def _tried(kind: str, label: Label, slot: PciSlot, keys: Tree) -> Emulation | None:
    try:
        return device(kind, label, slot, keys)
    except (KeyError, ValueError):
        return None
