"""Which PCI slot each device sits in.

Two laws hold, and tests keep them: adding a device of one class never moves a device of another
class, and selecting a target never moves a device of the base. vm.toml(5), SLOTS, has the bands.
"""

from __future__ import annotations

from vm_spec.devices import Drive
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.targets import select
from vm_spec.types import PciSlot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import NoReturn

    from vm_spec.devices import Emulation
    from vm_spec.machine import Description, Machine

__all__ = ["BRIDGE_SLOT", "BUSES", "SEED", "Placed", "place"]

BANDS = {
    "storage": range(2, 10),
    "network": range(10, 18),
    "passthrough": range(18, 22),
    "other": range(22, 28),
}
SEED = "cloud-init"  # the label of its disk
GRAPHIC, TABLET = PciSlot(slot=28), PciSlot(slot=29)
BRIDGE_SLOT = 30  # its eight functions lead to buses 1 to 8 on QEMU; bhyve needs no bridges
BUSES = 9
HOST_BRIDGE, LPC = PciSlot(slot=0), PciSlot(slot=31)


class Placed(Value):
    """A machine whose devices have their slots.

    Attributes:
        machine: as it was selected.
        slots: label -> slot, for each device that sits on a PCI bus; `graphic`, `tablet` and
            `cloud-init` too.
        lpc: where bhyve's ISA bridge sits.
        boot: labels of the devices that firmware tries, first to last: what a target adds comes
            before what the base has, so that an installer boots while its medium is attached.
    """

    machine: Machine
    slots: Mapping[str, PciSlot]
    lpc: PciSlot
    boot: tuple[str, ...]

    @property
    def buses(self) -> list[int]:
        """The buses beside bus 0 that are used, in order."""
        return sorted({slot.bus for slot in self.slots.values()} - {0})


def place(description: Description, machine: Machine) -> Placed:
    """Gives each device of a selected machine its slot.

    Raises:
        VmError: two devices claim one slot, or no slot is left.
    """
    reserved = _reserved(description)
    base = _on_pci(description.machine.emulations)
    targets = [_on_pci(target.emulations) for target in description.targets]
    pinned = {d.slot for devices in [base, *targets] for d in devices if d.slot}
    everywhere = _assign(base, pinned | reserved)
    taken = pinned | reserved | set(everywhere.values())
    slots = _select(machine, everywhere, taken)
    board = _board(machine)
    if machine.cloud_init:
        board[SEED] = _place_cloud_init(description, everywhere, taken)
    _refuse_conflicts(machine, slots, board)
    shown = {label: board[label] for label in ("graphic", "tablet", SEED) if label in board}
    return Placed(
        machine=machine, slots=slots | shown, lpc=board["lpc"], boot=_boot(description, machine)
    )


def _board(machine: Machine) -> dict[str, PciSlot]:
    """What sits on the board itself."""
    board = {"hostbridge": HOST_BRIDGE, "lpc": machine.lpc_slot or LPC}
    if machine.graphic:
        board["graphic"] = machine.graphic.slot or GRAPHIC
        if machine.graphic.xhci_table:
            board["tablet"] = TABLET
    return board


def _reserved(description: Description) -> set[PciSlot]:
    """What is on the board of the base or of any target, so that no choice moves the base."""
    machines = [select(description, target.name) for target in description.targets]
    boards = map(_board, [description.machine, *machines])
    return {slot for board in boards for slot in board.values()}


def _on_pci(devices: Iterable[Emulation]) -> list[Emulation]:
    return [device for device in devices if device.sits_on_pci]


def _select(
    machine: Machine, base: Mapping[str, PciSlot], taken: set[PciSlot]
) -> dict[str, PciSlot]:
    """The slots of a selected machine's devices.

    What replaces a device of the base without naming a slot inherits its slot; what a target adds
    is past what is taken.
    """
    devices = _on_pci(machine.emulations)
    slots = {device.label: device.slot or base[device.label] for device in devices
             if device.label in base}  # fmt: skip
    return slots | _assign([device for device in devices if device.label not in slots], taken)


def _assign(devices: list[Emulation], taken: set[PciSlot]) -> dict[str, PciSlot]:
    """Explicit slots as they are; the rest by band, in order, past what is taken."""
    lanes = {band: _free(numbers, taken) for band, numbers in BANDS.items()}
    slots: dict[str, PciSlot] = {}
    for device in devices:
        slot = device.slot or next(lanes[device.band], None)
        slots[device.label] = slot or _refuse(device.band, f"{device.kind} {device.label}")
    return slots


def _place_cloud_init(
    description: Description, base: Mapping[str, PciSlot], taken: set[PciSlot]
) -> PciSlot:
    """The last storage slot that no target's device needs.

    So it moves nothing, and a guest that counts its disks counts it last.
    """
    machines = (select(description, target.name) for target in description.targets)
    used = taken.union(*(_select(machine, base, taken).values() for machine in machines))
    return next(_free(BANDS["storage"][::-1], used), None) or _refuse("storage", SEED)


def _free(numbers: range, taken: set[PciSlot]) -> Iterator[PciSlot]:
    """The free slots of a band, on bus 0 and then on the buses behind it.

    A slot of which any function is taken is not free: a guest finds a device by function 0.
    """
    used = {(slot.bus, slot.slot) for slot in taken}
    for bus in range(BUSES):
        for slot in numbers:
            if (bus, slot) not in used:
                yield PciSlot(bus=bus, slot=slot)


def _refuse(band: str, device: str) -> NoReturn:
    problem = f"has no slot: all {BUSES * len(BANDS[band])} slots for {band} devices are taken"
    hint = "take devices away, or give some a slot of their own"
    raise VmError(Fault(problem=problem, hint=hint, device=device))


def _refuse_conflicts(
    machine: Machine, slots: Mapping[str, PciSlot], board: Mapping[str, PciSlot]
) -> None:
    names: dict[str, str] = {
        device.label: f"{device.kind} {device.label}" for device in machine.emulations
    }
    claims = [*board.items(), *_bridges(machine, slots)]
    claims += [(names[label], slot) for label, slot in slots.items()]
    holders: dict[PciSlot, str] = {}
    faults: list[Fault] = []
    for name, slot in claims:
        if slot in holders:
            problem = f"slot {slot} is also claimed by {holders[slot]}"
            hint = "give one of them another slot, or leave it out to have one chosen"
            faults.append(Fault(problem=problem, hint=hint, device=name))
        holders.setdefault(slot, name)
    if faults:
        raise VmError(*faults)


def _bridges(machine: Machine, slots: Mapping[str, PciSlot]) -> Iterator[tuple[str, PciSlot]]:
    """What leads to the buses that are used; the first bridge always, or no other is found."""
    used = {slot.bus for slot in slots.values()} & set(range(1, BUSES))
    for bus in sorted({1, *used}) if used and machine.hypervisor != "bhyve" else []:
        yield f"the bridge to bus {bus}", PciSlot(slot=BRIDGE_SLOT, function=bus - 1)


def _boot(description: Description, machine: Machine) -> tuple[str, ...]:
    """Storage devices in the order firmware tries them: the target's own first."""
    of_base = set(description.machine.emulations)
    disks = [
        device
        for device in machine.emulations
        if device.band == "storage"
        and not (isinstance(device, Drive) and device.interface in ("pflash", "none"))
    ]
    return tuple(device.label for device in sorted(disks, key=lambda device: device in of_base))
