"""Storage devices of QEMU: disks, CD-ROMs, floppies, each with its image and its controller.

A path is taken as it is written, and a format is never guessed: a guest that writes a qcow2 header
into its raw disk still has a raw disk at its next start.
"""

from __future__ import annotations

from vm_run.host import requirements
from vm_run.qemu.bus import Row, filled, plug, refuse, to_json
from vm_spec.devices import Drive, VirtioBlk, format_of
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_run.host.requirements import Requirement
    from vm_run.qemu.bus import Bus, Problem
    from vm_spec.devices import AhciCd, AhciHd, Nvme, VirtioScsi

    Storage = VirtioBlk | AhciHd | AhciCd | Nvme | VirtioScsi | Drive

OPTICAL = ("/dev/sr", "/dev/cdrom", "/dev/dvd")
FILES = "/dev/shm/"  # noqa: S108  the one directory there that holds ordinary files
SERIAL_LENGTH = 20  # NVM Express 1.4, 5.15.2.2, bytes 04 to 23


class Image(Value):
    """A file or block device of the host, as a block node.

    Attributes:
        path: where it is.
        layout: its format.
        readonly: it is never written.
        uncached: the host's page cache is bypassed.
        trims: deallocation by the guest is passed to the host.
        cdrom: it is a read-only medium, which is never created empty.
    """

    path: str
    layout: str = "raw"
    readonly: bool = False
    uncached: bool = False
    trims: bool = True
    cdrom: bool = False


def blockdev(image: Image, node: str) -> tuple[str, str]:
    """The -blockdev of an image: the node of its format, with its file's inside."""
    protocol = _protocol(image.path)
    uncached = image.uncached or protocol == "host_device"
    shared: dict[str, object] = {"read-only": image.readonly}
    if uncached:
        shared["cache"] = {"direct": True}
    file: dict[str, object] = {
        "driver": protocol, "filename": image.path, "aio": "native" if uncached else "threads"
    }  # fmt: skip
    outer: dict[str, object] = {"driver": image.layout, "node-name": node}
    if image.trims and not image.readonly:
        outer["discard"] = "unmap"
    return "-blockdev", to_json(outer | shared | {"file": file | shared})


def _protocol(path: str) -> str:
    """The block driver of QEMU for a path."""
    if path.startswith(OPTICAL):
        return "host_cdrom"
    return "host_device" if path.startswith("/dev/") and not path.startswith(FILES) else "file"


def virtio_blk(device: VirtioBlk, bus: Bus) -> Row:
    """A virtio disk."""
    disk = {"driver": bus.virtio("blk")} | bus.at(device.label) | _sectors(device)
    return _row(device, bus, _disk_image(device), disk)


def ahci_hd(device: AhciHd, bus: Bus) -> Row:
    """A SATA disk behind a controller of its own."""
    odd, hint = device.logical_sector_size not in (None, 512), "use virtio-blk"
    problems = refuse(
        (device.ro, "ro", "a SATA disk of QEMU is always writable", hint),
        (odd, "logical_sector_size", "a SATA disk of QEMU has sectors of 512", hint),
    )
    speed = filled(rotation_rate=device.nmrr)
    disk = _sata("ide-hd", device) | speed | _sectors(device)
    return _row(device, bus, _disk_image(device), _ahci(device, bus), disk, problems=problems)


def ahci_cd(device: AhciCd, bus: Bus) -> Row:
    """A SATA CD-ROM drive behind a controller of its own."""
    fast = device.nmrr is not None
    problems = refuse((fast, "nmrr", "a CD-ROM of QEMU has no rotation rate", "take it away"))
    image = Image(path=device.path, readonly=True, cdrom=True)
    shown = _sata("ide-cd", device)
    return _row(device, bus, image, _ahci(device, bus), shown, problems=problems)


def nvme(device: Nvme, bus: Bus) -> Row:
    """An NVMe drive: the controller with its disk; two parts if the disk has its own identifier."""
    if device.path is None or device.ram:
        problem = "a drive of memory exists on bhyve only"
        return Row(problems=(("ram", problem, "give it a path"),), owns_bus=True)
    layout = device.format or format_of(device.path)
    image = Image(path=device.path, layout=layout, trims=device.dsm != "disable")
    serial = device.ser or device.label[:SERIAL_LENGTH]
    controller = {"driver": "nvme"} | bus.at(device.label) | {"serial": serial}
    controller |= filled(max_ioqpairs=device.maxq)
    sizes = filled(logical_block_size=device.sectsz, physical_block_size=device.sectsz)
    if device.eui64 is None:
        return _row(device, bus, image, controller | sizes)
    namespace = {"driver": "nvme-ns", "bus": device.label, "eui64": device.eui64}
    return _row(device, bus, image, controller, namespace | sizes)


