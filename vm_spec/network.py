"""Network cards, whatever the guest sees of them."""

from __future__ import annotations

from vm_spec.device import Band, Device
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import Word

if TYPE_CHECKING:
    from vm_spec.types import Forward, IfName, Label, Mac


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


class QemuWord(Word):
    """The name of a device model of QEMU."""

    __slots__ = ()
    pattern = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
    rule = "the name of a QEMU device, such as rtl8139"


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


def _backend_of(name: str | None) -> str:
    if name is None:
        return "user"
    for start in ("netgraph", "netmap", "vale", "vmnet", "macvtap"):
        if name.startswith(start):
            return start
    return "tap"
