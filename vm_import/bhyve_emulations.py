"""A device of bhyve's configuration -> the same device in this project's words.

What a device's own fields have no place for goes word for word into its `bhyve` table.
"""

from __future__ import annotations

from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    ConsolePort,
    Graphic,
    Hda,
    NicType,
    Nvme,
    Passthru,
    PortName,
    Trim,
    VgaMode,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
    format_of,
)
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.storage import ImageFormat
from vm_spec.types import FilePath, Forward, Label, Mac, PciId

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.devices import Emulation
    from vm_spec.types import PciSlot

__all__ = ["LABELS", "device", "path_of"]

LABELS = {"virtio-blk": "disk", "virtio-net": "net", "ahci": "sata", "virtio-9p": "share"}
BARE = {"true", "yes", "on", "1"}
CONSOLE_PORTS = 16


class Keys(dict[str, str]):
    """A device's keys; what is taken out is in a field, the rest goes into its own table."""

    def path(self, key: str) -> FilePath:
        """A path."""
        return path_of(self.pop(key))

    def flag(self, key: str) -> bool:
        """Whether a key is there and true."""
        return self.get(key, "").lower() in BARE and bool(self.pop(key))

    def number(self, key: str) -> int | None:
        """A number that would be written the same again."""
        text = self.get(key, "")
        return int(self.pop(key)) if text.isdecimal() and str(int(text)) == text else None


def path_of(text: str) -> FilePath:
    """A path; `~` and `uefi` are names of files, as they are to bhyve.

    Raises:
        ValueError: it is too long for one.
    """
    return FilePath(f"./{text}" if text.startswith("~") or text == "uefi" else text)


def device(kind: str, label: Label, slot: PciSlot, keys: dict[str, str]) -> Emulation | None:
    """A device, or None if our words have none like it; who asks looks whether it is the same.

    Raises:
        ValueError: a text is none that our words take.
        KeyError: it lacks something.
    """
    return MADE[kind](label, slot, Keys(keys)) if kind in MADE else None


