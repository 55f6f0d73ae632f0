"""The devices of a machine, from `emulations` and from the shortcuts that stand for the obvious."""

from __future__ import annotations

from vm_spec.devices import KINDS, Graphic, Nic, PortName
from vm_spec.frozen import TYPE_CHECKING, is_list, is_table, replace
from vm_spec.limits import MOST_EMULATIONS
from vm_spec.reader import nearest
from vm_spec.types import Label, Mac

if TYPE_CHECKING:
    from vm_spec.devices import Emulation
    from vm_spec.fault import Path
    from vm_spec.reader import Raw, Reader

__all__ = ["SHORTCUTS", "complete", "devices", "graphic", "listed"]

# shortcut -> the devices that it may stand for, the obvious one first
SHORTCUTS = {
    "disk": ("virtio-blk", "ahci-hd", "nvme", "virtio-scsi", "drive"),
    "cd": ("ahci-cd", "virtio-scsi", "drive"),
    "net": ("virtio-net", "e1000", "nic"),
}


def listed(raw: Raw, path: Path, reader: Reader) -> list[tuple[Path, Raw]]:
    """The devices that a base's or a target's table names, verbose, each with where it stands."""
    items = _listed(raw, path, reader) + _shortcuts(raw, path, reader)
    if len(items) > MOST_EMULATIONS:
        reader.note((*path, "emulations"), f"has more than {MOST_EMULATIONS} devices")
        return []
    return items


def devices(
    items: list[tuple[Path, Raw]], reader: Reader, owner: str = ""
) -> tuple[Emulation, ...]:
    """Devices from their verbose tables, each with a label.

    Args:
        items: where each stands, and its table.
        reader: where faults are noted.
        owner: the target's name, or an empty text for the base; labels made up begin with it.
    """
    counts: dict[str, int] = {}
    found: list[Emulation] = []
    for where, item in items:
        kind = str(item.get("device"))
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        label = item.get("label", f"{owner[:20]}{'-' if owner else ''}{kind}-{number}")
        device = _device(item, where, reader, label)
        if device is not None:
            found.append(device)
            reader.places[owner, device.label] = where
    return tuple(found)


def graphic(raw: object, path: Path, reader: Reader) -> Graphic | None:
    """The screen, from its own table."""
    reader.device = "graphic"
    made = reader.record(Graphic, raw, path, label=Label("graphic"))
    reader.device = ""
    return made


def _listed(raw: Raw, path: Path, reader: Reader) -> list[tuple[Path, Raw]]:
    listed = raw.get("emulations", [])
    where = (*path, "emulations")
    if not is_list(listed):
        reader.note(where, "must be a list of tables: [[emulations]]")
        return []
    items: list[tuple[Path, Raw]] = []
    for index, item in enumerate(listed):
        if is_table(item):
            items.append(((*where, index), _modern(item)))
        else:
            reader.note((*where, index), "must be a table of keys and values")
    return items


def _modern(item: Raw) -> Raw:
    """A device of vmrun's first generation in the words of its second.

    `frontend` became `device`, `backend` became `type`, and `device` became `path`.
    """
    item = dict(item)
    if "frontend" in item:
        if "device" in item:
            item["path"] = item.pop("device")
        item["device"] = item.pop("frontend")
        if "backend" in item:
            item["type"] = item.pop("backend")
    return item


def _shortcuts(raw: Raw, path: Path, reader: Reader) -> list[tuple[Path, Raw]]:
    items: list[tuple[Path, Raw]] = []
    for shortcut, kinds in SHORTCUTS.items():
        named = raw.get(shortcut, {})
        if not is_table(named):
            reader.note((*path, shortcut), f"must be named: [{shortcut}.NAME]")
            continue
        for label, item in named.items():
            where = (*path, shortcut, label)
            if is_table(item):
                verbose = _verbose(shortcut, kinds, label, item)
                if verbose["device"] in kinds:
                    items.append((where, verbose))
                else:
                    known = f"a {shortcut} is one of: {', '.join(kinds)}"
                    reader.note((*where, "device"), f"does not stand for a {shortcut}", known)
            else:
                reader.note(where, "must be a table of keys and values")
    return items


def _verbose(shortcut: str, kinds: tuple[str, ...], label: str, item: Raw) -> Raw:
    verbose: Raw = {"device": kinds[0], "label": label} | item
    if shortcut == "cd" and verbose["device"] in ("virtio-scsi", "drive"):
        verbose.setdefault("media", "cdrom")
    return verbose


def _device(raw: Raw, path: Path, reader: Reader, label: object) -> Emulation | None:
    kind = raw.get("device")
    reader.device = f"{kind} {label}"
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        _no_such_kind(kind, path, reader)
        made = None
    else:
        rest = {key: item for key, item in raw.items() if key != "device"} | {"label": label}
        mtu = rest.get("mtu")
        if isinstance(mtu, str) and mtu.isascii() and mtu.isdecimal():  # vmrun's is a text
            rest["mtu"] = int(mtu[:9])
        made = reader.record(cls, rest, path)
    reader.device = ""
    return made


def _no_such_kind(kind: object, path: Path, reader: Reader) -> None:
    where = (*path, "device")
    if kind is None:
        reader.device = ""
        reader.note(where, "is missing", "name the device, for instance virtio-blk")
    elif kind == "fbuf":
        reader.note(where, "is not a device here", "a screen is described by [graphic]")
    else:
        close = nearest(str(kind), KINDS)
        reader.note(where, "is not a known device", f"did you mean {close}?" if close else "")


def complete(found: tuple[Emulation, ...], vm: str, user: str, uid: int) -> tuple[Emulation, ...]:
    """The devices with what was left out filled in: addresses and interface names of cards."""
    return tuple(
        _complete_nic(device, vm, user, uid) if isinstance(device, Nic) else device
        for device in found
    )


def _complete_nic(nic: Emulation, vm: str, user: str, uid: int) -> Emulation:
    assert isinstance(nic, Nic)  # noqa: S101  for the type checker: `complete` has looked
    needs_name = nic.name is None and nic.backend in ("tap", "macvtap")
    if nic.mac is not None and not needs_name:
        return nic
    digest = _digest(f"{user}\0{vm}\0{nic.label}")
    mac = ":".join(["52", *(digest[at : at + 2] for at in range(0, 10, 2))])
    return replace(
        nic,
        mac=nic.mac or Mac(mac),
        name=PortName(_default_name(uid, digest)) if needs_name else nic.name,
    )


def _default_name(uid: int, digest: str) -> str:
    """The name of an interface, which no other user can ask for.

    The owner's uid is in it in base 36, and five digits in base 32 tell this NIC from their others.
    """
    letters, owner, number = "0123456789abcdefghijklmnopqrstuvwxyz", "", int(digest, 16)
    while uid or not owner:
        uid, digit = divmod(uid, 36)
        owner = letters[digit] + owner
    return f"vm{owner}-" + "".join(letters[number >> 5 * place & 31] for place in range(5))


def _digest(text: str) -> str:
    """Ten hex digits that stand for a text (FNV-1a, 64 bits, folded to 40).

    Nothing is secret here, and hashlib's OpenSSL would cost 4 ms at each start.
    """
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{(value ^ value >> 40) & 0xFFFFFFFFFF:010x}"
