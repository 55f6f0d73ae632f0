"""The description that a pulled box gets: a few keys for vm-run(1), and where it came from.

The keys are the fewest that say all, in the shortcuts of vm.toml(5); what a stranger has written
stands in comments only, and escaped.
"""

from __future__ import annotations

from vm_pull.hardware.hardware import plain
from vm_pull.net.urls import shown
from vm_spec.frozen import TYPE_CHECKING, Value, replace
from vm_spec.storage import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vm_pull.hardware.hardware import Hardware

__all__ = ["Provenance", "describe", "for_bhyve"]

Table = dict[str, object]

DEFAULT_MEMORY = 1 << 30  # bytes; Vagrant's providers give 512 MiB to 1 GiB
MOST_NOTES = 20
_MIB = 1 << 20
_FORMATS = {"vmdk-sparse": "vmdk", "vmdk-split": "vmdk", "vhd": "vpc"}
_QEMU: Table = {"qemu": {"vga": "std"}}  # boxes are made on a screen, and some stop without one
_SCREEN = """
# To see its screen, put this in the place of [qemu], and point a VNC viewer at localhost:5900.
# [graphic]
# port = 5900
"""
_KEYS = "https://github.com/hashicorp/vagrant/tree/main/keys"


class Provenance(Value):
    """Where a box came from.

    Attributes:
        source: what was asked for: `ubuntu/trusty64`, an URL, a file.
        url: where the box itself was fetched; empty for a file.
        version: the release's; empty when there is none.
        provider: as the catalogue calls it.
        architecture: as the catalogue calls it; empty when unknown.
        checksum: `sha256:` and the digits; empty when none is published.
        checksum_verified: whether the box has it.
        pulled_on: the day, 2026-11-20.
    """

    source: str
    url: str = ""
    version: str = ""
    provider: str = ""
    architecture: str = ""
    checksum: str = ""
    checksum_verified: bool = False
    pulled_on: str = ""


def describe(
    name: str,
    hardware: Hardware,
    disks: Sequence[tuple[str, str]],
    port: int,
    provenance: Provenance,
) -> str:
    """The text of a description: vm-run takes it as it is, on QEMU and on bhyve.

    Only a disk of a virtio SCSI controller is for QEMU alone: see `for_bhyve`.

    Args:
        name: the machine's.
        hardware: what it had; its firmware where its disk has told that.
        disks: each disk's file beside the description and its image's kind, in the same order.
        port: the host's, which leads to the guest's ssh.
        provenance: where the box came from.
    """
    import tomli_w  # only for who writes one

    head = [*_origin(provenance), "", *_use(name, hardware, port), "", *_found(hardware)]
    machine, shown_disks, card, qemu = map(
        tomli_w.dumps, (_machine(hardware), _disks(hardware, disks), _card(hardware), _QEMU)
    )
    comments = "".join(f"# {line}".rstrip() + "\n" for line in head)
    card += f'forward = ["{port}:22"]\n' + _mac(hardware)  # tomli_w gives a list three lines
    return "\n".join((comments, machine, shown_disks, card, qemu)) + _SCREEN


def for_bhyve(hardware: Hardware) -> Hardware:
    """The same hardware without virtio SCSI disks: bhyve shows an image through virtio-blk."""
    if not any(disk.bus == "virtio-scsi" for disk in hardware.disks):
        return hardware
    disks = tuple(
        replace(disk, bus="virtio-blk") if disk.bus == "virtio-scsi" else disk
        for disk in hardware.disks
    )
    note = "its virtio SCSI disks are virtio-blk here: bhyve has no image on virtio-scsi"
    return replace(hardware, disks=disks, notes=(*hardware.notes, note))


def _origin(provenance: Provenance) -> Iterator[str]:
    source, version = plain(shown(provenance.source)), plain(provenance.version)
    kinds = " ".join(filter(None, (plain(provenance.provider), plain(provenance.architecture))))
    yield f"{source} {version}".rstrip() + (f" for {kinds}" if kinds else "")
    if provenance.url and plain(shown(provenance.url)) != source:
        yield f"from {plain(shown(provenance.url))}"
    if provenance.pulled_on:
        yield f"pulled on {plain(provenance.pulled_on)}"
    if provenance.checksum:
        verified = "verified" if provenance.checksum_verified else "not verified"
        yield f"{plain(provenance.checksum)} ({verified})"
    else:
        yield "no checksum is published for it"


def _use(name: str, hardware: Hardware, port: int) -> Iterator[str]:
    commands = (
        (f"vm-run {name}", "start it; Ctrl-C asks it to power off"),
        (f"vm-run --detach {name}", f"start it in the background; vm-stop {name} ends it"),
        (f"ssh -p {port} {hardware.user}@localhost", "log in, once it has booted"),
        (f"vm-console {name}", "its serial port, if it has a console there"),
    )
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        yield f"  {command:<{width}}   {meaning}"
    yield ""
    if hardware.own_key:
        yield "The box has a key of its own for ssh: its Vagrantfile names it (private_key_path)."
        return
    yield "Nearly all boxes have the password vagrant, and a key that everybody knows:"
    yield _KEYS
    yield "Change both before others than this host can reach the guest."


def _found(hardware: Hardware) -> Iterator[str]:
    if hardware.os:
        yield f"Its maker calls its system {plain(hardware.os)}."
    if hardware.firmware == "bios":
        yield "It boots by BIOS, and bhyve has UEFI only: it is for QEMU."
    if any(disk.bus == "virtio-scsi" for disk in hardware.disks):
        yield "On bhyve its virtio-scsi disks must be virtio-blk, if the guest has that driver."
    for note in hardware.notes[:MOST_NOTES]:
        yield f"Note: {plain(note)}."


def _machine(hardware: Hardware) -> Table:
    memory = hardware.memory or DEFAULT_MEMORY
    table: Table = {"cpu": hardware.cpus or 1, "mem": f"{max(1, memory // _MIB)}M"}
    if hardware.firmware == "uefi":
        table["bootrom"] = "uefi"
    return table | {"com1": "socket"}


def _disks(hardware: Hardware, disks: Sequence[tuple[str, str]]) -> Table:
    return {
        "disk": {
            f"disk{number}": _disk(use.bus, *disk)
            for number, (use, disk) in enumerate(zip(hardware.disks, disks, strict=True))
        }
    }


def _disk(bus: str, file: str, kind: str) -> Table:
    table: Table = {} if bus == "virtio-blk" else {"device": bus}
    table["path"] = file.replace("%", "%%")
    form = _FORMATS.get(kind, kind)
    return table if form == format_of(file) else table | {"format": form}


def _card(hardware: Hardware) -> Table:
    table: Table = {} if hardware.nic == "virtio-net" else {"device": hardware.nic}
    if hardware.nic_slot:
        table["slot"] = hardware.nic_slot  # guests call it after that: enp0s3
    return {"net": {"lan": table}}


def _mac(hardware: Hardware) -> str:
    if not hardware.mac:
        return ""
    return f'# mac = "{plain(hardware.mac)}"  # of the box, and of all who pull it\n'
