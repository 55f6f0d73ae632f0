"""The devices of a libvirt domain, as those of a description.

Source: libvirt, Domain XML format, Devices.
"""

from __future__ import annotations

from vm_run.imports.draft import with_format
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_pull.hardware.xml import Element
    from vm_run.imports.draft import Draft, Table

__all__ = ["devices"]

_SILENT = ("emulator", "controller", "input", "video", "hub", "console", "audio")
_BUSES = {"virtio": "virtio-blk", "sata": "ahci-hd", "nvme": "nvme", "scsi": "virtio-scsi"}
_LOCAL = ("127.0.0.1", "localhost", "::1")
_VIRTIO = ("virtio", "virtio-transitional", "virtio-non-transitional", "virtio-net")


def devices(draft: Draft, domain: Element) -> None:
    """Puts the devices of a domain into a description."""
    found = domain.one("devices")
    for element in found.children:
        make = _MAKERS.get(element.name)
        if make:
            make(draft, element)
        elif element.name not in _SILENT and element.get("model") != "none":
            kind = element.get("type") or element.get("model")
            draft.lost(" ".join(filter(None, (f"<{element.name}>", kind))))
    _ports(draft, found)
    _screen(draft, found)
    if any(card.one("address").get("type") == "pci" for card in found.all("interface")):
        draft.hint("Slots are not libvirt's: guests that name a card by its slot find another.")


def _disk(draft: Draft, disk: Element) -> None:
    source, bus = disk.one("source"), disk.one("target").get("bus")
    path, media = source.get("file") or source.get("dev"), disk.get("device") or "disk"
    if disk.get("type") not in ("file", "block", "") or (media == "disk" and not path):
        name = source.get("volume") or source.get("name") or path
        draft.lost(f"the {media} {disk.one('target').get('dev')}: {disk.get('type')} {name}")
        return
    if not path:  # a drive with no medium in it
        draft.hint(f"An empty {media} drive was left out.")
        return
    if disk.one("encryption") or disk.one("mirror"):
        draft.lost(f"the {media} {path}: it is encrypted or being copied")
        return
    form = disk.one("driver").get("type") or "raw"
    if media == "floppy" or bus == "fdc":
        fields: Table = {"interface": "floppy", "path": path, "format": form}
        draft.device("drive", "floppy", fields)
    elif media == "cdrom":
        _cdrom(draft, path, bus)
    elif media == "disk":
        _hard_disk(draft, disk, path, form)
    else:
        draft.lost(f"the {media} {path}")


def _is_pc(draft: Draft) -> bool:
    return "'machine': 'pc'" in str(draft.tables.get("qemu"))


def _cdrom(draft: Draft, path: str, bus: str) -> None:
    kind = {"scsi": "virtio-scsi"}.get(bus, "ahci-cd")
    if bus == "ide" and _is_pc(draft):
        kind = "drive"
    draft.device(kind, "cd", {"path": path})


def _hard_disk(draft: Draft, disk: Element, path: str, form: str) -> None:
    bus = disk.one("target").get("bus") or "virtio"
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
    label = draft.device(kind, "disk", fields | _cache(disk.one("driver").get("cache"), kind))
    for child in disk.children:
        if child.name in ("iotune", "shareable", "transient", "geometry", "blockio"):
            draft.lost(f"{label} <{child.name}>")


def _cache(mode: str, kind: str) -> Table:
    """A cache mode of libvirt's in our words, where the device takes them."""
    fields: Table = {}
    if kind in ("virtio-blk", "ahci-hd", "drive") and mode in ("none", "directsync"):
        fields["nocache"] = True
    if kind in ("virtio-blk", "ahci-hd") and mode in ("writethrough", "directsync"):
        fields["direct"] = True
    return fields


def _interface(draft: Draft, card: Element) -> None:
    source, kind = card.one("source"), card.get("type")
    fields = _end(draft, card, kind, source)
    if fields is None:
        draft.lost(f"a network card of type {kind}")
        return
    if card.one("mac").get("address"):
        fields["mac"] = card.one("mac").get("address")
    model = card.one("model").get("type") or "rtl8139"
    if model in _VIRTIO:
        if card.one("mtu").get("size").isdecimal():
            fields["mtu"] = int(card.one("mtu").get("size")[:9])
        label = draft.device("virtio-net", "net", fields)
    elif model == "e1000":
        label = draft.device("e1000", "net", fields)
    else:
        label = draft.device("nic", "net", {"model": model} | fields)
    for child in card.children:
        if child.name in ("filterref", "bandwidth", "vlan", "link", "rom", "port", "virtualport"):
            draft.lost(f"{label} <{child.name}>")


