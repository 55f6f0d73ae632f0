"""The devices of a libvirt domain, as those of a description.

Source: libvirt, Domain XML format, Devices; libvirt, Bhyve driver.
"""

from __future__ import annotations

from vm_import.heard import number
from vm_import.libvirt_cards import card
from vm_import.libvirt_disks import disks
from vm_import.libvirt_hostdevs import folder, given, tpm
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_import.draft import Draft, Table
    from vm_import.libvirt_xml import Node

__all__ = ["devices"]

_LOCAL = ("127.0.0.1", "localhost", "::1")
_OLD_INPUTS = ("mouse", "keyboard")


def devices(draft: Draft, domain: Node) -> None:
    """Puts the devices of a domain into a description."""
    found = domain.one("devices")
    disks(draft, domain)
    for name, make in _MAKERS.items():
        for element in found.all(name):
            make(draft, element)
    _sound(draft, found)
    _ports(draft, found)
    _inputs(draft, found)
    _screen(draft, found)
    for name in ("memballoon", "watchdog", "vsock", "panic"):
        for element in found.all(name):
            _unless_none(draft, element)
    cards = found.all("interface")
    if any(one.one("address").get("type") == "pci" for one in cards):
        draft.hint("Slots are not libvirt's: guests that name a card by its slot find another.")


def _unless_none(draft: Draft, element: Node) -> None:
    """Names a device; a panic device is there always."""
    model = element.get("model")
    if element.name == "panic" and model in ("", "isa", "pvpanic"):
        draft.idle("<panic>")
    elif model != "none":
        draft.lost(" ".join(filter(None, (f"<{element.name}>", model, element.get("action")))))
    element.done()


def _ports(draft: Draft, found: Node) -> None:
    """The serial ports; of a domain that has none the console, which is then one of them."""
    consoles = found.all("console")
    serial = [one for one in consoles if one.one("target").get("type") != "virtio"]
    listed = found.all("serial")
    for index, port in enumerate(listed or serial[:1], 1):
        _port(draft, port, index)
    for console in consoles:
        if console.one("target").get("type") == "virtio":
            draft.lost("a virtio console")
        console.done()  # libvirt shows the first serial port as one, too


def _port(draft: Draft, port: Node, index: int) -> None:
    source, kind, target = port.one("source"), port.get("type"), port.one("target")
    target.get("port")
    model = target.get("type") or target.one("model").get("name")
    target.one("model").done()
    end = "socket"
    if kind == "dev":
        end = source.get("path")
    elif kind == "nmdm":
        end = source.get("master")
    elif kind not in ("pty", "unix"):
        place = " ".join(filter(None, (source.get("host"), source.get("service"))))
        draft.hint(f"A serial port was {kind} {place}".strip() + "; here it is a socket.")
    if kind != "file":
        source.done()
    if index > 4 or model not in ("", "isa-serial", "serial") or not draft.put(f"com{index}", end):
        draft.lost(f"the serial port {index}, {model or kind}")


def _channel(draft: Draft, channel: Node) -> None:
    """A port of a virtio console, on a socket of its own."""
    target, kind = channel.one("target"), channel.get("type")
    name = target.get("name")
    if kind != "unix" or target.get("type") != "virtio" or not name:
        draft.lost(" ".join(filter(None, ("<channel>", kind, name or target.get("type")))))
        channel.done()
        return
    target.get("state")
    path = channel.one("source").get("path") or f"{draft.name}.{name}"
    channel.one("source").get("mode")
    draft.device("virtio-console", "channel", {"ports": {name: path}})


def _inputs(draft: Draft, found: Node) -> None:
    """Whether the screen has a tablet; a device of the host's is the guest's own."""
    tablet = False
    for element in found.all("input"):
        kind, bus, source = element.get("type"), element.get("bus"), element.one("source")
        path = source.get("dev") or source.get("evdev")
        if path:
            draft.device("virtio-input", "input", {"path": path})
        elif kind == "tablet" and bus in ("usb", ""):
            tablet = True
        elif kind in _OLD_INPUTS and bus in ("ps2", "usb", ""):
            draft.idle(f"<input> {kind}")
        else:
            draft.lost(f"<input> {kind} {bus}")
    screens = any(one.get("type") != "egl-headless" for one in found.all("graphics"))
    if screens:
        draft.within("graphic", xhci_table=tablet)
    elif tablet:
        draft.device("xhci", "tablet", {})


