"""The devices that a machine can have: what its guest sees, and what the host gives for it.

The names of devices and of their keys are bhyve(8)'s and vmrun's; qemu(1) properties that they do
not name go into a device's `qemu` table, bhyve_config(5) keys into its `bhyve` table.
"""

from __future__ import annotations

from vm_spec.value import TYPE_CHECKING, Value
from vm_spec.words import FilePath, Label, Word

if TYPE_CHECKING:
    from vm_spec.words import Forward, IfName, Mac, PciId, PciSlot

Scalar = str | int | float | bool
Properties = tuple[tuple[str, Scalar], ...]


class NicType(Word):
    """What is at the host's end of a network card."""

    __slots__ = ()
    pattern = "tap|macvtap|user|netgraph|netmap|vale|vmnet"
    rule = "one of tap, macvtap, user, netgraph, netmap, vale, vmnet"


class PortName(Word):
    """The host's end of a network card: an interface, or a port of a switch, vale0:guest."""

    __slots__ = ()
    pattern = (
        r"(?!(?:all|default)\Z)[A-Za-z][A-Za-z0-9_.-]{0,14}"
        r"|(?:vale|netmap|netgraph)[A-Za-z0-9_.-]{0,15}:[A-Za-z0-9_.-]{0,31}"
    )
    rule = "1 to 15 letters, digits, '.', '_' or '-', the first a letter; or a port, vale0:guest"


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


class QemuWord(Word):
    """The name of a device model of QEMU."""

    __slots__ = ()
    pattern = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
    rule = "the name of a QEMU device, such as rtl8139"


class Band(Word):
    """The class that decides in which slots a device may be placed."""

    __slots__ = ()
    pattern = "storage|network|passthrough|other"
    rule = "one of storage, network, passthrough, other"


class Device(Value):
    """What every device has.

    Attributes:
        label: its name in this description; made from its kind and number when left out.
        slot: where it sits on the PCI bus; chosen when left out.
        fix: apply the known repair when the host lacks something for it.
        qemu: further properties of the QEMU device, by their names there.
        bhyve: further keys of the bhyve device, by their names in bhyve_config(5).
    """

    kind = ""
    band = Band("other")

    label: Label
    slot: PciSlot | None = None
    fix: bool = False
    qemu: Properties = ()
    bhyve: Properties = ()

    @property
    def sits_on_pci(self) -> bool:
        """Whether it takes a slot."""
        return True


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


class Nic(Device):
    """A network card, whatever the guest sees.

    Attributes:
        name: the host's interface (or netmap, vale port).
        type: what that is; guessed from the other keys and the name's beginning when left out.
        bridge: the bridge that vm-init joins the tap to.
        network: a name that this host's policy stands for with a bridge or interface.
        host_interface: the interface that vm-init puts a macvtap on.
        mac: the guest's address; made from user, VM and label when left out, stable for ever.
        mtu: largest packet in bytes, 46 to 65535.
        forward: user networking: ports of the host that lead into the guest.
    """

    band = Band("network")

    name: PortName | None = None
    type: NicType | None = None
    bridge: IfName | None = None
    network: Label | None = None
    host_interface: IfName | None = None
    mac: Mac | None = None
    mtu: int | None = None
    forward: tuple[Forward, ...] = ()

    @property
    def backend(self) -> str:
        """What is at the host's end: the type given, else what the other keys speak for."""
        if self.type:
            return self.type
        if self.host_interface:
            return "macvtap"
        if self.bridge or self.network:
            return "tap"
        return _backend_of(self.name)


class VirtioNet(Nic):
    """A virtio network card."""

    kind = "virtio-net"


class E1000(Nic):
    """An Intel 82545 network card."""

    kind = "e1000"


class OtherNic(Nic):
    """A network card by its QEMU name, such as rtl8139 or vmxnet3. QEMU only.

    Attributes:
        model: the name of the QEMU device.
    """

    kind = "nic"

    model: QemuWord


class ConsolePort(Value):
    """One port of a virtio console.

    Attributes:
        name: what the guest finds in /dev/virtio-ports.
        path: the socket on the host.
    """

    name: Label
    path: FilePath


class VirtioConsole(Device):
    """A virtio console with up to 16 ports.

    Attributes:
        ports: a list of socket paths (ports port1, port2, ...) or a table of name = path.
    """

    kind = "virtio-console"

    ports: tuple[ConsolePort, ...]


