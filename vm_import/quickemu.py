"""A quickemu `.conf` as a description. The file is a shell script; here it is data.

Source: quickemu_conf(5), OPTIONS; quickemu(1).
"""

from __future__ import annotations

import re

from vm_import import quickemu_devices, shell
from vm_import.draft import Draft, decoded
from vm_import.heard import OFF, Keys
from vm_import.quickemu_devices import PC
from vm_spec.fault import Fault, VmError

__all__ = ["imported"]

_LOCAL_CLOCK = ("windows", "windows-server", "reactos", "freedos")
_BIOS = ("freedos", "kolibrios", "reactos")
_IDLE = re.compile(
    r"monitor(?:_cmd|_telnet_(?:port|host))?|serial_telnet_(?:port|host)|viewer(?:_extra_args)?"
    r"|spice_port|gl|fullscreen|access|shortcut_options",
    re.ASCII,
)
_WHY = {
    "secureboot": 'bootrom = "uefi" is firmware without it',
    "macos_release": "it chose the disk's and the card's kind; an apple-smc device is yours to add",
    "keyboard": "it is a PS/2 one",
    "keyboard_layout": "[qemu] args has QEMU's -k",
    "usb_controller": "[graphic] brings an xhci, and a device of kind xhci is another",
    "sound_duplex": "an hda has a line out and a line in",
    "max_outputs": "there is one screen",
    "cpu_pinning": "taskset(1) sets it for a process that runs",
    "braille": "[qemu] args has QEMU's -usbdevice",
}
_USUAL = {"keyboard": "ps2", "keyboard_layout": "en-us"}  # what it is here without a word


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a quickemu configuration.

    Args:
        text: the file.
        name: the machine's.

    Raises:
        VmError: it has neither guest_os nor disk_img, is not text, is of another processor's
            machine, or contradicts itself.
    """
    found = shell.read(decoded(text, "quickemu configuration"))
    if not {"guest_os", "disk_img"} & found.words.keys():
        problem = "is no quickemu configuration: it has neither guest_os nor disk_img"
        raise VmError(Fault(problem=problem, hint="quickemu's are called NAME.conf"))
    said = Keys(found.words)
    if (arch := said.get("arch", "x86_64")) not in ("x86_64", "amd64"):
        raise VmError(Fault(problem=f"is a machine for {arch}, and x86_64 is what runs here"))
    guest = said.get("guest_os", "linux").lower()
    draft = Draft(name, f"Imported from a quickemu configuration; the guest is {guest}.")
    _machine(draft, said)
    _quirks(draft, guest)
    _firmware(draft, said, guest)
    quickemu_devices.devices(draft, said, found.arrays, guest)
    _rest(draft, said, found)
    return draft.text()


def _machine(draft: Draft, said: Keys) -> None:
    for key, ours, default in (("cpu_cores", "cpu", "2"), ("ram", "mem", "2G")):
        given = said.get(key)
        if not given:
            draft.hint(f"{ours}: quickemu chooses it by the host; this is a guess.")
        count = key == "cpu_cores" and re.fullmatch("[0-9]{1,6}", given or default, re.ASCII)
        draft.put(ours, int(given or default) if count else given or default)
    serial = said.get("serial", "socket")
    if serial != "none":
        draft.put("com1", "socket")
    if serial not in ("none", "socket"):
        draft.lost(f"serial {serial}: com1 is a socket, which vm-console opens")
    if said.on("tpm"):
        draft.within("tpm", type="swtpm", interface="tis")
        draft.hint("Its TPM is a new one: what quickemu's has sealed stays with quickemu.")


def _quirks(draft: Draft, guest: str) -> None:
    """What quickemu does for one guest and not for another."""
    if guest in _LOCAL_CLOCK:
        draft.put("utc_clock", False)
    if guest in PC:
        draft.within("qemu", machine="pc")
    if guest in ("kolibrios", "reactos"):
        draft.within("qemu", cpu="qemu32")
    if guest.startswith("windows"):
        draft.hint('Windows is faster with [qemu] cpu = "host,hv_passthrough", which needs KVM.')


def _firmware(draft: Draft, said: Keys, guest: str) -> None:
    if guest == "macos":
        folder = said.get("disk_img").rpartition("/")[0] or "."
        draft.put("bootrom", f"{folder}/OVMF_CODE.fd")
        draft.put("varfile", f"{folder}/OVMF_VARS-1024x768.fd")
        draft.hint("bootrom and varfile are those that quickget puts there.")
    elif "efi" in said.get("boot", "efi").lower() and guest not in _BIOS:
        draft.put("bootrom", "uefi")
        draft.hint("The UEFI variables are new ones; quickemu's are OVMF_VARS.fd by the disk.")


def _rest(draft: Draft, said: Keys, found: shell.Assignments) -> None:
    for key, value in said.rest():
        idle = _IDLE.fullmatch(key) is not None
        if _USUAL.get(key) == value or (value.lower() in OFF and (idle or key in _WHY)):
            continue
        if idle:
            draft.idle(key)
        else:
            draft.lost(f"{key} {value}: {_WHY.get(key, 'is not known')}")
    for key, items in found.arrays.items():
        if items and key not in quickemu_devices.ARRAYS:
            draft.lost(f"{key} {' '.join(items)}: {_WHY.get(key, 'is not known')}")
    for line in found.others:
        draft.lost(f"{line} (not an assignment of plain text: not run)")
