"""The devices of QEMU that are neither storage nor network."""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.qemu.board import given, in_json, plug
from vm_run.qemu.net import network
from vm_run.qemu.storage import storage
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    AppleSmc,
    Drive,
    Graphic,
    Hda,
    Nvme,
    OtherNic,
    Passthru,
    Raw,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.board import Board
    from vm_spec.devices import Emulation

    Backed = VirtioConsole | Virtio9p | VirtioRnd | Hda | Xhci
    Alone = VirtioInput | Passthru | AppleSmc

__all__ = ["device", "screen"]

PASSWORD_FD = 9  # of a dry run's VNC password
FIRST_PORT = 5900  # of VNC displays (RFC 6143, 8.1.2)


def device(device: Emulation, board: Board) -> Iterable[Argument]:
    """The arguments of a device."""
    match device:
        case VirtioBlk() | AhciHd() | AhciCd() | Nvme() | VirtioScsi() | Drive():
            made: Iterable[Argument] = storage(device, board)
        case VirtioNet() | E1000() | OtherNic():
            made = network(device, board)
        case VirtioConsole() | Virtio9p() | VirtioRnd() | Hda() | Xhci():
            made = _backed(device, board)
        case VirtioInput() | Passthru() | AppleSmc():
            key = f"emulations ({device.label})"
            made = [plug(_alone(device, board), device.qemu, key=key)]
        case Graphic() | Raw():  # a screen is the machine's own; bhyve's words are refused
            made = []
        case _:
            assert_never(device)
    return made


def _alone(device: Alone, board: Board) -> dict[str, object]:
    """What the guest sees of a device that needs nothing else."""
    match device:
        case VirtioInput():
            driver = {"driver": board.virtio("input-host")}
            shown = driver | board.at(device.label) | {"evdev": device.path}
        case Passthru():
            at = board.at(device.label)
            rom = given({"romfile": device.rom})
            shown = {"driver": "vfio-pci"} | at | {"host": _host_address(device, board)} | rom
        case AppleSmc():
            shown = {"driver": "isa-applesmc", "id": device.label, "osk": device.osk}
        case _:
            assert_never(device)
    return shown


def _host_address(device: Passthru, board: Board) -> str:
    if device.lookup is None:
        return str(device.src)
    nominal = f"lookup:{device.lookup.vendor}:{device.lookup.device}"
    return board.wiring.pci.get(device.label, nominal)


def _backed(device: Backed, board: Board) -> Iterator[Argument]:
    """A device with something behind it, or on it."""
    match device:
        case VirtioConsole():
            made = _console(device, board)
        case Virtio9p():
            made = _folder(device, board)
        case VirtioRnd():
            made = _random(device, board)
        case Hda():
            made = _sound(device, board)
        case Xhci():
            made = _usb(device, board)
        case _:
            assert_never(device)
    return made


def _console(device: VirtioConsole, board: Board) -> Iterator[Argument]:
    key = f"emulations ({device.label})"
    yield plug({"driver": board.virtio("serial")} | board.at(device.label), device.qemu, key=key)
    for number, port in enumerate(device.ports, 1):  # port 0 is a console's
        socket = options(
            "socket", id=f"{device.label}.{number}", path=port.path, server=True, wait=False
        )
        yield argument("-chardev", socket, key=key)
        yield plug(
            {
                "driver": "virtserialport", "bus": f"{device.label}.0", "nr": number,
                "chardev": f"{device.label}.{number}", "name": port.name,
            },
            key=key,
        )  # fmt: skip


def _folder(device: Virtio9p, board: Board) -> Iterator[Argument]:
    key = f"emulations ({device.label})"
    local = "local,security_model=mapped-xattr,multidevs=remap"
    shared = options(local, id=device.label, path=device.path, readonly=device.ro or None)
    yield argument("-fsdev", shared, key=key)
    shown = {"driver": board.virtio("9p")} | board.at(device.label)
    ends = {"fsdev": device.label, "mount_tag": device.sharename}
    yield plug(shown | ends, device.qemu, key=key)


def _random(device: VirtioRnd, board: Board) -> Iterator[Argument]:
    key = f"emulations ({device.label})"
    source = f"{device.label}.rng"
    yield argument("-object", in_json({"qom-type": "rng-builtin", "id": source}), key=key)
    shown = {"driver": board.virtio("rng")} | board.at(device.label)
    yield plug(shown | {"rng": source}, device.qemu, key=key)


def _sound(device: Hda, board: Board) -> Iterator[Argument]:
    key = f"emulations ({device.label})"
    yield argument("-audiodev", options("none", id=device.label), key=key)
    yield plug({"driver": "ich9-intel-hda"} | board.at(device.label), device.qemu, key=key)
    codec = {"driver": "hda-duplex", "bus": f"{device.label}.0", "audiodev": device.label}
    yield plug(codec, key=key)


def _usb(device: Xhci, board: Board) -> Iterator[Argument]:
    key = f"emulations ({device.label})"
    yield plug({"driver": "qemu-xhci"} | board.at(device.label), device.qemu, key=key)
    if device.tablet:
        yield plug({"driver": "usb-tablet", "bus": f"{device.label}.0"}, key=key)


def screen(graphic: Graphic, board: Board) -> Iterator[Argument]:
    """The machine's screen: a VGA, VNC, and a pointer that is where the viewer's is."""
    size = {"xres": graphic.width, "yres": graphic.height, "edid": True}
    yield plug({"driver": "VGA"} | board.at("graphic") | size, graphic.qemu, key="graphic")
    kept = "vnc-password" if graphic.password else None
    if kept:
        fd = board.wiring.fds.get(kept, PASSWORD_FD)
        secret = {"qom-type": "secret", "id": kept, "file": f"/dev/fd/{fd}"}
        yield argument("-object", in_json(secret), key="graphic.password")
    host = f"[{graphic.host}]" if ":" in graphic.host else graphic.host
    listening = f"{host}:{graphic.port - FIRST_PORT}"
    yield argument("-vnc", options("", vnc=listening, password_secret=kept), key="graphic")
    if graphic.xhci_table:
        yield plug({"driver": "qemu-xhci"} | board.at("tablet"), key="graphic.xhci_table")
        yield plug({"driver": "usb-tablet", "bus": "tablet.0"}, key="graphic.xhci_table")
