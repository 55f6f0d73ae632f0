"""Disks, CD-ROMs and drives."""

from __future__ import annotations

from vm_spec.device import Band, Device
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import Word

if TYPE_CHECKING:
    from vm_spec.types import FilePath


class ImageFormat(Word):
    """How a disk image is laid out; never guessed from what is in it."""

    __slots__ = ()
    pattern = "raw|qcow2|vmdk|vdi|vhdx|vpc"
    rule = "one of raw, qcow2, vmdk, vdi, vhdx, vpc"


class Trim(Word):
    """Whether an NVMe drive takes deallocation (bhyve_config(5), dsm)."""

    __slots__ = ()
    pattern = "auto|enable|disable"
    rule = "one of auto, enable, disable"


class Media(Word):
    """What a drive holds."""

    __slots__ = ()
    pattern = "disk|cdrom"
    rule = "disk or cdrom"


class DriveInterface(Word):
    """How a drive is attached (qemu(1), -drive if=)."""

    __slots__ = ()
    pattern = "ide|floppy|pflash|none"
    rule = "one of ide, floppy, pflash, none"


class Disk(Device):
    """A disk, whatever controller shows it.

    Attributes:
        path: the image or block device.
        format: the image's format; by the path's ending when left out, else raw.
        ro: the guest cannot write.
        nocache: the host's page cache is bypassed (O_DIRECT).
        direct: each write reaches the medium before it is acknowledged (O_SYNC).
        nodelete: deallocation by the guest is not passed to the host.
        logical_sector_size: bytes, a power of two from 512.
        physical_sector_size: bytes, a multiple of the logical size.
        ser: serial number, at most 20 characters.
    """

    band = Band("storage")

    path: FilePath
    format: ImageFormat | None = None
    ro: bool = False
    nocache: bool = False
    direct: bool = False
    nodelete: bool = False
    logical_sector_size: int | None = None
    physical_sector_size: int | None = None
    ser: str = ""

    @property
    def image_format(self) -> str:
        """The format that is used: the one given, else by the path's ending, else raw."""
        return self.format or format_of(self.path)


class VirtioBlk(Disk):
    """A virtio block device."""

    kind = "virtio-blk"


class AhciHd(Disk):
    """A SATA disk behind an AHCI controller of its own.

    Attributes:
        nmrr: nominal media rotation rate in revolutions a minute; 1 is a solid state disk.
        rev: firmware revision, at most 8 characters.
        model: model name, at most 40 characters.
    """

    kind = "ahci-hd"

    nmrr: int | None = None
    rev: str = ""
    model: str = ""


class AhciCd(Device):
    """A SATA CD-ROM drive behind an AHCI controller of its own.

    Attributes:
        path: the ISO 9660 image.
        ser: serial number, at most 20 characters.
        nmrr: nominal media rotation rate in revolutions a minute.
        rev: firmware revision, at most 8 characters.
        model: model name, at most 40 characters.
    """

    kind = "ahci-cd"
    band = Band("storage")

    path: FilePath
    ser: str = ""
    nmrr: int | None = None
    rev: str = ""
    model: str = ""


class Nvme(Device):
    """An NVMe drive, of an image or of memory.

    Attributes:
        path: the image or block device.
        format: the image's format; by the path's ending when left out, else raw.
        ram: instead of a path, this many MiB of memory; bhyve only.
        maxq: number of queues.
        qsz: entries in each queue.
        ioslots: requests at once.
        sectsz: sector size in bytes: 512, 4096 or 8192.
        ser: serial number, at most 20 characters.
        eui64: IEEE extended unique identifier.
        dsm: whether deallocation is taken.
    """

    kind = "nvme"
    band = Band("storage")

    path: FilePath | None = None
    format: ImageFormat | None = None
    ram: int | None = None
    maxq: int | None = None
    qsz: int | None = None
    ioslots: int | None = None
    sectsz: int | None = None
    ser: str = ""
    eui64: int | None = None
    dsm: Trim | None = None


class VirtioScsi(Device):
    """A virtio SCSI controller with one disk or CD-ROM.

    Attributes:
        path: the image; on bhyve a CAM target layer device, /dev/cam/ctl.
        format: the image's format; by the path's ending when left out, else raw.
        media: disk or cdrom.
        ro: the guest cannot write.
    """

    kind = "virtio-scsi"
    band = Band("storage")

    path: FilePath
    format: ImageFormat | None = None
    media: Media = Media("disk")
    ro: bool = False


class Drive(Device):
    """A drive on a controller that the machine itself has: vmman's storage. QEMU only.

    Attributes:
        interface: ide, floppy, pflash (firmware), or none (attached by `[qemu] args`).
        path: the image.
        format: the image's format, raw when left out.
        media: disk or cdrom.
        nocache: the host's page cache is bypassed (O_DIRECT).
    """

    kind = "drive"
    band = Band("storage")

    interface: DriveInterface = DriveInterface("ide")
    path: FilePath
    format: ImageFormat | None = None
    media: Media = Media("disk")
    nocache: bool = False

    @property
    def sits_on_pci(self) -> bool:
        """Never: its controller is the machine's."""
        return False


_ENDINGS = {
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
    ".vpc": "vpc",
}


def format_of(path: str) -> str:
    """The format that a path's ending speaks for; raw for any other."""
    dot = path.rfind(".")
    return _ENDINGS.get(path[dot:].lower(), "raw") if dot > 0 else "raw"
