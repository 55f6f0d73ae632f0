"""The vmman dialect: sections of sections, each value a text, with QEMU's own words in them."""

from __future__ import annotations

from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING, is_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.fault import Path
    from vm_spec.reader import Raw, Reader

__all__ = ["is_vmman", "translate"]

_BASE = {
    "machine": "machine",
    "smp": "smp",
    "cpu": "cpu",
    "vga": "vga",
    "display": "display",
    "mempath": "hugepages",
}
_NIC_KEYS = {"mac": "mac", "interface": "name", "bridge": "bridge", "slot": "slot"}
_NICS = {"virtio-net-pci": "virtio-net", "virtio-net": "virtio-net", "e1000": "e1000"}


def is_vmman(raw: Raw) -> bool:
    """Whether these tables are a description of vmman's: one of its sections is there."""
    return any(_is_section(raw.get(kind)) for kind in ("base", *_SECTIONS))


def _is_section(found: object) -> bool:
    return is_table(found) and any(map(is_table, found.values()))


def translate(raw: Raw, reader: Reader) -> tuple[Raw, list[tuple[Path, Raw]], list[str]]:
    """The sections of vmman in the words of the native form.

    Returns:
        the machine's own keys, its devices with where each stands, and notes for the user.
    """
    native: Raw = {}
    emulations: list[tuple[Path, Raw]] = []
    notes: list[str] = []
    labels: set[str] = set()
    for kind, sections in raw.items():
        if kind == "name":
            native["name"] = sections
            continue
        for label, section in _labelled(kind, sections, reader):
            where = (kind, label)
            if kind == "base":
                native |= _base(section, where, reader)
                continue
            before = len(reader.faults)
            item = _SECTIONS[kind](section, where, reader) | {"label": _label(kind, label, labels)}
            if len(reader.faults) == before:
                emulations.append((where, item))
            if kind == "bridge":
                shown = printable(label)
                notes.append(f"[bridge.{shown}] is deprecated: write [macvtap.{shown}]")
    return native, emulations, notes


def _labelled(kind: str, sections: object, reader: Reader) -> list[tuple[str, Raw]]:
    if kind != "base" and kind not in _SECTIONS:
        reader.unknown((kind,), ("base", *_SECTIONS))
        return []
    if not is_table(sections):
        reader.note((kind,), f"must be named: [{kind}.NAME]")
        return []
    found: list[tuple[str, Raw]] = []
    for label, section in sections.items():
        if is_table(section):
            found.append((label, section))
        else:
            reader.note((kind, label), "must be a table of keys and values")
    return found


def _label(kind: str, text: str, labels: set[str]) -> str:
    """An id for QEMU, and no other device's: vmman took any text, and one text for each kind."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in text)[:32]
    label, number = kept if kept[:1].isalpha() else f"d{kept}", len(labels)
    while label in labels:
        label, number = f"{kind[:6]}{number}-{kept}", number + 1
    labels.add(label)
    return label


def _known(section: Raw, path: Path, reader: Reader, *required: str, also: str = "") -> None:
    """Notes unknown and missing keys, and values that are no texts."""
    known = {*required, *also.split()}
    for key, item in section.items():
        if key not in known:
            reader.unknown((*path, key), known)
        elif not isinstance(item, str):
            reader.note((*path, key), "must be a text, as all values of vmman's")
    for key in required:
        if key not in section:
            reader.note((*path, key), "is missing")


def _base(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(
        section, path, reader, "machine", "smp", "mem",
        also="cpu smbios serial vga display mempath",
    )  # fmt: skip
    section = {key: item for key, item in section.items() if isinstance(item, str)}
    qemu: Raw = {ours: section[key] for key, ours in _BASE.items() if key in section}
    for key in ("smbios", "serial"):
        if key in section:
            qemu[key] = [section[key]]
    native: Raw = {"qemu": qemu, "hypervisor": "qemu"}
    if qemu.get("serial") == ["stdio"]:
        del qemu["serial"]
        native["com1"] = "stdio"
    mem = section.get("mem", "1")
    native["mem"] = f"{mem}M" if isinstance(mem, str) and mem.isdecimal() else mem
    return native


def _storage(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(section, path, reader, "driver", "file", also="media")
    driver, media = section.get("driver"), section.get("media", "disk")
    item: Raw = {"path": section.get("file"), "format": "raw", "nocache": True}
    if driver == "virtio":
        return item | {"device": "virtio-blk", "ro": media == "cdrom"}
    if driver == "scsi":
        del item["nocache"]
        return item | {"device": "virtio-scsi", "media": media}
    return item | {"device": "drive", "interface": driver, "media": media}


def _nic(section: Raw) -> Raw:
    driver = section.get("driver")
    item: Raw = {ours: section[key] for key, ours in _NIC_KEYS.items() if key in section}
    if isinstance(driver, str) and driver in _NICS:
        return item | {"device": _NICS[driver]}
    return item | {"device": "nic", "model": driver}


def _tapbridge(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(section, path, reader, "interface", "bridge", "mac", "driver")
    return _nic(section) | {"type": "tap"}


def _macvtap(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(section, path, reader, "interface", "host-interface", "mac", "driver")
    found = _nic(section) | {"type": "macvtap"}
    return found | {"host_interface": section.get("host-interface")}


def _passthrough(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(section, path, reader, "dev", also="romfile")
    item: Raw = {"device": "passthru", "src": section.get("dev")}
    if "romfile" in section:
        item |= {"rom": section["romfile"], "qemu": {"multifunction": True}}
    return item


def _apple_smc(section: Raw, path: Path, reader: Reader) -> Raw:
    _known(section, path, reader, "osk")
    return {"device": "apple-smc", "osk": section.get("osk")}


_SECTIONS: dict[str, Callable[[Raw, Path, Reader], Raw]] = {
    "storage": _storage,
    "tapbridge": _tapbridge,
    "macvtap": _macvtap,
    "bridge": _macvtap,
    "pcie-passthrough": _passthrough,
    "apple-smc": _apple_smc,
}
