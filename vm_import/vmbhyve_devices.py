"""The devices of a guest of vm-bhyve's, as those of a description.

Source: vm-bhyve, vm(8), GUEST CONFIGURATION FORMAT, and config.sample; bhyve(8).
"""

from __future__ import annotations

import re

from vm_import.draft import with_format
from vm_import.heard import number
from vm_spec.devices import KINDS
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_import.draft import Draft, Table
    from vm_import.heard import Keys

__all__ = ["devices"]

_FLAGS = {"direct": "direct", "sync": "direct", "nocache": "nocache", "ro": "ro",
          "nodelete": "nodelete"}  # fmt: skip
_NUMBERS = ("nmrr", "maxq", "qsz", "ioslots", "sectsz")
_TEXTS = ("ser", "rev", "model", "dsm")
_DISKS = ("virtio-blk", "ahci-hd", "ahci-cd", "nvme")
_CARDS = ("virtio-net", "e1000")
_PORTS = 16  # of a virtio console (bhyve(8))
_NUMBERED = ("yes", "on", "1")


def devices(draft: Draft, said: Keys) -> None:
    """Puts the devices of a configuration into a description."""
    for index in said.numbers("disk", "_type"):
        _disk(draft, said, index)
    for index in said.numbers("network", "_type"):
        _card(draft, said, index)
    for index in said.numbers("passthru", ""):
        _passthru(draft, said, index)
    if said.on("virt_random"):
        draft.device("virtio-rnd", "random", {})
    if said.on("sound"):
        ends = {key: said.get(f"sound_{key}") for key in ("play", "rec")}
        draft.device("hda", "sound", {key: path for key, path in ends.items() if path})
    _consoles(draft, said)
    _seen(draft, said)


def _disk(draft: Draft, said: Keys, index: int) -> None:
    start = f"disk{index}_"
    kind, place = said.get(f"{start}type"), said.get(f"{start}dev", "file")
    path, options = said.get(f"{start}name"), said.get(f"{start}opts")
    size = said.get(f"{start}size")
    if kind == "virtio-9p":
        _folder(draft, path, options)
        return
    if kind not in _DISKS or not path or place == "iscsi":
        draft.lost(f"disk{index}: {' '.join(filter(None, (kind, place, path, options, size)))}")
        return
    if place in ("zvol", "sparse-zvol"):
        path = f"/dev/zvol/zroot/vm/{draft.name}/{path}"
        draft.hint(f"disk{index}: this dataset is a guess, the file does not name it.")
    elif place == "file":
        where = "beside the description, not in vm-bhyve's folder"
        draft.hint(f"disk{index}: {path} is looked for {where}: move it, or write its whole path.")
    elif place != "custom":
        draft.lost(f"{start}dev {place}: {path} is taken for its path")
    fields: Table = {"path": path} if kind == "ahci-cd" else with_format(path, "raw")
    fields |= _options(draft, kind, options)
    draft.device(kind, "cd" if kind == "ahci-cd" else "disk", fields)
    if size:
        make = f"zfs create -V {size}" if "zvol" in place else f"truncate -s {size}"
        draft.hint(f"If it is not there yet: {make} {path.removeprefix('/dev/zvol/')}")


def _folder(draft: Draft, name: str, options: str) -> None:
    """A shared folder, which bhyve takes as sharename=/path."""
    share, _, path = name.partition("=")
    fields: Table = {"sharename": share, "path": path}
    words = [word for word in options.split(",") if word]
    if "ro" in words:
        fields["ro"] = True
    for word in words:
        if word != "ro":
            draft.lost(f"the shared folder's option {word}")
    draft.device("virtio-9p", "folder", fields)


