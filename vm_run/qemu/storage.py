"""Storage devices of QEMU: disks, CD-ROMs, floppies, each with its image and its controller."""

from __future__ import annotations

from vm_run.argument import argument
from vm_run.qemu.board import given, plug
from vm_run.qemu.image import blockdev, image
from vm_spec.devices import AhciCd, AhciHd, Drive, Nvme, VirtioBlk, VirtioScsi
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.board import Board
    from vm_run.qemu.image import Storage

__all__ = ["drives", "storage"]

SERIAL_LENGTH = 20  # NVM Express 1.4, 5.15.2.2, bytes 04 to 23


def storage(device: Storage, board: Board) -> Iterator[Argument]:
    """The arguments of a storage device: its image, its controllers, what the guest sees."""
    key = f"emulations ({device.label})"
    yield blockdev(image(device, board.nodes[device.label]), key)
    *controllers, shown = _parts(device, board)
    for properties in controllers:
        yield plug(properties, key=key)
    if shown:
        ends = {"drive": board.nodes[device.label], "bootindex": board.boot.get(device.label)}
        if shown["driver"] == "floppy":
            letter, number = "AB"[drives(board, "floppy").index(device)], ends.pop("bootindex")
            yield argument("-global", f"isa-fdc.bootindex{letter}={number}", key=key)
        yield plug(shown | given(ends), device.qemu, key=key)


def drives(board: Board, interface: str) -> list[Storage]:
    """The drives on one of the machine's own controllers, in order."""
    emulations = board.machine.emulations
    return [one for one in emulations if isinstance(one, Drive) and one.interface == interface]


def _parts(device: Storage, board: Board) -> list[dict[str, object]]:
    """Controllers of its own, then what the guest sees: empty if nothing of ours shows it."""
    at = board.at(device.label) if device.sits_on_pci else {}
    match device:
        case VirtioBlk():
            made = [{"driver": board.virtio("blk")} | at | _sectors(device)]
        case AhciHd() | AhciCd():
            made = [{"driver": "ich9-ahci"} | at, _sata(device)]
        case Nvme():
            made = _nvme(device, at)
        case VirtioScsi():
            shown = "scsi-cd" if device.media == "cdrom" else "scsi-hd"
            scsi = {"driver": board.virtio("scsi")}
            made = [scsi | at, {"driver": shown, "bus": f"{device.label}.0"}]
        case Drive():
            made = _drive(device, board)
        case _:
            assert_never(device)
    return made


def _sectors(disk: VirtioBlk | AhciHd) -> dict[str, object]:
    """What disks have in common: serial number, sector sizes, when a write is complete."""
    logical, physical = disk.logical_sector_size, disk.physical_sector_size
    return given(
        {
            "serial": disk.ser,
            "logical_block_size": logical,
            "physical_block_size": physical or logical,  # QEMU's own default is 512, always
            "write-cache": "off" if disk.direct else None,
        }
    )


def _sata(device: AhciHd | AhciCd) -> dict[str, object]:
    shown: dict[str, object] = {"driver": "ide-cd", "bus": f"{device.label}.0"}
    common = given({"model": device.model, "ver": device.rev, "serial": device.ser})
    if isinstance(device, AhciCd):
        return shown | common
    speed = given({"rotation_rate": device.nmrr})
    return shown | {"driver": "ide-hd"} | common | speed | _sectors(device)


def _nvme(device: Nvme, at: dict[str, object]) -> list[dict[str, object]]:
    """The controller with its disk; in two parts if the disk has an identifier of its own."""
    serial = device.ser or device.label[:SERIAL_LENGTH]
    controller = {"driver": "nvme"} | at | {"serial": serial}
    controller |= given({"max_ioqpairs": device.maxq})
    sizes = given({"logical_block_size": device.sectsz, "physical_block_size": device.sectsz})
    if device.eui64 is None:
        return [controller | sizes]
    namespace = {"driver": "nvme-ns", "bus": device.label, "eui64": device.eui64}
    return [controller, namespace | sizes]


def _drive(device: Drive, board: Board) -> list[dict[str, object]]:
    number = drives(board, device.interface).index(device)
    match device.interface:
        case "ide":
            # each port of a q35 takes one drive, each of the two channels of a pc takes two
            bus, unit = (number, 0) if board.family == "q35" else divmod(number, 2)
            shown = "ide-cd" if device.media == "cdrom" else "ide-hd"
            return [{"driver": shown, "bus": f"ide.{bus}", "unit": unit}]
        case "floppy":
            floppy: dict[str, object] = {"driver": "floppy", "unit": number}
            ours = number == 0 and board.family == "q35"  # a pc has a controller already
            return [{"driver": "isa-fdc"}, floppy] if ours else [floppy]
        case _:
            return [{}]
