"""The devices of a quickemu configuration: what each guest has is decided by guest_os there.

Source: quickemu_conf(5), OPTIONS; quickemu(1).
"""

from __future__ import annotations

import re

from vm_import.draft import with_format
from vm_import.heard import number
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import Forward

if TYPE_CHECKING:
    from vm_import.draft import Draft, Table
    from vm_import.heard import Keys

    Arrays = dict[str, tuple[str, ...]]

__all__ = ["ARRAYS", "PC", "devices"]

ARRAYS = ("port_forwards", "usb_devices")
PC = ("batocera", "freedos", "haiku", "kolibrios", "reactos", "solaris")
"""The guests whose machine is QEMU's pc."""
SSH_PORT = "22220"  # the first that quickemu tries
_IDE = ("freedos", "kolibrios", "reactos")  # no driver for virtio
_OLD_MACOS = ("", "high-sierra", "mojave")  # no virtio disk
_NEW_MACOS = ("big-sur", "monterey", "ventura", "sonoma", "sequoia", "tahoe")  # a virtio card
_CARDS = {"reactos": "e1000", "windows-server": "e1000", "freedos": "rtl8139",
          "kolibrios": "rtl8139", "haiku": "rtl8139", "batocera": "rtl8139"}  # fmt: skip
_USB = re.compile("(?:0x)?([0-9a-f]{4}):(?:0x)?([0-9a-f]{4})", re.ASCII | re.IGNORECASE)


def devices(draft: Draft, said: Keys, arrays: Arrays, guest: str) -> None:
    """Puts the devices of a configuration into a description."""
    release = said.get("macos_release") if guest == "macos" else ""
    _disks(draft, said, guest, release)
    _network(draft, said, arrays, _model(guest, release))
    _screen(draft, said)
    draft.device("virtio-rnd", "random", {})
    if said.get("public_dir", "none") != "none":
        folder: Table = {"sharename": "Public", "path": said.get("public_dir")}
        draft.device("virtio-9p", "folder", folder)
        draft.hint("What a guest mounts is called Public here, without the user's name.")
    sound = said.get("sound_card", "none")
    if sound in ("intel-hda", "ich9-intel-hda"):
        draft.device("hda", "sound", {})
    elif sound != "none":
        draft.lost(f"sound_card {sound}: there is hda")
    arguments = [
        *_usb(draft, _listed(said, arrays, "usb_devices")),
        *said.get("extra_args").split(),
    ]
    if arguments:
        draft.within("qemu", args=arguments)
        draft.hint("args in [qemu] are arguments of QEMU: read them before you start it.")


def _listed(said: Keys, arrays: Arrays, key: str) -> tuple[str, ...]:
    """An array; a plain word is one of one item, as for a shell."""
    word = said.get(key)
    return arrays.get(key) or ((word,) if word else ())


def _disks(draft: Draft, said: Keys, guest: str, release: str) -> None:
    draft.hint("Relative paths start where this description is.")
    image, form = said.get("disk_img"), said.get("disk_format", "qcow2")
    if guest == "macos":
        loader = f"{image.rpartition('/')[0] or '.'}/OpenCore.qcow2"
        draft.device("ahci-hd", "disk", with_format(loader, "qcow2"))
        draft.hint(f"{loader} is the boot loader that quickget puts there.")
    recovery = said.get("img")
    if recovery and guest == "batocera":
        draft.device("virtio-blk", "disk", with_format(recovery, "raw"))
    size, kind = said.get("disk_size", "16G"), said.get("preallocation", "off")
    if image:
        _disk(draft, _kind(guest, release), image, form)
        options = "" if kind == "off" else f" -o preallocation={kind}"
        draft.hint(
            f"If its disk is not there yet: qemu-img create -f {form}{options} {image} {size}"
        )
    if path := said.get("fixed_iso"):
        _cd(draft, path, guest, "")
    if path := said.get("floppy"):
        draft.device("drive", "floppy", {"interface": "floppy", "path": path, "format": "raw"})
    _media(draft, said.get("iso"), "" if guest == "batocera" else recovery, guest)


