"""Disk images of QEMU: files and block devices of the host, as block nodes.

A path is taken as it is written, and a format is never guessed: a guest that writes a qcow2 header
into its raw disk still has a raw disk at its next start.
"""

from __future__ import annotations

from vm_run.argument import argument
from vm_run.qemu.board import in_json
from vm_spec.devices import AhciCd, AhciHd, Drive, Nvme, VirtioBlk, VirtioScsi, format_of
from vm_spec.frozen import TYPE_CHECKING, Value, assert_never, replace

if TYPE_CHECKING:
    from vm_run.argument import Argument

    Storage = VirtioBlk | AhciHd | AhciCd | Nvme | VirtioScsi | Drive

__all__ = ["Image", "blockdev", "image"]

OPTICAL = ("/dev/sr", "/dev/cdrom", "/dev/dvd")
FILES = "/dev/shm/"  # noqa: S108  the one folder there that holds ordinary files


class Image(Value):
    """What a device's data is kept in.

    Attributes:
        node: what QEMU calls it.
        path: where it is on the host.
        layout: its format.
        readonly: it is never written.
        uncached: the host's page cache is bypassed.
        trims: deallocation by the guest is passed to the host.
    """

    node: str
    path: str
    layout: str
    readonly: bool = False
    uncached: bool = False
    trims: bool = True


def image(device: Storage, node: str) -> Image:
    """The image of a storage device, as the block node of this name."""
    path = str(device.path)
    made = Image(node=node, path=path, layout="raw")
    match device:
        case VirtioBlk() | AhciHd():
            made = replace(
                made, layout=device.image_format, readonly=device.ro,
                uncached=device.nocache, trims=not device.nodelete,
            )  # fmt: skip
        case AhciCd():
            made = replace(made, readonly=True)
        case Nvme():
            layout = device.format or format_of(path)
            made = replace(made, layout=layout, trims=device.dsm != "disable")
        case VirtioScsi():
            readonly = device.ro or device.media == "cdrom"
            made = replace(made, layout=device.format or format_of(path), readonly=readonly)
        case Drive():
            hosts_own = device.interface == "pflash" and path.startswith("/usr/")
            made = replace(
                made, layout=device.format or "raw", uncached=device.nocache,
                readonly=device.media == "cdrom" or hosts_own,
            )  # fmt: skip
        case _:
            assert_never(device)
    return made


def blockdev(image: Image, key: str) -> Argument:
    """A -blockdev of an image: the node of its format, with its file's inside."""
    protocol = _protocol(image.path)
    uncached = image.uncached or protocol == "host_device"
    shared: dict[str, object] = {"read-only": image.readonly}
    if uncached:
        shared["cache"] = {"direct": True}
    file: dict[str, object] = {
        "driver": protocol, "filename": image.path, "aio": "native" if uncached else "threads"
    }  # fmt: skip
    node: dict[str, object] = {"driver": image.layout, "node-name": image.node}
    if image.trims and not image.readonly:
        node["discard"] = "unmap"
    return argument("-blockdev", in_json(node | shared | {"file": file | shared}), key=key)


def _protocol(path: str) -> str:
    """The block driver of QEMU for what a path leads to."""
    if path.startswith(OPTICAL):
        return "host_cdrom"
    return "host_device" if path.startswith("/dev/") and not path.startswith(FILES) else "file"