def _end(draft: Draft, card: Element, kind: str, source: Element) -> Table | None:
    """The host's end of a card; None for one that there is no word for."""
    tap = card.one("target").get("dev")
    named: Table = {"name": tap} if tap and not tap.startswith(("vnet", "macvtap")) else {}
    match kind:
        case "user":
            return {"forward": _forwards(card)} if card.one("portForward") else {}
        case "bridge":
            return {"bridge": source.get("bridge")} | named
        case "direct":
            if source.get("mode") not in ("", "bridge"):
                draft.lost(f"the mode {source.get('mode')} of a macvtap")
            return {"host_interface": source.get("dev")} | named
        case "network":
            net = source.get("network")
            draft.hint(f"A card was in libvirt's network {net}, and is in user networking here;")
            draft.hint("to be where it was it needs the bridge of that network.")
            return {}
        case "ethernet":
            return {"type": "tap"} | named
        case _:
            return None


def _forwards(card: Element) -> list[object]:
    """Ports of the host, one each: a range of more is its first."""
    return [
        f"{forward.get('proto') or 'tcp'}:{forward.get('address') or '127.0.0.1'}:"
        f"{ports.get('start')}:{ports.get('to') or ports.get('start')}"
        for forward in card.all("portForward")
        for ports in forward.all("range")
        if ports.get("exclude") != "yes"
    ]


def _ports(draft: Draft, found: Element) -> None:
    """The serial ports; of a domain that has none the console, which is then one of them."""
    consoles = [one for one in found.all("console") if one.one("target").get("type") != "virtio"]
    ports = list(found.all("serial")) or consoles[:1]
    for number, port in enumerate(ports, 1):
        source, kind = port.one("source"), port.get("type")
        end = "socket"
        if kind == "dev":
            end = source.get("path")
        elif kind == "nmdm":
            end = source.get("master")
        elif kind not in ("pty", "unix"):
            draft.hint(f"A serial port was {kind}; here it is a socket.")
        if number > 4 or not draft.put(f"com{number}", end):
            draft.lost(f"the serial port {number}, {kind}")
    for console in found.all("console"):
        if console.one("target").get("type") == "virtio":
            draft.lost("a virtio console")


def _screen(draft: Draft, found: Element) -> None:
    screens = list(found.all("graphics"))
    screen = next((one for one in screens if one.get("type") == "vnc"), None)
    for other in screens:
        if other is not screen:
            draft.lost(f"a screen of type {other.get('type')}")
    if not screens:
        return
    draft.within("graphic")
    if screen is None:
        draft.hint("Its screen is VNC's now.")
        return
    port = screen.get("port")
    if port.isdecimal() and screen.get("autoport") != "yes":
        draft.within("graphic", port=int(port[:9]))
    listen = screen.get("listen") or screen.one("listen").get("address")
    if listen and listen not in _LOCAL:
        draft.hint(f"Its screen was at {listen}; it is this host's own until [graphic] says host.")
    if screen.get("passwd"):
        draft.lost("the password of its screen: give [graphic] one")


def _passthru(draft: Draft, device: Element) -> None:
    where = device.one("source").one("address")
    numbers = [where.get(part) or "0" for part in ("domain", "bus", "slot", "function")]
    if device.get("type") != "pci":
        draft.lost(f"a device of the host's: {device.get('type')}")
        return
    try:
        domain, bus, slot, function = (int(number, 0) for number in numbers)
    except ValueError:
        draft.lost(f"the PCI device {' '.join(numbers)}")
        return
    fields: Table = {"src": f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"}
    if device.one("rom").get("file"):
        fields["rom"] = device.one("rom").get("file")
    draft.device("passthru", "passthru", fields)


def _folder(draft: Draft, folder: Element) -> None:
    fields: Table = {
        "sharename": folder.one("target").get("dir"),
        "path": folder.one("source").get("dir"),
    }
    if folder.one("readonly"):
        fields["ro"] = True
    if folder.one("driver").get("type") == "virtiofs":
        draft.hint("A folder was shared by virtiofs; here it is 9p, and mounted as that.")
    draft.device("virtio-9p", "folder", fields)


def _random(draft: Draft, _: Element) -> None:
    draft.device("virtio-rnd", "random", {})


def _sound(draft: Draft, card: Element) -> None:
    if card.get("model") in ("ich6", "ich7", "ich9"):
        draft.device("hda", "sound", {})
    else:
        draft.lost(f"the sound card {card.get('model')}")


def _later(_draft: Draft, _element: Element) -> None:
    """Serial ports and screens are looked at together."""


_MAKERS: dict[str, Callable[[Draft, Element], None]] = {
    "disk": _disk,
    "interface": _interface,
    "hostdev": _passthru,
    "filesystem": _folder,
    "rng": _random,
    "sound": _sound,
    "serial": _later,
    "graphics": _later,
}
