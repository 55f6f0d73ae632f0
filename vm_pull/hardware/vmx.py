"""The machine that a .vmx of VMware's describes.

Source: the keys that VMware's products write themselves; VMware publishes no list of them.
"""

from __future__ import annotations

import re

from vm_pull.hardware.hardware import (
    MOST_CPUS,
    MOST_DISKS,
    MOST_MEMORY,
    DiskUse,
    Hardware,
    bus_of,
    nic_of,
    plain,
    refused,
    whole,
)
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["read"]

MOST_BYTES = 1 << 20
_LINE = re.compile(r'\s*([A-Za-z0-9_.:/-]{1,200})\s*=\s*"([^"]*)"\s*')
_ESCAPE = re.compile(r"\|([0-9A-Fa-f]{2})")
_PLACE = re.compile(r"(scsi|sata|nvme|ide)([0-9]{1,2}):([0-9]{1,2})\.filename", re.ASCII)
_KINDS = ("scsi", "sata", "nvme", "ide")
_MIB = 1 << 20


def read(data: bytes, what: str = "the box's .vmx") -> Hardware:
    """The hardware of a machine of VMware's; `member` of its disks is the file name as written.

    Args:
        data: the file.
        what: how messages call it.

    Raises:
        VmError: it is encrypted, no text of keys and values, or a number in it is none.
    """
    keys = _keys(data, what)
    nic, nic_notes = nic_of(keys.get("ethernet0.virtualdev", "e1000"))
    disks, disk_notes = _disks(keys)
    return Hardware(
        provider="vmware_desktop",
        cpus=whole(keys.get("numvcpus", "1"), "number of processors", MOST_CPUS),
        memory=_memory(keys.get("memsize", "")),
        firmware="uefi" if keys.get("firmware", "").lower() == "efi" else "bios",
        disks=disks,
        nic=nic,
        mac=_mac(keys.get("ethernet0.address") or keys.get("ethernet0.generatedaddress", "")),
        os=plain(keys.get("guestos", "")),
        notes=(*nic_notes, *disk_notes),
    )


def _keys(data: bytes, what: str) -> dict[str, str]:
    """The values by key in small letters; of a key that is there twice the last."""
    if len(data) > MOST_BYTES:
        raise refused(f"{what} is longer than {MOST_BYTES >> 20} MiB")
    text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    found = [_LINE.fullmatch(line) for line in text.splitlines()]
    keys = {line[1].lower(): _unescaped(line[2]) for line in found if line}
    if any(key.startswith("encryption.") for key in keys):
        raise refused(f"{what} is encrypted")
    if not keys:
        raise refused(f"{what} has no key in it")
    return keys


def _unescaped(text: str) -> str:
    """A value in which `|22` is a quotation mark."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _memory(text: str) -> int:
    return whole(text, "memory in MiB", MOST_MEMORY // _MIB) * _MIB if text else 0


def _mac(text: str) -> str:
    return text.lower() if re.fullmatch("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) else ""


def _disks(keys: Mapping[str, str]) -> tuple[tuple[DiskUse, ...], tuple[str, ...]]:
    notes: list[str] = []
    made: list[DiskUse] = []
    for kind, number, unit in sorted(_places(keys)):
        place = f"{_KINDS[kind]}{number}:{unit}"
        model = keys.get(f"scsi{number}.virtualdev", "lsilogic") if kind == 0 else _KINDS[kind]
        bus, words = bus_of(model)
        notes += words
        made.append(DiskUse(member=keys[f"{place}.filename"], bus=bus))
    if len(made) > MOST_DISKS:
        raise refused(f"the box has {len(made)} disks, and the most is {MOST_DISKS}")
    return tuple(made), tuple(dict.fromkeys(notes))


def _places(keys: Mapping[str, str]) -> Iterator[tuple[int, int, int]]:
    """Kind, controller and unit of each disk that is there; CDs are not disks."""
    for key in keys:
        found = _PLACE.fullmatch(key)
        if found and _is_disk(keys, key.removesuffix(".filename")):
            if key != f"{found[1]}{int(found[2])}:{int(found[3])}.filename":
                raise refused(f"the box's .vmx has an odd key: {plain(key)}")
            yield _KINDS.index(found[1]), int(found[2]), int(found[3])


def _is_disk(keys: Mapping[str, str], place: str) -> bool:
    if keys.get(f"{place}.present", "TRUE").upper() != "TRUE":
        return False
    kind = keys.get(f"{place}.devicetype", "disk").lower()
    return "disk" in kind and bool(keys[f"{place}.filename"])