def _media(draft: Draft, iso: str, recovery: str, guest: str) -> None:
    """What quickemu boots from while the disk is empty: the target that installs."""
    if iso:
        _cd(draft, iso, guest, "install")
    if recovery:
        draft.device("ahci-hd", "disk", with_format(recovery, "raw"), "install")
    if iso or recovery:
        draft.hint(f"To install: vm-run {draft.name} -t install")


def _kind(guest: str, release: str) -> str:
    """What shows the disk."""
    if guest in _IDE:
        return "drive"
    old = guest == "macos" and release in _OLD_MACOS
    return "ahci-hd" if old or guest == "windows-server" else "virtio-blk"


def _disk(draft: Draft, kind: str, path: str, form: str) -> None:
    whole: Table = {"path": path, "format": form}
    draft.device(kind, "disk", whole if kind == "drive" else with_format(path, form))


def _cd(draft: Draft, path: str, guest: str, target: str) -> None:
    if guest in _IDE:
        draft.device("drive", "cd", {"path": path, "media": "cdrom"}, target)
    else:
        draft.device("ahci-cd", "cd", {"path": path}, target)


def _model(guest: str, release: str) -> str:
    """What the guest sees for a network card."""
    if guest == "macos":
        return "virtio-net" if release in _NEW_MACOS else "vmxnet3"
    return _CARDS.get(guest, "virtio-net")


def _network(draft: Draft, said: Keys, arrays: Arrays, model: str) -> None:
    network = said.get("bridge") or said.get("network", "user")
    mac, ports = said.get("macaddr"), _forwards(draft, said, arrays)
    if network in ("none", "restrict"):
        if network == "restrict":
            draft.lost("network restrict: this machine has no card instead")
        return
    card: Table = {"mac": mac} if mac else {}
    if network in ("user", "nat"):
        card["forward"] = ports
        if _listed(said, arrays, "port_forwards"):
            draft.hint("Forwarded ports are TCP's and this host's own; quickemu's are everybody's.")
    else:
        card["bridge"] = network
    if model in ("virtio-net", "e1000"):
        draft.device(model, "net", card)
    else:
        draft.device("nic", "net", {"model": model} | card)


def _forwards(draft: Draft, said: Keys, arrays: Arrays) -> list[object]:
    """Ports of the host: those given, and ssh's as quickemu does."""
    wanted = [f"{said.get('ssh_port', SSH_PORT)}:22", *_listed(said, arrays, "port_forwards")]
    taken: dict[int, str] = {}
    for text in wanted:
        try:
            forward = Forward.parse(text)
        except ValueError as error:
            draft.lost(f"the forwarded port {text}: {error}")
            continue
        if forward.port in taken:
            draft.lost(f"the forwarded port {text}: {taken[forward.port]} has it")
        taken.setdefault(forward.port, text)
    return [*taken.values()]


def _screen(draft: Draft, said: Keys) -> None:
    display, mouse = said.get("display", "sdl"), said.get("mouse", "tablet")
    sizes = {key: number(said.get(key)) for key in ("width", "height")}
    if display == "none":
        return
    draft.within("graphic", **{key: pixels for key, pixels in sizes.items() if pixels})
    draft.hint("Its screen: vm-console --web, or a VNC viewer at localhost:5900.")
    if mouse != "tablet":
        draft.within("graphic", xhci_table=False)
    if mouse not in ("tablet", "ps2"):
        draft.lost(f"mouse {mouse}: it is a PS/2 one")


def _usb(draft: Draft, wanted: tuple[str, ...]) -> list[str]:
    """QEMU's arguments for devices of the host's USB."""
    arguments: list[str] = []
    for text in wanted:
        if found := _USB.fullmatch(text):
            place = f"bus=hostpass.0,vendorid=0x{found[1]},productid=0x{found[2]}"
            arguments += ["-device", f"usb-host,{place}"]
        else:
            draft.lost(f"usb_devices {text}: is no pair of ids")
    if not arguments:
        return []
    draft.hint("Devices of this host's USB must be yours to write: /dev/bus/usb.")
    return ["-device", "qemu-xhci,id=hostpass", *arguments]
