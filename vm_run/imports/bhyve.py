"""A bhyve command line -> a description that gives bhyve the same configuration.

A device is in our words when these say the same again; else, like every key that has no word
here, it is in `[bhyve] config`, word for word.
"""

from __future__ import annotations

import os
import re

from vm_run.imports.bhyve_emulations import LABELS, device
from vm_run.imports.bhyve_known import devices, unread
from vm_run.imports.bhyve_model import DEFAULTS, Answer, answer, memory
from vm_run.imports.bhyve_options import options
from vm_run.imports.bhyve_same import same
from vm_run.imports.bhyve_tree import Tree, flat, get, is_true
from vm_spec.devices import Graphic
from vm_spec.fault import Fault, VmError, printable
from vm_spec.machine import (
    Bhyve,
    Com,
    Description,
    FirmwarePath,
    Gdb,
    HostBridge,
    HypervisorName,
    Machine,
    Uuid,
)
from vm_spec.value import TYPE_CHECKING
from vm_spec.words import Cpu, FilePath, Label, PciSlot, Size, VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.devices import Emulation

__all__ = ["imported"]

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
TOPOLOGY = ("cpus", "sockets", "cores", "threads")
AMD = {"pcireg.vendor": "0x1022", "pcireg.device": "0x7432"}
MOST = 1 << 20  # bytes of a file for -k
LAST = 31


def imported(argv: list[str]) -> str:
    """The description, as TOML with comments, that stands for a command line.

    Args:
        argv: the whole command line, the program first.

    Raises:
        VmError: bhyve would refuse it, or a file of `-k` cannot be read.
    """
    if not argv or not os.path.basename(argv[0]).startswith("bhyve"):
        raise VmError(
            Fault(
                problem="is no command line of bhyve's", hint="vm-run --import -- bhyve -c 2 ..."
            ),
            status=64,
        )
    try:
        found = answer(argv[1:], _text)
        if found.dumped:  # nothing was judged: as if it were to start
            told = flat(one for one in found.keys if one[0] != "config.dump")
            found = answer(["-k", "FILE"], lambda _: told)
    except VmError as refused:
        if refused.status == 66:
            raise
        said = "; ".join(str(fault).replace("\n", "; ") for fault in refused.faults)
        hint = "correct the command line first"
        raise VmError(Fault(problem=f"bhyve refuses this: {said}", hint=hint)) from None
    files = [value for letter, value in options(argv[1:])[0] if letter == "f"]
    return _Import(found, files).text()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read(MOST)
    except (OSError, UnicodeError) as error:
        problem = f"{path} cannot be read: {error}"
        raise VmError(Fault(problem=problem, hint="name the file of -k"), status=66) from None


