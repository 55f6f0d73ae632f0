"""A quickemu `.conf` as a description. The file is a shell script; here it is data.

Source: quickemu_conf(1), OPTIONS.
"""

from __future__ import annotations

import re

from vm_run.imports import shell
from vm_run.imports.draft import Draft, decoded, with_format
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING
from vm_spec.words import Forward

if TYPE_CHECKING:
    from vm_run.imports.draft import Table

__all__ = ["imported"]

SSH_PORT = "22220"  # the first that quickemu tries
_OFF = ("", "off", "no", "none", "false")
_LEGACY = ("freedos", "kolibrios", "reactos")  # no driver for virtio, and a BIOS
_CARDS = {"reactos": "e1000", "kolibrios": "rtl8139", "macos": "vmxnet3"}
_CARRIED = {
    "boot", "cpu_cores", "disk_format", "disk_img", "disk_size", "display", "extra_args",
    "fixed_iso", "floppy", "guest_os", "height", "img", "iso", "macaddr", "network",
    "port_forwards", "ram", "ssh_port", "viewer", "width",
}  # fmt: skip
_HINTS = {
    "tpm": "there is none",
    "secureboot": 'bootrom = "uefi" is firmware without it',
    "usb_devices": "give the guest its controller as a passthru, or use args in [qemu]",
    "public_dir": "a virtio-9p device shares a folder",
    "macos_release": "an apple-smc device and macOS's own boot loader are yours to add",
}


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a quickemu configuration.

    Args:
        text: the file.
        name: the machine's.

    Raises:
        VmError: it has neither guest_os nor disk_img, is not text, or contradicts itself.
    """
    found = shell.read(decoded(text, "quickemu configuration"))
    said = found.words
    if not {"guest_os", "disk_img"} & said.keys():
        problem = "is no quickemu configuration: it has neither guest_os nor disk_img"
        raise VmError(Fault(problem=problem, hint="quickemu's are called NAME.conf"))
    guest = said.get("guest_os") or "linux"
    draft = Draft(name, f"Imported from a quickemu configuration; the guest is {guest}.")
    _machine(draft, said, guest)
    _disks(draft, said, guest)
    _network(draft, found, guest)
    _screen(draft, said)
    _rest(draft, found)
    return draft.text()


def _machine(draft: Draft, said: dict[str, str], guest: str) -> None:
    for key, ours, default in (("cpu_cores", "cpu", "2"), ("ram", "mem", "2G")):
        given = said.get(key) or default
        if given == default and not said.get(key):
            draft.hint(f"{ours}: quickemu chooses it by the host; this is a guess.")
        draft.put(ours, int(given) if key == "cpu_cores" and _is_number(given) else given)
    if said.get("boot", "efi") != "legacy" and guest not in _LEGACY:
        draft.put("bootrom", "uefi")
        draft.hint("The UEFI variables are new ones; quickemu's are OVMF_VARS.fd by the disk.")
    draft.put("com1", "socket")
    if guest.startswith("windows"):
        draft.put("utc_clock", False)
    if guest in _LEGACY:
        draft.within("qemu", machine="pc")
    if said.get("extra_args"):
        draft.within("qemu", args=said["extra_args"])
        draft.hint("args in [qemu] are arguments of QEMU: read them before you start it.")


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,6}", text, re.ASCII) is not None


def _disks(draft: Draft, said: dict[str, str], guest: str) -> None:
    draft.hint("Relative paths start where this description is.")
    kind = "drive" if guest in _LEGACY else "ahci-hd" if guest == "macos" else "virtio-blk"
    if path := said.get("disk_img"):
        form = said.get("disk_format") or "qcow2"
        whole: Table = {"path": path, "format": form}
        draft.device(kind, "disk", whole if kind == "drive" else with_format(path, form))
        size = said.get("disk_size") or "16G"
        draft.hint(f"If its disk is not there yet: qemu-img create -f {form} {path} {size}")
    if path := said.get("fixed_iso"):
        _cd(draft, path, guest, "")
    if path := said.get("floppy"):
        draft.device("drive", "floppy", {"interface": "floppy", "path": path})
    if path := said.get("iso"):
        _cd(draft, path, guest, "install")
        draft.hint(f"To install: vm-run {draft.name} -t install")
    if path := said.get("img"):
        draft.device("ahci-hd", "disk", with_format(path, "raw"), "install")


def _cd(draft: Draft, path: str, guest: str, target: str) -> None:
    kind = "drive" if guest in _LEGACY else "ahci-cd"
    draft.device(kind, "cd", {"path": path}, target)


def _network(draft: Draft, found: shell.Assignments, guest: str) -> None:
    network = found.words.get("network") or "user"
    if network in ("none", "restrict"):
        if network == "restrict":
            draft.lost("network restrict: this machine has no card instead")
        return
    card: Table = {}
    if found.words.get("macaddr"):
        card["mac"] = found.words["macaddr"]
    if network not in ("user", "nat"):
        card["bridge"] = network
    else:
        card["forward"] = _forwards(draft, found)
    model = _CARDS.get(guest, "virtio-net")
    if model in ("virtio-net", "e1000"):
        draft.device(model, "net", card)
    else:
        draft.device("nic", "net", {"model": model} | card)


def _forwards(draft: Draft, found: shell.Assignments) -> list[object]:
    """Ports of the host: those given, and ssh's as quickemu does."""
    wanted = [f"{found.words.get('ssh_port') or SSH_PORT}:22"]
    wanted += found.arrays.get("port_forwards", ())
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
    if found.arrays.get("port_forwards"):
        draft.hint("Forwarded ports are TCP's and this host's own; quickemu's are everybody's.")
    return [*taken.values()]


def _screen(draft: Draft, said: dict[str, str]) -> None:
    if said.get("display") == "none":
        return
    draft.within("graphic")
    draft.hint("Its screen: vm-console --web, or a VNC viewer at localhost:5900.")
    for key in ("width", "height"):
        if _is_number(said.get(key, "")):
            draft.within("graphic", **{key: int(said[key])})


def _rest(draft: Draft, found: shell.Assignments) -> None:
    for key, value in found.words.items():
        if key not in _CARRIED and value.lower() not in _OFF:
            draft.lost(f"{key} {value}" + (f": {_HINTS[key]}" if key in _HINTS else ""))
    for key, items in found.arrays.items():
        if key != "port_forwards" and items:
            draft.lost(f"{key} {' '.join(items)}" + (f": {_HINTS[key]}" if key in _HINTS else ""))
    for line in found.others:
        draft.lost(f"{line} (not an assignment of plain text: not run)")
