"""A device in its slot, as bhyve is told of it.

Untested on FreeBSD. Source: bhyve(8), -s; bhyve_config(5), PCI device settings.
"""

from __future__ import annotations

from vm_run.argument import argument
from vm_run.bhyve.settings import as_options
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.bhyve.settings import Setting
    from vm_spec.types import PciSlot

__all__ = ["Emulated"]

# names that only `-s` has -> what they stand for (pci_hostbridge.c, pci_ahci.c)
ALIASES = {
    "amd_hostbridge": ("hostbridge", (("pcireg.vendor", "0x1022"), ("pcireg.device", "0x7432"))),
    "ahci-hd": ("ahci", (("port.0.type", "hd"),)),
    "ahci-cd": ("ahci", (("port.0.type", "cd"),)),
}


class Emulated(Value):
    """A device in its slot.

    Attributes:
        slot: where it sits.
        name: what `-s` calls it; a raw device's whole value.
        settings: its settings, their keys relative to its node.
        of: the description's key that it comes from.
        title: what its faults are grouped by: `virtio-blk disk0`; empty for the board's own.
        raw: whether it is in bhyve's own words.
        read: the keys that bhyve makes of a raw device's words; empty for a device that is not
            known here.
    """

    slot: PciSlot
    name: str
    settings: tuple[Setting, ...] = ()
    of: str = ""
    title: str = ""
    raw: bool = False
    read: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """All that bhyve_config(5) has of it, relative to its node; none if it is not known."""
        if self.raw and not self.read:
            return ()
        device, implied = ALIASES.get(self.name, (self.name, ()))
        start = self.read if self.raw else (("device", device), *implied)
        return (*start, *(key for setting in self.settings for key in setting.keys))

    @property
    def node(self) -> str:
        """Where its keys are in bhyve_config(5): `pci.0.3.0.`."""
        return f"pci.{self.slot.bus}.{self.slot.slot}.{self.slot.function}."

    @property
    def kind(self) -> str:
        """What it is in bhyve_config(5): `ahci`."""
        return dict(self.keys).get("device", self.name.partition(",")[0])

    @property
    def has_slot(self) -> bool:
        """Whether `-s` can say it: not when a comma is in a word that it knows by its place."""
        return all(one.is_sayable for one in self.settings if one.placed)

    def slots(self) -> Iterator[Argument]:
        """Its `-s`; none when a comma forbids that."""
        if self.has_slot:
            said = (one.words[0] for one in self.settings if one.is_sayable)
            yield argument("-s", ",".join((str(self.slot), self.name, *said)), key=self.of)

    def options(self) -> Iterator[Argument]:
        """What its `-s` cannot say, or all of it: `-o`, of which bhyve knows from 13.1 on.

        They come after every `-s`, which bhyve refuses in a slot that has keys already.
        """
        keys = [key for one in self.settings if not one.is_sayable for key in one.keys]
        if not self.has_slot:
            keys = [*self.keys]
        secret = {key for one in self.settings if one.secret for key in one.keys}
        for key, text in keys:
            if (key, text) not in secret:
                yield argument(*as_options([(self.node + key, text)]), key=self.of)

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Its keys that stand in a file only, by their whole names."""
        for one in self.settings:
            if one.secret:
                yield from ((self.node + key, text) for key, text in one.keys)