class _Import:
    """What is being made of a configuration: keys are taken out of it until none is left."""

    def __init__(self, found: Answer, files: list[str]) -> None:
        self.notes = [f"Left out: bhyve never reads {one}" for one in found.unread]
        raw = found.tree
        tree = {key: get(raw, key) for key in raw}
        ignored = {line.partition("=")[0] for line in unread(tree)}
        self.left = {key: text for key, text in tree.items() if key not in ignored}
        self.whole = dict(self.left)
        self.args = tuple(word for value in files for word in ("-f", value))
        self.labels: dict[str, int] = {}

    def text(self) -> str:
        """The comments and the tables."""
        from vm_spec.decode import loads
        from vm_spec.encode import toml

        written = toml(Description(machine=self._machine()))
        notes = "".join(f"# {printable(note)}\n" for note in self.notes)
        loads(written)
        return f"# Imported from a bhyve command line.\n{notes}\n{written}"

    def _machine(self) -> Machine:
        fields: dict[str, object] = {"name": self._name(), "hypervisor": HypervisorName("bhyve")}
        fields |= self._size()
        fields |= self._firmware()
        fields |= self._bridges()
        for number in range(1, 5):
            fields[f"com{number}"] = self._word(f"lpc.com{number}.path", Com)
        fields["uuid"] = self._word("uuid", Uuid)
        fields["gdb"] = self._debugger()
        emulations = self._devices()
        fields["graphic"] = next((one for one in emulations if isinstance(one, Graphic)), None)
        fields["emulations"] = tuple(one for one in emulations if not isinstance(one, Graphic))
        fields["bhyve"] = Bhyve(args=self.args, config=self._rest())
        return Machine(**fields)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def _name(self) -> VmName:
        name = self.left.pop("name")
        good = re.sub("[^A-Za-z0-9_.-]", "-", name)[:64].lstrip("._-") or "vm"
        if good != name:
            self.notes.append(f"The name was {name}")
        return VmName(good)

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
        numbers = {key: int(self.left.pop(key)) for key in TOPOLOGY if key in self.left}
        if numbers.keys() == {"cpus"}:  # alone it is a number of sockets
            numbers = {"sockets": numbers["cpus"]}
        numbers.pop("cpus", None)
        flags = {
            field: is_true(self.left, key, default=default) is on
            for field, (key, default, on) in FLAGS.items()
        }
        for key, _, _ in FLAGS.values():
            self.left.pop(key, None)
        size = Size(bytes=memory(self.left.pop("memory.size")))
        return {"cpu": Cpu(**numbers), "mem": size, **flags}

    def _firmware(self) -> dict[str, object]:
        rom = self._word("bootrom", FirmwarePath)
        if rom is None and "bootrom" not in self.left:
            self.notes.append("Not carried: it had no bootrom; vm-run gives it BHYVE_UEFI.fd")
        return {"bootrom": rom, "varfile": self._word("bootvars", FilePath) if rom else None}

    def _debugger(self) -> Gdb | None:
        address, port = self.left.get("gdb.address", ""), self.left.get("gdb.port", "")
        wait = "w" if is_true(self.left, "gdb.wait") else ""
        try:
            made = Gdb(f"{wait}{address}{':' if address else ''}{port}")
        except ValueError:
            return None
        for key in ("gdb.address", "gdb.port", "gdb.wait"):
            self.left.pop(key, None)
        return made

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
        else:
            self.notes.append("Added: a host bridge in slot 0, which vm-run always gives")
        for (bus, slot, function), keys in on_bus.items():
            if keys["device"] == "lpc":
                del self.left[f"pci.{bus}.{slot}.{function}.device"]
                place = PciSlot(bus=bus, slot=slot, function=function)
                return fields | ({} if slot == LAST and not function else {"lpc_slot": place})
        self.notes.append("Added: an ISA bridge, which vm-run always gives")
        free = next(n for n in range(LAST, 0, -1) if not any(p[:2] == (0, n) for p in on_bus))
        return fields | ({} if free == LAST else {"lpc_slot": PciSlot(slot=free)})

    def _devices(self) -> list[Emulation]:
        found: list[Emulation] = []
        for place, keys in devices(self.left).items():
            kind = keys.pop("device", "")
            node = "pci.{}.{}.{}".format(*place)
            bus, slot, function = place
            label = self._label(kind)
            seen = {one.kind for one in found}
            made = _tried(kind, label, PciSlot(bus=bus, slot=slot, function=function), keys)
            if made and made.kind not in seen & {"xhci"} and same(made, node, self.whole):
                found.append(made)
                if "backend" in keys and "mac" not in keys:
                    self.notes.append(f"{label} has an address of its own, not bhyve's")
                for key in (*keys, "device"):
                    del self.left[f"{node}.{key}"]
        return found

    def _label(self, kind: str) -> Label:
        start = LABELS.get(kind, kind.removeprefix("virtio-")) or "device"
        self.labels[start] = self.labels.get(start, -1) + 1
        return Label(f"{start}{self.labels[start]}")

    def _rest(self) -> tuple[tuple[str, str], ...]:
        """What has no word of ours, as bhyve has it; `%` means itself there, too."""
        from vm_run.bhyve_settings import escaped

        return tuple(
            (key, escaped(text)) for key, text in self.left.items() if DEFAULTS.get(key) != text
        )


def _tried(kind: str, label: Label, slot: PciSlot, keys: Tree) -> Emulation | None:
    try:
        return device(kind, label, slot, keys)
    except (KeyError, ValueError):
        return None
