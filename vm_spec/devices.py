"""The devices that a machine can have: what its guest sees, and what the host gives for it.

The names of devices and of their keys are bhyve(8)'s and vmrun's; qemu(1) properties that they do
not name go into a device's `qemu` table, bhyve_config(5) keys into its `bhyve` table.
"""

from __future__ import annotations

from vm_spec.device import Band, Device, Properties, Scalar
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.network import E1000, Nic, NicType, OtherNic, PortName, QemuWord, VirtioNet
from vm_spec.storage import (
    AhciCd,
    AhciHd,
    Disk,
    Drive,
    DriveInterface,
    ImageFormat,
    Media,
    Nvme,
    Trim,
    VirtioBlk,
    VirtioScsi,
    format_of,
)
from vm_spec.types import Word

if TYPE_CHECKING:
    from vm_spec.types import FilePath, Label, PciId

__all__ = [
    "AhciCd",
    "AhciHd",
    "AppleSmc",
    "Band",
    "ConsolePort",
    "Device",
    "Disk",
    "Drive",
    "DriveInterface",
    "E1000",
    "Emulation",
    "Graphic",
    "Hda",
    "HexPair",
    "ImageFormat",
    "KINDS",
    "Lookup",
    "Media",
    "Nic",
    "NicType",
    "Nvme",
    "OtherNic",
    "Passthru",
    "PortName",
    "Properties",
    "QemuWord",
    "Raw",
    "Scalar",
    "Trim",
    "VgaMode",
    "Virtio9p",
    "VirtioBlk",
    "VirtioConsole",
    "VirtioInput",
    "VirtioNet",
    "VirtioRnd",
    "VirtioScsi",
    "Xhci",
    "format_of",
]


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
        password: at most 8 characters; never put on a command line.
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
    cls.kind: cls for cls in Emulation.__args__ if cls is not Graphic
}
