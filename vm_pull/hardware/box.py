"""What a box says of its machine -> its hardware, whichever provider the box was made for."""

from __future__ import annotations

import json

from vm_pull import providers
from vm_pull.hardware import ovf, vagrantfile, vmx
from vm_pull.hardware.hardware import MOST_DISKS, DiskUse, Hardware, plain, refused
from vm_spec.frozen import TYPE_CHECKING, is_list, is_table, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Texts = Mapping[str, bytes]
    Table = dict[str, object]

__all__ = ["DiskUse", "Hardware", "hardware", "other_sizes"]

_X86 = ("", "amd64", "x86_64", "i386", "unknown")


def hardware(texts: Texts, members: Collection[str], asked_provider: str = "") -> Hardware:
    """The machine that a box is for; `member` of each disk is one that the box really has.

    Args:
        texts: the box's small members: metadata.json, an OVF, a .vmx, Vagrantfiles, and the
            descriptors (.vmdk) of disks that are cut into pieces.
        members: the names of all its other members.
        asked_provider: what the catalogue calls it, for a box that does not say itself.

    Raises:
        VmError: it cannot be used here, or says something wrong; the sentence says what.
    """
    metadata = _metadata(texts)
    provider = _provider(metadata, texts, asked_provider)
    if provider not in _READERS:
        hint = f"look for one for {', '.join(providers.USABLE)}"
        raise refused(plain(providers.why_not(provider)), hint)
    hints = vagrantfile.read(texts, provider)
    found = vagrantfile.applied(hints, _READERS[provider](metadata, texts, members))
    if not found.disks:
        raise refused("the box has no disk", "ask who made it, or try another version")
    there = {*members, *(name for name in texts if name.lower().endswith(".vmdk"))}
    disks = tuple(replace(disk, member=_member(disk.member, there)) for disk in found.disks)
    if len({disk.member for disk in disks}) < len(disks):
        raise refused("the box has one image as two disks")
    notes = (*found.notes, *_architecture(metadata, found))
    return replace(found, provider=provider, disks=disks, notes=tuple(dict.fromkeys(notes)))


def other_sizes(found: Hardware, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """A note for each disk whose image has another size than the box says; the image wins.

    Args:
        found: the box's hardware.
        sizes: the images' virtual sizes in bytes, by member.
    """
    return tuple(
        f"{plain(disk.member)} has {sizes[disk.member]} bytes, and the box says {disk.capacity}"
        for disk in found.disks
        if disk.capacity and sizes.get(disk.member, disk.capacity) != disk.capacity
    )


def _metadata(texts: Texts) -> Table:
    """The table of metadata.json; empty where there is none, as in boxes of Vagrant 1.0."""
    if "metadata.json" not in texts:
        return {}
    try:
        table: object = json.loads(texts["metadata.json"])
    except (ValueError, RecursionError):
        raise refused("the box's metadata.json is not JSON") from None
    if not is_table(table):
        raise refused("the box's metadata.json must be a table")
    return table


def _provider(metadata: Table, texts: Texts, asked: str) -> str:
    given = metadata.get("provider")
    if given is not None and not isinstance(given, str):
        raise refused("the box's metadata.json names no provider, but something else")
    if not given and any(name.lower().endswith(".ovf") for name in texts):
        given = "virtualbox"
    name = given or asked
    if not name:
        hint = "name it if you know it: vm-pull --provider libvirt"
        raise refused("the box does not say which provider it is for", hint)
    return providers.canonical(name)


def _member(name: str, there: Collection[str]) -> str:
    """The box's member of a name that the box's own texts give.

    Nothing is ever opened by such a name, so this is the second lock: it must be plain, and it
    must be there. An OVF writes hrefs as URIs do: `%20`.

    Raises:
        VmError: it is neither.
    """
    from urllib.parse import unquote

    for candidate in (name, unquote(name)):
        known = candidate.removeprefix("./")
        if known in there and _is_plain(known):
            return known
    if not _is_plain(name.removeprefix("./")):
        raise refused(f"the box names a file outside of itself as a disk: {plain(name)}")
    raise refused(f"the box names a disk that is not in it: {plain(name)}", "it may be damaged")


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    odd = name.startswith("-") or ":" in name or not name.isprintable()
    return not odd and not any(part in ("", ".", "..") for part in parts)


def _only(texts: Texts, ending: str, favourite: str = "") -> tuple[str, bytes]:
    """The one text of an ending."""
    if favourite in texts:
        return favourite, texts[favourite]
    names = [name for name in texts if name.lower().endswith(ending)]
    if len(names) != 1:
        raise refused(f"the box has {len(names)} members that end in {ending}, and must have one")
    return names[0], texts[names[0]]


def _virtualbox(_metadata: Table, texts: Texts, _members: Collection[str]) -> Hardware:
    name, data = _only(texts, ".ovf", "box.ovf")
    return ovf.read(data, plain(name))


def _vmware(_metadata: Table, texts: Texts, _members: Collection[str]) -> Hardware:
    name, data = _only(texts, ".vmx")
    return vmx.read(data, plain(name))


def _libvirt(metadata: Table, _texts: Texts, _members: Collection[str]) -> Hardware:
    """Of version 2 with a list of disks, of version 1 with the one box.img."""
    listed = metadata.get("disks")
    if listed is None:
        return Hardware(provider="libvirt", disks=(DiskUse(member="box.img", bus="virtio-blk"),))
    if not is_list(listed) or not 0 < len(listed) <= MOST_DISKS:
        raise refused(f"disks of the box's metadata.json must be a list of 1 to {MOST_DISKS}")
    disks = tuple(DiskUse(member=_path(disk), bus="virtio-blk") for disk in listed)
    return Hardware(provider="libvirt", disks=disks)


def _path(disk: object) -> str:
    path = disk.get("path") if is_table(disk) else None
    if not isinstance(path, str):
        raise refused("a disk of the box's metadata.json has no path")
    return path


def _bhyve(_metadata: Table, _texts: Texts, members: Collection[str]) -> Hardware:
    return Hardware(
        provider="bhyve",
        firmware="uefi" if "uefi.fd" in members else "",
        disks=(DiskUse(member="disk.img", bus="virtio-blk"),),
    )


_READERS: dict[str, Callable[[Table, Texts, Collection[str]], Hardware]] = {
    "virtualbox": _virtualbox,
    "libvirt": _libvirt,
    "qemu": _libvirt,
    "bhyve": _bhyve,
    "vmware_desktop": _vmware,
}


def _architecture(metadata: Table, found: Hardware) -> tuple[str, ...]:
    """A note for a guest of another processor than vm-run's."""
    given = metadata.get("architecture")
    name = given if isinstance(given, str) else ""
    if name in _X86 and not found.os.lower().endswith("_arm64"):
        return ()
    return (f"the box is for {plain(name) or 'arm64'}, and vm-run runs guests of amd64",)
