"""What every device has: its name, its slot, and what the vocabulary does not name."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.types import Word

if TYPE_CHECKING:
    from vm_spec.types import Label, PciSlot

Scalar = str | int | float | bool
Properties = tuple[tuple[str, Scalar], ...]


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
