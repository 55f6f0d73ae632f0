"""The disks, CDs and floppies of a libvirt domain, in the order it boots them.

Source: libvirt, Domain XML format, Hard drives, floppy disks, CDROMs; libvirt, Bhyve driver.
"""

from __future__ import annotations

from vm_import.draft import with_format
from vm_import.heard import number
from vm_spec.frozen import TYPE_CHECKING, is_table

if TYPE_CHECKING:
    from vm_import.draft import Draft, Table
    from vm_import.libvirt_xml import Node

__all__ = ["disks"]

_BUSES = {"virtio": "virtio-blk", "sata": "ahci-hd", "nvme": "nvme", "scsi": "virtio-scsi"}
_CLASSES = {"disk": "hd", "lun": "hd", "cdrom": "cdrom", "floppy": "fd"}
_LAST = 1 << 30


def disks(draft: Draft, domain: Node) -> None:
    """Puts all of them into a description; the first is what firmware tries first."""
    order = [boot.get("dev") for boot in domain.one("os").all("boot")] or ["hd"]
    bhyve = domain.get("type") == "bhyve"
    found = domain.one("devices").all("disk")
    found = found if bhyve else sorted(found, key=lambda disk: _turn(disk, order))
    kinds = [_CLASSES.get(disk.get("device") or "disk", "") for disk in found]
    # the tables disk and cd come one after the other; only a list has them mixed
    mixed = "cdrom" in kinds and "hd" in kinds[kinds.index("cdrom") :]
    for disk in found:
        disk.one("boot").done()
        _disk(draft, disk, mixed)
    if "network" in order:
        draft.lost("<os> <boot> dev=network: a card has no boot ROM here")


def _turn(disk: Node, order: list[str]) -> tuple[int, int]:
    """When a disk is tried: by its own number, else by what it is."""
    own = number(disk.one("boot").get("order")) or _LAST
    kind = _CLASSES.get(disk.get("device") or "disk", "")
    return own, order.index(kind) if kind in order else len(order)


def _disk(draft: Draft, disk: Node, mixed: bool) -> None:
    source, target, kind = disk.one("source"), disk.one("target"), disk.get("type")
    path, media = source.get("file") or source.get("dev"), disk.get("device") or "disk"
    place = target.get("dev")
    if kind not in ("file", "block", "ctl", "") or (media == "disk" and not path):
        name = source.get("volume") or source.get("name") or path
        draft.lost(f"the {media} {place}: {kind} {name}")
        disk.done()
    elif not path:  # a drive with no medium in it
        draft.hint(f"An empty {media} drive was left out.")
        disk.done()
    elif disk.one("encryption") or source.one("encryption") or disk.one("mirror"):
        draft.lost(f"the {media} {path}: it is encrypted or being copied")
        disk.done()
    elif media == "floppy" or target.get("bus") == "fdc":
        form = disk.one("driver").get("type") or "raw"
        fields: Table = {"interface": "floppy", "path": path, "format": form}
        draft.device("drive", "floppy", fields)
    elif media in ("cdrom", "disk", "lun"):
        _medium(draft, disk, path, mixed)
    else:
        draft.lost(f"the {media} {path}")
        disk.done()


def _is_pc(draft: Draft) -> bool:
    qemu = draft.tables.get("qemu")
    return is_table(qemu) and qemu.get("machine") == "pc"


def _medium(draft: Draft, disk: Node, path: str, mixed: bool) -> None:
    """A disk or a CD."""
    bus = disk.one("target").get("bus")
    if disk.get("device") != "cdrom":
        if disk.get("device") == "lun":
            draft.lost(f"the lun {path}: here it is a disk")
        _hard_disk(draft, disk, path, "drive" if mixed else "disk")
        return
    disk.one("readonly")
    kind = {"scsi": "virtio-scsi"}.get(bus, "ahci-cd")
    if bus == "ide" and _is_pc(draft):
        kind = "drive"
    fields: Table = {"path": path} if kind == "ahci-cd" else {"path": path, "media": "cdrom"}
    form = disk.one("driver").get("type") or "raw"
    if form != "raw":
        draft.lost(f"the cdrom {path}: its format {form}, a CD is raw")
        return
    if kind == "ahci-cd" and disk.one("serial").text:
        fields["ser"] = disk.one("serial").text
    draft.device(kind, "drive" if mixed else "cd", fields)


def _hard_disk(draft: Draft, disk: Node, path: str, start: str) -> None:
    target, driver = disk.one("target"), disk.one("driver")
    bus, form = target.get("bus") or "virtio", driver.get("type") or "raw"
    fields = with_format(path, form)
    kind = _BUSES.get(bus, "ahci-hd")
    if bus == "ide" and _is_pc(draft):
        kind, fields["format"] = "drive", form
    elif bus not in _BUSES:
        draft.hint(f"{path} was on {bus}; here it is on SATA.")
    if disk.one("readonly"):
        fields["ro"] = True
    if kind in ("virtio-blk", "ahci-hd", "nvme") and disk.one("serial").text:
        fields["ser"] = disk.one("serial").text
    if kind == "ahci-hd" and target.get("rotation_rate"):
        fields["nmrr"] = number(target.get("rotation_rate"))
    if kind in ("virtio-blk", "ahci-hd"):
        fields |= _blocks(disk.one("blockio")) | _discarded(driver)
    draft.device(kind, start, fields | _cache(driver, kind))


def _blocks(blockio: Node) -> Table:
    sizes = {
        key: number(blockio.get(word))
        for key, word in (
            ("logical_sector_size", "logical_block_size"),
            ("physical_sector_size", "physical_block_size"),
        )
    }
    return {key: size for key, size in sizes.items() if size}


def _discarded(driver: Node) -> Table:
    return {"nodelete": True} if driver.get("discard") == "ignore" else {}


def _cache(driver: Node, kind: str) -> Table:
    """A cache mode of libvirt's in our words, where the device takes them."""
    fields: Table = {}
    if kind not in ("virtio-blk", "ahci-hd", "drive"):
        return fields
    mode = driver.get("cache")
    if mode in ("none", "directsync"):
        fields["nocache"] = True
    if kind != "drive" and mode in ("writethrough", "directsync"):
        fields["direct"] = True
    return fields
