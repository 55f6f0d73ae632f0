"""What bhyve is told of each storage device.

Untested on FreeBSD. Source: bhyve(8), Block storage device backends; bhyve_config(5).
"""

from __future__ import annotations

from vm_run.bhyve.settings import below, first, given, named
from vm_spec.devices import AhciCd, AhciHd, Drive, Nvme, VirtioBlk, VirtioScsi, format_of
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, assert_never, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.settings import Part
    from vm_spec.devices import Disk

__all__ = ["Storage", "storage"]

Storage = VirtioBlk | AhciHd | AhciCd | Nvme | VirtioScsi | Drive


def storage(device: Storage) -> Iterator[Part]:
    """The settings of a storage device, and what bhyve has not."""
    match device:
        case VirtioBlk():
            yield from _raw_only(device.path, device.image_format)
            yield first("path", value=device.path)
            yield from _block(device)
        case AhciHd() | AhciCd():
            yield from _ahci(device)
        case Nvme():
            yield from _nvme(device)
        case VirtioScsi():
            yield from _scsi(device)
        case Drive():
            yield Fault(
                problem="is a drive of a QEMU machine; bhyve has none",
                hint=f"use {'ahci-cd' if device.media == 'cdrom' else 'virtio-blk or ahci-hd'}",
            )
        case _:
            assert_never(device)


def _raw_only(path: str, form: str) -> Iterator[Fault]:
    if form != "raw":
        stem = path.removesuffix(f".{form}")
        yield Fault(
            problem=f"{path!r} is {form}, and bhyve reads raw images only",
            hint=f"qemu-img convert -O raw {path} {stem}.raw",
        )


def _block(disk: Disk) -> Iterator[Part]:
    """What virtio-blk and ahci-hd share."""
    sector, physical = disk.logical_sector_size, disk.physical_sector_size
    yield from given(
        nocache=disk.nocache,
        direct=disk.direct,
        ro=disk.ro,
        nodelete=disk.nodelete,
        sectorsize=f"{sector or 512}/{physical}" if physical else sector,
        ser=disk.ser,
    )


def _ahci(device: AhciHd | AhciCd) -> Iterator[Part]:
    """A controller with one port: `ahci-hd` and `ahci-cd` are names of `-s` only."""
    yield first("port.0.path", value=device.path)
    if isinstance(device, AhciHd):
        yield from _raw_only(device.path, device.image_format)
        yield from below("port.0.", _block(device))
    else:
        yield from below("port.0.", given(ser=device.ser))
    yield from below("port.0.", given(nmrr=device.nmrr, rev=device.rev, model=device.model))


def _nvme(drive: Nvme) -> Iterator[Part]:
    if drive.ram is not None:
        yield named("ram", drive.ram)
    elif drive.path is not None:
        yield from _raw_only(drive.path, drive.format or format_of(drive.path))
        path = first("path", value=drive.path)
        # in -s this would be the beginning of a disk in memory
        yield replace(path, words=()) if drive.path.startswith("ram=") else path
    else:
        yield Fault(problem="has neither a path nor ram", hint='path = "disk.img"')
    yield from given(
        maxq=drive.maxq,
        qsz=drive.qsz,
        ioslots=drive.ioslots,
        sectsz=drive.sectsz,
        ser=drive.ser,
        eui64=None if drive.eui64 is None else f"{drive.eui64:#018x}",
        dsm=drive.dsm,
    )


def _scsi(controller: VirtioScsi) -> Iterator[Part]:
    """`target.0` is main's key, `dev` that of 15 and older; each ignores the other's."""
    if not controller.path.startswith("/dev/cam/"):
        yield Fault(
            problem=f"path {controller.path!r} is not a device of FreeBSD's CAM target layer",
            hint="use virtio-blk for an image, or path = /dev/cam/ctl with ctladm(8)",
        )
    if controller.ro:
        yield Fault(
            problem="cannot be read-only on bhyve: ctl(4) decides that",
            hint="ctladm create -o readonly=on, and ro = false here",
        )
    yield first("target.0", "dev", value=controller.path)