def _screen(draft: Draft, found: Node) -> None:
    screens = found.all("graphics")
    screen = next((one for one in screens if one.get("type") == "vnc"), None)
    for other in screens:
        if other is not screen:
            draft.lost(f"<graphics> {other.get('type')}: a screen is VNC's here")
            other.done()
    for video in found.all("video"):
        _video(draft, video, bool(screens))
    if screen:
        _vnc(draft, screen)


def _vnc(draft: Draft, screen: Node) -> None:
    port, listening = screen.get("port"), screen.one("listen")
    if port.isdecimal() and screen.get("autoport") != "yes":
        draft.within("graphic", port=int(port[:9]))
    listen = screen.get("listen") or listening.get("address")
    if listening.get("type") in ("", "address"):
        listening.done()
    if listen and listen not in _LOCAL:
        draft.hint(f"Its screen was at {listen}; it is this host's own until [graphic] says host.")
    if screen.get("wait") == "yes":
        draft.within("graphic", wait=True)
    if screen.get("passwd"):
        draft.lost("the password of its screen: give [graphic] one")


def _video(draft: Draft, video: Node, shown: bool) -> None:
    """The screen's size, and how bhyve shows the old VGA; the card itself is a VGA here."""
    model = video.one("model")
    kind, size, mode = (
        model.get("type"),
        model.one("resolution"),
        video.one("driver").get("vgaconf"),
    )
    width, height = number(size.get("x")), number(size.get("y"))
    if shown:
        draft.within("graphic", **({"width": width, "height": height} if width else {}))
        draft.within("graphic", **({"vga": mode} if mode else {}))
    if kind not in ("", "vga", "gop", "none"):
        draft.lost(f"<video> {kind}: it is a VGA")
    if not shown and kind != "none":
        draft.idle("<video>")
    for word in ("vram", "vgamem", "ram", "heads", "primary"):
        model.get(word)


def _random(draft: Draft, device: Node) -> None:
    backend, rate = device.one("backend"), device.one("rate")
    model, kind, path = device.get("model"), backend.get("model"), backend.text
    if not model.startswith("virtio") or kind not in ("random", "builtin", ""):
        draft.lost(f"<rng> {model} {kind} {path}".rstrip())
        device.done()
        return
    if path not in ("", "/dev/random", "/dev/urandom"):
        draft.lost(f"<rng> <backend> {path}")
    fields: Table = {"max-bytes": number(rate.get("bytes"))} if rate else {}
    if rate:
        fields["period"] = number(rate.get("period")) or 1000
    draft.device("virtio-rnd", "random", {"qemu": fields} if fields else {})


def _sound(draft: Draft, found: Node) -> None:
    """Sound cards; on bhyve each with the host's devices of its audio."""
    ends = {audio.get("id"): _ends(draft, audio) for audio in found.all("audio")}
    for sound in found.all("sound"):
        model, end = sound.get("model"), sound.one("audio").get("id")
        if model in ("ich6", "ich7", "ich9"):
            fields: Table = {key: path for key, path in ends.get(end, {}).items() if path}
            draft.device("hda", "sound", fields)
        else:
            draft.lost(f"<sound> {model}: there is hda")


def _ends(draft: Draft, audio: Node) -> dict[str, str]:
    """The host's devices of a sound card; QEMU's is silent here."""
    kind = audio.get("type")
    if kind == "oss" and draft.tables.get("hypervisor") == "bhyve":
        return {"play": audio.one("output").get("dev"), "rec": audio.one("input").get("dev")}
    if kind != "none":
        draft.lost(f"<audio> {kind}: a sound card of QEMU's is silent here")
        audio.done()
    return {}


_MAKERS: dict[str, Callable[[Draft, Node], None]] = {
    "interface": card,
    "hostdev": given,
    "filesystem": folder,
    "rng": _random,
    "tpm": tpm,
    "channel": _channel,
}