def virtio_scsi(device: VirtioScsi, bus: Bus) -> Row:
    """A virtio SCSI controller with one disk or CD-ROM."""
    problem = "is a CAM target layer device, which exists on FreeBSD only"
    problems = refuse((device.path.startswith("/dev/cam/"), "path", problem, "use an image"))
    cdrom = device.media == "cdrom"
    layout = device.format or format_of(device.path)
    image = Image(path=device.path, layout=layout, readonly=device.ro or cdrom, cdrom=cdrom)
    controller = {"driver": bus.virtio("scsi")} | bus.at(device.label)
    shown = {"driver": "scsi-cd" if cdrom else "scsi-hd", "bus": f"{device.label}.0"}
    return _row(device, bus, image, controller, shown, problems=problems)


def drive(device: Drive, bus: Bus) -> Row:
    """A drive on one of the machine's own controllers."""
    cdrom = device.media == "cdrom"
    hosts_own = device.interface == "pflash" and device.path.startswith("/usr/")
    image = Image(
        path=device.path, layout=device.format or "raw", uncached=device.nocache,
        readonly=cdrom or hosts_own, cdrom=cdrom,
    )  # fmt: skip
    number = drives(bus, device.interface).index(device)
    match device.interface:
        case "ide":
            # each port of a q35 takes one drive, each of the two channels of a pc takes two
            channel, unit = (number, 0) if bus.family == "q35" else divmod(number, 2)
            shown = "ide-cd" if cdrom else "ide-hd"
            part = {"driver": shown, "bus": f"ide.{channel}", "unit": unit}
            return _row(device, bus, image, part)
        case "floppy":
            return _floppy(device, bus, image, number)
        case _:  # pflash is the machine's; none is attached by `[qemu] args`
            return _row(device, bus, image)


def drives(bus: Bus, interface: str) -> list[Drive]:
    """The drives on one of the machine's own controllers, in order."""
    of_board = [device for device in bus.machine.emulations if isinstance(device, Drive)]
    return [drive for drive in of_board if drive.interface == interface]


def _floppy(device: Drive, bus: Bus, image: Image, number: int) -> Row:
    """A floppy, whose place in the boot order is a property of the controller."""
    needs_controller = number == 0 and bus.family == "q35"  # a pc has one already
    node, order = bus.nodes[device.label], f"isa-fdc.bootindex{'AB'[number % 2]}"
    floppy = {"driver": "floppy", "unit": number, "drive": node}
    return Row(
        argv=(
            blockdev(image, node),
            *([plug({"driver": "isa-fdc"})] if needs_controller else []),
            ("-global", f"{order}={bus.boot.get(device.label)}"),
            plug(floppy, device.qemu),
        ),
        needs=(_need(image),),
    )


def _row(
    device: Storage, bus: Bus, image: Image, *parts: Mapping[str, object],
    problems: tuple[Problem, ...] = (),
) -> Row:  # fmt: skip
    """The row of an image and of what shows it: controllers, then what the guest sees."""
    node = bus.nodes[device.label]
    argv = [blockdev(image, node), *map(plug, parts[:-1])]
    if parts:
        end = filled(drive=node, bootindex=bus.boot.get(device.label))
        argv.append(plug({**parts[-1], **end}, device.qemu))
    return Row(
        argv=tuple(argv),
        needs=(_need(image),),
        problems=problems,
        owns_bus=not isinstance(device, VirtioBlk | Drive),
    )


def _need(image: Image) -> Requirement:
    if image.cdrom:
        return requirements.File(path=image.path)
    return requirements.image(image.path, image.layout, write=not image.readonly)


def _disk_image(disk: VirtioBlk | AhciHd) -> Image:
    return Image(
        path=disk.path, layout=disk.image_format, readonly=disk.ro, uncached=disk.nocache,
        trims=not disk.nodelete,
    )  # fmt: skip


def _sectors(disk: VirtioBlk | AhciHd) -> dict[str, object]:
    """What disks have in common: serial number, sector sizes, when a write is complete."""
    logical, physical = disk.logical_sector_size, disk.physical_sector_size
    sizes = filled(
        serial=disk.ser,
        logical_block_size=logical,
        physical_block_size=physical or logical,  # QEMU's own default is 512, always
    )
    return sizes | ({"write-cache": "off"} if disk.direct else {})


def _ahci(device: AhciHd | AhciCd, bus: Bus) -> dict[str, object]:
    return {"driver": "ich9-ahci"} | bus.at(device.label)


def _sata(driver: str, device: AhciHd | AhciCd) -> dict[str, object]:
    identity = filled(model=device.model, ver=device.rev, serial=device.ser)
    return {"driver": driver, "bus": f"{device.label}.0"} | identity
