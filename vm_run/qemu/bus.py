"""Where QEMU's devices are plugged in: buses, addresses, unique names; what a device is to QEMU."""

from __future__ import annotations

import json

from vm_run.argument import argument
from vm_run.pci_slots import BRIDGE_SLOT, SEED
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vm_run.argument import Argument
    from vm_run.host.requirements import Requirement
    from vm_run.pci_slots import Placed
    from vm_run.resources import Resources
    from vm_spec.devices import Device, Properties
    from vm_spec.machine import Machine
    from vm_spec.types import PciSlot

    Problem = tuple[str, str, str]  # key, what is wrong with it, the next step

ROOTS = {"q35": "pcie.0", "pc": "pci.0", "microvm": ""}
BUSES = 8  # as many as the bridges' slot has functions
NODE_LENGTH = 31  # qemu(1), -blockdev node-name=


class Row(Value):
    """What one device of a description is to QEMU.

    Attributes:
        argv: options of qemu(1), each with its value.
        needs: what the host must have for it.
        problems: what of it QEMU cannot do.
        owns_bus: whether it brings a bus of its own, named by its label.
    """

    argv: tuple[tuple[str, str], ...] = ()
    needs: tuple[Requirement, ...] = ()
    problems: tuple[Problem, ...] = ()
    owns_bus: bool = False


class Bus(Value):
    """The buses of a machine, ready for its devices.

    Attributes:
        placed: the machine and its slots.
        resources: the host's resources.
        family: q35, pc or microvm.
        root: the name of PCI bus 0; empty for a microvm, which has none.
        nodes: label -> name of the device's block node.
        boot: label -> place in the order that firmware tries, from 1.
    """

    placed: Placed
    resources: Resources
    family: str
    root: str
    nodes: Mapping[str, str]
    boot: Mapping[str, int]

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.placed.machine

    @property
    def directory(self) -> str:
        """The state directory, of its sockets and logs."""
        return self.resources.directory(self.machine.name)

    def virtio(self, name: str) -> str:
        """The virtio device of this name: virtio-blk-pci; virtio-blk-device on a microvm."""
        return f"virtio-{name}-{'pci' if self.root else 'device'}"

    def at(self, label: str) -> dict[str, object]:
        """The id and address of a device, as -device takes them."""
        if not self.root:
            return {"id": label}
        slot = self.placed.slots[label]
        bus = f"pci.{slot.bus}" if slot.bus else self.root
        address: dict[str, object] = {
            "id": label, "bus": bus, "addr": f"{slot.slot:x}.{slot.function}"
        }  # fmt: skip
        if slot.function == 0 and self.is_shared(slot):
            address["multifunction"] = True
        return address

    def device(self, device: Device, driver: str, **properties: object) -> tuple[str, str]:
        """The -device of a driver in a device's slot; the device's own `qemu` table wins."""
        return plug({"driver": driver} | self.at(device.label) | properties, device.qemu)

    def is_shared(self, place: PciSlot) -> bool:
        """Whether another function than 0 of a slot is used."""
        slots = self.placed.slots.values()
        return any((s.bus, s.slot) == (place.bus, place.slot) and s.function for s in slots)


def family(machine: Machine) -> str:
    """What a machine type is like: q35, pc or microvm."""
    kind = machine.qemu.machine.partition(",")[0].removeprefix("type=") or "q35"
    if kind.startswith(("q35", "pc-q35")):
        return "q35"
    return "microvm" if kind.startswith("microvm") else "pc"


def plan(placed: Placed, resources: Resources) -> Bus:
    """The buses that a machine has."""
    kind = family(placed.machine)
    return Bus(
        placed=placed,
        resources=resources,
        family=kind,
        root=ROOTS[kind],
        nodes=_nodes(_labels(placed.machine)),
        boot=_boot(placed),
    )


def _labels(machine: Machine) -> list[str]:
    labels: list[str] = [device.label for device in machine.emulations]
    return [*labels, SEED] if machine.cloud_init else labels


def _nodes(labels: list[str]) -> dict[str, str]:
    """Names for block nodes: the label, or a short form of it that no other device has."""
    taken = {"firmware", "variables", *(label for label in labels if len(label) <= NODE_LENGTH)}
    named: dict[str, str] = {}
    for number, label in enumerate(labels):
        name = label
        if len(label) > NODE_LENGTH or label in ("firmware", "variables"):
            name = f"{label[:20]}.{number}"
            while name in taken:
                name += "-"
            taken.add(name)
        named[label] = name
    return named


def _boot(placed: Placed) -> dict[str, int]:
    """Numbers for bootindex=, past those that devices' own `qemu` tables name."""
    own = [dict(device.qemu).get("bootindex") for device in placed.machine.emulations]
    numbers = (number for number in range(1, 10000) if number not in own)
    return dict(zip(placed.boot, numbers, strict=False))


def to_json(properties: Mapping[str, object]) -> str:
    """An object as -device, -object and -blockdev take it: no string in it becomes an option."""
    return json.dumps(properties, ensure_ascii=False)


def filled(**properties: object) -> dict[str, object]:
    """The properties that have a value, neither None nor empty."""
    return {name: value for name, value in properties.items() if value not in (None, "")}


def plug(properties: Mapping[str, object], own: Properties = ()) -> tuple[str, str]:
    """A -device of these properties; the user's own win."""
    return "-device", to_json({**properties, **dict(own)})


def refuse(*rules: tuple[object, str, str, str]) -> tuple[Problem, ...]:
    """The problems whose condition holds.

    Args:
        rules: (condition, key, what is wrong with it, the next step).
    """
    return tuple(rule[1:] for rule in rules if rule[0])


def bridges(bus: Bus) -> Iterator[Argument]:
    """The bridges to the buses that are used; the first one always, or no other would be found."""
    used = bus.placed.buses if bus.root else []
    for number in sorted({1, *used}) if used else []:
        bridge = plug(
            {
                "driver": "pci-bridge", "id": f"pci.{number}", "chassis_nr": number,
                "bus": bus.root, "addr": f"{BRIDGE_SLOT:x}.{number - 1}", "shpc": False,
                "multifunction": True,
            }
        )  # fmt: skip
        yield argument(*bridge, key="emulations")
