"""What QEMU's devices are plugged into: buses, addresses, and names that are told apart."""

from __future__ import annotations

import json

from vm_run.argument import argument
from vm_run.pci_slots import BRIDGE_SLOT, SEED
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vm_run.argument import Argument
    from vm_run.pci_slots import Placed
    from vm_run.wiring import Wiring
    from vm_spec.devices import Properties
    from vm_spec.machine import Machine

__all__ = ["BUSES", "Board", "board", "bridges", "family", "given", "in_json", "plug"]

ROOTS = {"q35": "pcie.0", "pc": "pci.0", "microvm": ""}
BUSES = 8  # as many as the bridges' slot has functions
NODE_LENGTH = 31  # qemu(1), -blockdev node-name=


class Board(Value):
    """A machine of QEMU, ready for its devices.

    Attributes:
        placed: the machine and its slots.
        wiring: the host's ends.
        family: q35, pc or microvm.
        root: the name of PCI bus 0; empty for a microvm, which has none.
        nodes: label -> name of the device's block node.
        boot: label -> place in the order that firmware tries, from 1.
    """

    placed: Placed
    wiring: Wiring
    family: str
    root: str
    nodes: Mapping[str, str]
    boot: Mapping[str, int]

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.placed.machine

    @property
    def folder(self) -> str:
        """Where its sockets and logs are."""
        return self.wiring.folder(self.machine.name)

    def virtio(self, name: str) -> str:
        """The virtio device of this name: virtio-blk-pci; virtio-blk-device on a microvm."""
        return f"virtio-{name}-{'pci' if self.root else 'device'}"

    def at(self, label: str) -> dict[str, object]:
        """The id and address of a device, as -device takes them."""
        if not self.root:
            return {"id": label}
        slot = self.placed.slots[label]
        bus = f"pci.{slot.bus}" if slot.bus else self.root
        found: dict[str, object] = {
            "id": label, "bus": bus, "addr": f"{slot.slot:x}.{slot.function}"
        }  # fmt: skip
        if slot.function == 0 and (slot.bus, slot.slot) in self._shared:
            found["multifunction"] = True
        return found

    @property
    def _shared(self) -> set[tuple[int, int]]:
        """The slots of which more than function 0 is used."""
        return {(slot.bus, slot.slot) for slot in self.placed.slots.values() if slot.function}


def family(machine: Machine) -> str:
    """What a machine type is like: q35, pc or microvm."""
    kind = machine.qemu.machine.partition(",")[0].removeprefix("type=") or "q35"
    if kind.startswith(("q35", "pc-q35")):
        return "q35"
    return "microvm" if kind.startswith("microvm") else "pc"


def board(placed: Placed, wiring: Wiring) -> Board:
    """The board that a machine asks for."""
    kind = family(placed.machine)
    return Board(
        placed=placed,
        wiring=wiring,
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


def in_json(properties: Mapping[str, object]) -> str:
    """An object as -device, -object and -blockdev take it: no text in it can become an option."""
    return json.dumps(properties, ensure_ascii=False)


def given(properties: Mapping[str, object]) -> dict[str, object]:
    """Those properties that have a value: neither None nor an empty text."""
    return {name: value for name, value in properties.items() if value not in (None, "")}


def plug(properties: Mapping[str, object], further: Properties = (), *, key: str) -> Argument:
    """A -device of these properties; the further ones, the user's own, win."""
    return argument("-device", in_json({**properties, **dict(further)}), key=key)


def bridges(board: Board) -> Iterator[Argument]:
    """The bridges to the buses that are used; the first one always, or no other would be found."""
    used = board.placed.buses if board.root else []
    for bus in sorted({1, *used}) if used else []:
        yield plug(
            {
                "driver": "pci-bridge", "id": f"pci.{bus}", "chassis_nr": bus, "bus": board.root,
                "addr": f"{BRIDGE_SLOT:x}.{bus - 1}", "shpc": False, "multifunction": True,
            },
            key="emulations",
        )  # fmt: skip