def _blk(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    return VirtioBlk(label=label, slot=slot, **_disk(keys), bhyve=tuple(keys.items()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def _disk(keys: Keys) -> dict[str, object]:
    path = keys.path("path")
    found: dict[str, object] = {"path": path, "format": _raw(path)}
    logical, slash, physical = keys.pop("sectorsize", "").partition("/")
    if logical:
        found["logical_sector_size"] = int(logical)
    if slash:
        found["physical_sector_size"] = int(physical)
    found |= {key: True for key in ("ro", "nocache", "direct", "nodelete") if keys.flag(key)}
    return found | {"ser": keys.pop("ser", "")}


def _raw(path: str) -> ImageFormat | None:
    """To bhyve an image is raw, whatever it is called."""
    return None if format_of(path) == "raw" else ImageFormat("raw")


def _ahci(label: Label, slot: PciSlot, keys: Keys) -> Emulation | None:
    port = Keys((key.removeprefix("port.0."), text) for key, text in keys.items())
    kind = port.pop("type", "")
    if kind not in ("hd", "cd") or any(key.startswith("port.") for key in port):
        return None
    more = {"nmrr": port.number("nmrr"), "rev": port.pop("rev", ""), "model": port.pop("model", "")}
    if kind == "cd":
        more |= {"path": port.path("path"), "ser": port.pop("ser", "")}
        return AhciCd(label=label, slot=slot, **more, bhyve=tuple(port.items()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return AhciHd(label=label, slot=slot, **_disk(port), **more, bhyve=tuple(port.items()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def _nvme(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    path = keys.path("path") if "path" in keys else None
    return Nvme(
        label=label,
        slot=slot,
        path=path,
        format=_raw(path or ""),
        ram=keys.number("ram"),
        maxq=keys.number("maxq"),
        qsz=keys.number("qsz"),
        ioslots=keys.number("ioslots"),
        sectsz=keys.number("sectsz"),
        ser=keys.pop("ser", ""),
        eui64=int(keys.pop("eui64"), 0) if "eui64" in keys else None,
        dsm=Trim(keys.pop("dsm")) if "dsm" in keys else None,
        bhyve=tuple(keys.items()),
    )


def _scsi(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    path = keys.path("target.0")
    return VirtioScsi(label=label, slot=slot, path=path, bhyve=tuple(keys.items()))


def _card(cls: type[VirtioNet | E1000]) -> Callable[[Label, PciSlot, Keys], Emulation]:
    def read(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
        backend = keys.pop("backend")
        mac = Mac(keys.pop("mac")) if "mac" in keys else None
        kind = NicType(keys.pop("type")) if "type" in keys else None
        rules: tuple[Forward, ...] = ()
        if backend == "slirp":
            kind = NicType("user")
            keys.pop("open")
            rules = tuple(map(_rule, filter(None, keys.pop("hostfwd", "").split(";"))))
        return cls(
            label=label,
            slot=slot,
            name=None if backend == "slirp" else PortName(backend),
            type=kind,
            mac=mac,
            mtu=keys.number("mtu"),
            forward=rules,
            bhyve=tuple(keys.items()),
        )

    return read


def _rule(text: str) -> Forward:
    return Forward.parse(text.replace("-:", ":"))


def _console(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    ports: list[ConsolePort] = []
    for number in range(CONSOLE_PORTS):
        if f"port.{number}.name" in keys:
            name = Label(keys.pop(f"port.{number}.name"))
            ports.append(ConsolePort(name=name, path=keys.path(f"port.{number}.path")))
    return VirtioConsole(label=label, slot=slot, ports=tuple(ports), bhyve=tuple(keys.items()))


def _share(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    name, path, ro = Label(keys.pop("sharename")), keys.path("path"), keys.flag("ro")
    rest = tuple(keys.items())
    return Virtio9p(label=label, slot=slot, sharename=name, path=path, ro=ro, bhyve=rest)


def _rnd(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    return VirtioRnd(label=label, slot=slot, bhyve=tuple(keys.items()))


def _input(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    return VirtioInput(label=label, slot=slot, path=keys.path("path"), bhyve=tuple(keys.items()))


def _usb(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    tablet = keys.pop("slot.1.device", "") == "tablet"
    return Xhci(label=label, slot=slot, tablet=tablet, bhyve=tuple(keys.items()))


def _sound(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    play = keys.path("play") if "play" in keys else None
    rec = keys.path("rec") if "rec" in keys else None
    return Hda(label=label, slot=slot, play=play, rec=rec, bhyve=tuple(keys.items()))


def _passthru(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    source = PciId.parse("/".join(keys.pop(key) for key in ("bus", "slot", "func")))
    rom = keys.path("rom") if "rom" in keys else None
    return Passthru(label=label, slot=slot, src=source, rom=rom, bhyve=tuple(keys.items()))


def _screen(label: Label, slot: PciSlot, keys: Keys) -> Emulation:
    rfb, tcp = keys.pop("rfb", ""), keys.pop("tcp", "")
    host, _, port = (rfb or tcp).rpartition(":")
    return Graphic(
        label=label,
        slot=slot,
        host=host.strip("[]") or "127.0.0.1",
        port=int(port or 5900),
        password=keys.pop("password", ""),
        wait=keys.flag("wait"),
        width=keys.number("w") or 1024,
        height=keys.number("h") or 768,
        vga=VgaMode(keys.pop("vga")) if "vga" in keys else None,
        xhci_table=False,
        bhyve=tuple(keys.items()),
    )


MADE: dict[str, Callable[[Label, PciSlot, Keys], Emulation | None]] = {
    "ahci": _ahci,
    "e1000": _card(E1000),
    "fbuf": _screen,
    "hda": _sound,
    "nvme": _nvme,
    "passthru": _passthru,
    "virtio-9p": _share,
    "virtio-blk": _blk,
    "virtio-console": _console,
    "virtio-input": _input,
    "virtio-net": _card(VirtioNet),
    "virtio-rnd": _rnd,
    "virtio-scsi": _scsi,
    "xhci": _usb,
}