def _options(draft: Draft, kind: str, text: str) -> Table:
    fields: Table = {}
    for option in filter(None, text.split(",")):
        key, _, value = option.strip().partition("=")
        if key in _FLAGS:
            fields[_FLAGS[key]] = True
        elif key == "sectorsize":
            logical, _, physical = value.partition("/")
            fields["logical_sector_size"] = number(logical)
            if physical:
                fields["physical_sector_size"] = number(physical)
        elif key in _NUMBERS and key in KINDS[kind].fields:
            fields[key] = number(value)
        elif key in _TEXTS and key in KINDS[kind].fields:
            fields[key] = value
        else:
            draft.lost(f"the disk's option {option}")
    return fields


def _card(draft: Draft, said: Keys, index: int) -> None:
    start = f"network{index}_"
    kind, switch = said.get(f"{start}type"), said.get(f"{start}switch")
    device = said.get(f"{start}device") or said.get(f"{start}name")
    given, mac = said.get(f"{start}name"), said.get(f"{start}mac")
    if kind not in _CARDS:
        draft.lost(f"network{index}: {' '.join(filter(None, (kind, switch, device, mac)))}")
        return
    if given and given != device:
        draft.lost(f"{start}name {given}: its interface is {device}")
    if said.on(f"{start}span"):
        draft.lost(f"{start}span: a bridge's span port is made with ifconfig(8)")
    card: Table = {"type": "tap"}
    if device:
        card["name"] = device
    if mac:
        card["mac"] = mac
    if switch:
        card["bridge"] = f"vm-{switch}"
        draft.hint(f"vm-{switch} is the bridge that vm-bhyve makes for its switch {switch}.")
    draft.device(kind, "net", card)


def _passthru(draft: Draft, said: Keys, index: int) -> None:
    source, _, slot = said.get(f"passthru{index}").partition("=")
    fields: Table = {"src": source}
    if slot:
        fields["slot"] = slot
    for option in filter(None, said.get(f"passthru{index}_options").split(",")):
        key, _, value = option.partition("=")
        if key == "rom":
            fields["rom"] = value
        else:
            draft.lost(f"passthru{index}_options {option}")
    draft.device("passthru", "passthru", fields)


def _consoles(draft: Draft, said: Keys) -> None:
    """One device with a port for each; vm-bhyve calls one that has no name by its number."""
    names = said.row("virt_console")
    if not names:
        return
    for name in names[_PORTS:]:
        draft.lost(f"virt_console {name}: a console has {_PORTS} ports")
    ports: Table = {}
    for index, given in enumerate(names[:_PORTS]):
        name = f"port{index}" if given.lower() in _NUMBERED else given
        if name != given:
            draft.hint(f"The port {index} of its virtio console is called {name} here.")
        ports[name] = f"{draft.name}.vtcon.{re.sub('[^A-Za-z0-9_.-]', '-', name)}"
    draft.device("virtio-console", "console", {"ports": ports})


def _seen(draft: Draft, said: Keys) -> None:
    if said.get("vnc_password"):  # a comment is no place for it
        draft.lost("vnc_password: give [graphic] a password yourself")
    tablet = said.on("xhci_mouse")
    if said.on("graphics"):
        _screen(draft, said, tablet)
    elif tablet:
        draft.device("xhci", "tablet", {})


def _screen(draft: Draft, said: Keys, tablet: bool) -> None:
    width, _, height = said.get("graphics_res", "800x600").partition("x")
    draft.within("graphic", xhci_table=tablet, width=number(width), height=number(height))
    if port := said.get("graphics_port"):
        draft.within("graphic", port=number(port))
    wait = said.get("graphics_wait", "no").lower()
    if wait == "auto":
        draft.lost("graphics_wait auto: on bhyve [targets.install.graphic] wait = true does it")
    elif said.on("graphics_wait"):
        draft.within("graphic", wait=True)
    if mode := said.get("graphics_vga"):
        draft.within("graphic", vga=mode)
    host = said.get("graphics_listen", "127.0.0.1")
    if host != "127.0.0.1":
        draft.hint(f"Its screen was at {host}; it is this host's own until [graphic] says host.")
