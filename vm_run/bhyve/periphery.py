"""What bhyve is told of consoles, shared folders, input devices, USB and sound.

Untested on FreeBSD. Source: bhyve(8), -s; bhyve_config(5), PCI device settings.
"""

from __future__ import annotations

from vm_run.bhyve.limits import LONGEST_SOCKET
from vm_run.bhyve.settings import Setting, escaped, first, given
from vm_spec.devices import Hda, Virtio9p, VirtioConsole, VirtioInput, VirtioRnd, Xhci
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.settings import Part

__all__ = ["Periphery", "periphery"]

CONSOLE_PORTS = 16

Periphery = VirtioConsole | Virtio9p | VirtioRnd | VirtioInput | Xhci | Hda


def periphery(device: Periphery) -> Iterator[Part]:
    """The settings of one of these devices, and what bhyve has not."""
    match device:
        case VirtioConsole():
            yield from _console(device)
        case Virtio9p():
            path = escaped(device.path)
            yield Setting(
                keys=(("sharename", device.sharename), ("path", path)),
                words=(f"{device.sharename}={path}",),
                placed=True,
            )
            yield from given(ro=device.ro)
        case VirtioRnd():
            pass
        case VirtioInput():
            yield first("path", value=device.path)
        case Xhci():
            if device.tablet:
                yield first("slot.1.device", value="tablet")
        case Hda():
            yield from given(play=device.play, rec=device.rec)
        case _:
            assert_never(device)


def _console(console: VirtioConsole) -> Iterator[Part]:
    """The ports; bhyve opens a socket's folder, so only its name has to fit into an address."""
    if not 0 < len(console.ports) <= CONSOLE_PORTS:
        yield Fault(
            problem=f"has {len(console.ports)} ports, and bhyve takes 1 to {CONSOLE_PORTS}",
            hint="spread them over several virtio-consoles",
        )
    for number, port in enumerate(console.ports):
        name = port.path.rpartition("/")[2]
        if not 0 < len(name.encode()) <= LONGEST_SOCKET:
            yield Fault(
                problem=f"port {port.name}'s socket needs a name of 1 to {LONGEST_SOCKET} bytes",
                hint="give it a shorter path",
            )
        path = escaped(port.path)
        yield Setting(
            keys=((f"port.{number}.name", port.name), (f"port.{number}.path", path)),
            words=(f"{port.name}={path}",),
            placed=True,
        )