class Virtio9p(Device):
    """A folder of the host that the guest mounts (9P2000.L).

    Attributes:
        sharename: the tag that the guest mounts.
        path: the folder.
        ro: the guest cannot write.
    """

    kind = "virtio-9p"

    sharename: Label
    path: FilePath
    ro: bool = False


class VirtioRnd(Device):
    """A virtio random number generator."""

    kind = "virtio-rnd"


class VirtioInput(Device):
    """An input device of the host, given to the guest.

    Attributes:
        path: the event device, /dev/input/eventN.
    """

    kind = "virtio-input"

    path: FilePath


class Xhci(Device):
    """A USB 3 controller with a tablet.

    Attributes:
        tablet: whether the tablet (an absolute pointer) is plugged in.
    """

    kind = "xhci"

    tablet: bool = True


class Hda(Device):
    """A sound card (Intel High Definition Audio).

    Attributes:
        play: the host's device for playing, /dev/dsp0; bhyve only.
        rec: the host's device for recording; bhyve only.
    """

    kind = "hda"

    play: FilePath | None = None
    rec: FilePath | None = None


class Lookup(Value):
    """A PCI device of the host by what it is, not by where it sits.

    Attributes:
        vendor: 0x and 8 hex digits: vendor, subsystem vendor.
        device: 0x and 8 hex digits: device, subsystem device.
    """

    vendor: HexPair
    device: HexPair


class HexPair(Word):
    """Two PCI ids in one word, the main one first."""

    __slots__ = ()
    pattern = r"0x[0-9a-fA-F]{8}"
    rule = "0x and 8 hex digits: the main id, then the subsystem's"


class Passthru(Device):
    """A PCI device of the host, given to the guest.

    Attributes:
        src: its address, 0000:01:00.0 or 1:0:0.
        lookup: instead of `src`, what to look for.
        rom: an image that replaces the card's own ROM.
    """

    kind = "passthru"
    band = Band("passthrough")

    src: PciId | None = None
    lookup: Lookup | None = None
    rom: FilePath | None = None


class AppleSmc(Device):
    """The system management controller that macOS looks for. QEMU only.

    Attributes:
        osk: the key it answers with, 64 characters.
    """

    kind = "apple-smc"

    osk: str

    @property
    def sits_on_pci(self) -> bool:
        """Never: it is an ISA device."""
        return False


class Raw(Device):
    """A bhyve device in bhyve's own words. bhyve only.

    Attributes:
        value: what follows the slot in bhyve(8) -s.
    """

    kind = "raw"

    value: str


class Graphic(Device):
    """A screen, seen through VNC (RFC 6143).

    Attributes:
        host: the address that VNC listens on.
        port: its TCP port, from 5900.
        password: at most 8 characters; never put on a command line of QEMU.
        wait: hold the guest until a viewer has come; bhyve only.
        width: pixels, 640 to 3840.
        height: pixels, 480 to 2160.
        vga: io, on or off: how bhyve shows the legacy VGA.
        xhci_table: a USB tablet, so that the pointer is where the viewer's is.
    """

    kind = "fbuf"

    host: str = "127.0.0.1"
    port: int = 5900
    password: str = ""
    wait: bool = False
    width: int = 1024
    height: int = 768
    vga: VgaMode | None = None
    xhci_table: bool = True


class VgaMode(Word):
    """How bhyve shows the legacy VGA beside the frame buffer."""

    __slots__ = ()
    pattern = "io|on|off"
    rule = "one of io, on, off"


Emulation = (
    VirtioBlk
    | AhciHd
    | AhciCd
    | Nvme
    | VirtioScsi
    | Drive
    | VirtioNet
    | E1000
    | OtherNic
    | VirtioConsole
    | Virtio9p
    | VirtioRnd
    | VirtioInput
    | Xhci
    | Hda
    | Passthru
    | AppleSmc
    | Raw
    | Graphic
)

KINDS: dict[str, type[Emulation]] = {
    cls.kind: cls
    for cls in (
        VirtioBlk,
        AhciHd,
        AhciCd,
        Nvme,
        VirtioScsi,
        Drive,
        VirtioNet,
        E1000,
        OtherNic,
        VirtioConsole,
        Virtio9p,
        VirtioRnd,
        VirtioInput,
        Xhci,
        Hda,
        Passthru,
        AppleSmc,
        Raw,
    )
}

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


def _backend_of(name: str | None) -> str:
    if name is None:
        return "user"
    for start in ("netgraph", "netmap", "vale", "vmnet", "macvtap"):
        if name.startswith(start):
            return start
    return "tap"
