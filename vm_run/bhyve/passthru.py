"""What bhyve is told of a PCI device of the host.

Untested on FreeBSD. Source: bhyve(8), PCI passthrough; pci_passthru.c.
"""

from __future__ import annotations

from vm_run.bhyve.settings import Setting, first, given
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import PciId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.bhyve.emulated import Emulated
    from vm_run.bhyve.settings import Part
    from vm_run.resources import Resources
    from vm_spec.devices import Passthru

__all__ = ["passthru", "passes_through"]


def passthru(device: Passthru, resources: Resources) -> Iterator[Part]:
    """Where the device is on the host, in decimal: bhyve does not read 0000:01:00.0."""
    found = resources.pci.get(device.label)
    source = device.src or (PciId.parse(found) if found else None)
    if source:
        if source.domain:
            yield Fault(
                problem=f"{source} is in PCI domain {source.domain}, and bhyve knows domain 0 only",
                hint="pciconf -l lists what this host has",
            )
        parts = (str(source.bus), str(source.slot), str(source.function))
        keys = tuple(zip(("bus", "slot", "func"), parts, strict=True))
        yield Setting(keys=keys, words=("/".join(parts),), placed=True)
    elif device.lookup:  # a dry run: nobody looked
        yield first("pptdev", value=f"lookup:{device.lookup.vendor}:{device.lookup.device}")
    else:
        yield Fault(problem="has neither src nor lookup", hint='src = "1:0:0"')
    yield from given(rom=device.rom)


def passes_through(devices: Iterable[Emulated]) -> str:
    """The description's key of a device for which guest memory must be wired; empty for none."""
    return next((one.of for one in devices if one.kind == "passthru"), "")
