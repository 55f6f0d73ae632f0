"""The table of QEMU's devices: class of a description -> QEMU's options, the host's part, limits.

A device is added here, as a row of `row`; type checkers name the row that is missing.
"""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.host import requirements
from vm_run.host.requirements import Directory, File, Memory, Socket
from vm_run.qemu import net, storage
from vm_run.qemu.bus import Row, filled, plug, refuse, to_json
from vm_spec import devices as spec
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.bus import Bus

PASSWORD_FD = 9  # of the VNC password
FIRST_PORT = 5900  # of VNC displays (RFC 6143, 8.1.2)


def row(device: spec.Emulation, bus: Bus) -> Row:  # noqa: C901, PLR0912, PLR0915  one table: a case is a row
    """What a device is to QEMU."""
    match device:
        case spec.VirtioBlk():
            row = storage.virtio_blk(device, bus)
        case spec.AhciHd():
            row = storage.ahci_hd(device, bus)
        case spec.AhciCd():
            row = storage.ahci_cd(device, bus)
        case spec.Nvme():
            row = storage.nvme(device, bus)
        case spec.VirtioScsi():
            row = storage.virtio_scsi(device, bus)
        case spec.Drive():
            row = storage.drive(device, bus)
        case spec.VirtioNet():
            row = net.nic(device, bus, bus.virtio("net"), mtu=device.mtu)
        case spec.E1000():
            row = net.nic(device, bus, "e1000")
        case spec.OtherNic():
            row = net.nic(device, bus, device.model)
        case spec.VirtioConsole():
            row = _virtio_console(device, bus)
        case spec.Virtio9p():
            row = _virtio_9p(device, bus)
        case spec.VirtioRnd():
            row = _virtio_rnd(device, bus)
        case spec.VirtioInput():
            row = _virtio_input(device, bus)
        case spec.Xhci():
            row = _xhci(device, bus)
        case spec.Hda():
            row = _hda(device, bus)
        case spec.Passthru():
            row = _passthru(device, bus)
        case spec.AppleSmc():
            smc = plug({"driver": "isa-applesmc", "id": device.label, "osk": device.osk})
            row = Row(argv=(smc,))
        case spec.Raw():
            row = Row(problems=(("value", "is in bhyve's own words", "use [qemu] args"),))
        case spec.Graphic():  # the machine's own: `screen`
            row = Row()
        case _:
            assert_never(device)
    return row


def _virtio_console(device: spec.VirtioConsole, bus: Bus) -> Row:
    argv = [bus.device(device, bus.virtio("serial"))]
    for number, port in enumerate(device.ports, 1):  # port 0 is a console's
        chardev = f"{device.label}.{number}"
        argv += [
            ("-chardev", options("socket", id=chardev, path=port.path, server=True, wait=False)),
            plug(
                {
                    "driver": "virtserialport", "bus": f"{device.label}.0", "nr": number,
                    "chardev": chardev, "name": port.name,
                }
            ),
        ]  # fmt: skip
    needs = tuple(Socket(path=port.path) for port in device.ports)
    return Row(argv=tuple(argv), needs=needs, owns_bus=True)


def _virtio_9p(device: spec.Virtio9p, bus: Bus) -> Row:
    local = "local,security_model=mapped-xattr,multidevs=remap"
    shared = options(local, id=device.label, path=device.path, readonly=device.ro or None)
    backend = {"fsdev": device.label, "mount_tag": device.sharename}
    return Row(
        argv=(("-fsdev", shared), bus.device(device, bus.virtio("9p"), **backend)),
        needs=(Directory(path=device.path),),
    )


def _virtio_rnd(device: spec.VirtioRnd, bus: Bus) -> Row:
    source = f"{device.label}.rng"
    return Row(
        argv=(
            ("-object", to_json({"qom-type": "rng-builtin", "id": source})),
            bus.device(device, bus.virtio("rng"), rng=source),
        )
    )


def _virtio_input(device: spec.VirtioInput, bus: Bus) -> Row:
    return Row(
        argv=(bus.device(device, bus.virtio("input-host"), evdev=device.path),),
        needs=(File(path=device.path, write=True, granted=True),),
    )


def _xhci(device: spec.Xhci, bus: Bus) -> Row:
    tablet = plug({"driver": "usb-tablet", "bus": f"{device.label}.0"})
    argv = (bus.device(device, "qemu-xhci"), *([tablet] if device.tablet else []))
    return Row(argv=argv, owns_bus=True)


def _hda(device: spec.Hda, bus: Bus) -> Row:
    problem, hint = "a sound device by its path exists on bhyve only", "take it away"
    codec = {"driver": "hda-duplex", "bus": f"{device.label}.0", "audiodev": device.label}
    return Row(
        argv=(
            ("-audiodev", options("none", id=device.label)),
            bus.device(device, "ich9-intel-hda"),
            plug(codec),
        ),
        problems=refuse((device.play, "play", problem, hint), (device.rec, "rec", problem, hint)),
        owns_bus=True,
    )


def _passthru(device: spec.Passthru, bus: Bus) -> Row:
    address = str(device.src)
    if device.lookup:
        nominal = f"lookup:{device.lookup.vendor}:{device.lookup.device}"
        address = bus.resources.pci.get(device.label, nominal)
    pinned = Memory(bytes=bus.machine.mem.bytes + requirements.OF_DEVICES)
    return Row(
        argv=(bus.device(device, "vfio-pci", **filled(host=address, romfile=device.rom)),),
        needs=(pinned, requirements.VFIO, *requirements.passthru(device)),
    )


def screen(graphic: spec.Graphic, bus: Bus) -> Iterator[Argument]:
    """The machine's screen: a VGA, VNC, and a pointer that is where the viewer's is."""
    size = {"driver": "VGA"} | bus.at("graphic")
    size |= {"xres": graphic.width, "yres": graphic.height, "edid": True}
    yield argument(*plug(size, graphic.qemu), key="graphic")
    secret_id = "vnc-password" if graphic.password else None
    if secret_id:
        fd = bus.resources.fds.get(secret_id, PASSWORD_FD)
        secret = {"qom-type": "secret", "id": secret_id, "file": f"/dev/fd/{fd}"}
        yield argument("-object", to_json(secret), key="graphic.password")
    host = f"[{graphic.host}]" if ":" in graphic.host else graphic.host
    listening = f"{host}:{graphic.port - FIRST_PORT}"
    yield argument("-vnc", options("", vnc=listening, password_secret=secret_id), key="graphic")
    if graphic.xhci_table:
        controller = plug({"driver": "qemu-xhci"} | bus.at("tablet"))
        yield argument(*controller, key="graphic.xhci_table")
        tablet = plug({"driver": "usb-tablet", "bus": "tablet.0"})
        yield argument(*tablet, key="graphic.xhci_table")
