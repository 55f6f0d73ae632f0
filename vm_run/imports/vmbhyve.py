"""A vm-bhyve `.conf` as a description.

Source: vm-bhyve's sample template, config.sample; bhyve(8).
"""

from __future__ import annotations

import re

from vm_run.imports import shell
from vm_run.imports.draft import Draft, decoded, with_format
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.imports.draft import Table

__all__ = ["imported"]

_CSM = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CSM.fd"
_OFF = ("", "no", "off", "false", "0")
_FLAGS = {"direct": "direct", "nocache": "nocache", "ro": "ro", "nodelete": "nodelete"}
_DISKS = ("virtio-blk", "ahci-hd", "ahci-cd", "nvme")
_CARDS = ("virtio-net", "e1000")
_CARRIED = re.compile(
    r"guest|loader|uefi|uefi_vars|cpu|cpu_(?:sockets|cores|threads)|memory|wired_memory|hostbridge"
    r"|ignore_bad_msr|bhyve_options|comports|utctime|uuid|disk(?:0|[1-9]\d{0,2})_(?:type|dev|name|opts|size)"
    r"|network(?:0|[1-9]\d{0,2})_(?:type|switch|device|name|mac)|passthru(?:0|[1-9]\d{0,2})"
    r"|virt_random|vnc_password"
    r"|graphics(?:_(?:port|listen|res|wait|vga))?|xhci_mouse|sound(?:_(?:play|rec))?",
    re.ASCII,
)
_KNOWN = re.compile(r"(?:loader|guest|uefi|disk0_(?:type|name)|network0_(?:type|switch))", re.ASCII)


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a configuration of vm-bhyve.

    Args:
        text: the file.
        name: the machine's.

    Raises:
        VmError: it has none of vm-bhyve's keys, is not text, or contradicts itself.
    """
    found = shell.read(_cleaned(decoded(text, "vm-bhyve configuration")))
    said = found.words
    if not any(map(_KNOWN.fullmatch, said)):
        problem = "is no vm-bhyve configuration: it has neither a loader nor disk0_name"
        raise VmError(Fault(problem=problem, hint="vm-bhyve's are called NAME/NAME.conf"))
    draft = Draft(name, "Imported from a vm-bhyve configuration.")
    _machine(draft, said)
    _loader(draft, said)
    _disks(draft, said)
    _cards(draft, said)
    _others(draft, said)
    _screen(draft, said)
    for key, value in said.items():
        if value.lower() not in _OFF and not _is_carried(key, said):
            draft.lost(f"{key} {value}")
    for line in found.others:
        draft.lost(f"{line} (not a plain key and value)")
    return draft.text()


def _is_carried(key: str, said: dict[str, str]) -> bool:
    """Whether a key was looked at: of a device only beside its type."""
    device = re.match(r"(?:disk|network)\d+_", key, re.ASCII)
    if device and not said.get(f"{device[0]}type"):
        return False
    return _CARRIED.fullmatch(key) is not None


def _cleaned(text: str) -> str:
    """The lines that vm-bhyve reads: they begin with a key, and end where a `#` stands."""
    lines = (line.partition("#")[0] for line in text.split("\n"))
    return "\n".join(line for line in lines if line[:1].strip())


def _on(said: dict[str, str], key: str, default: str = "") -> bool:
    return said.get(key, default).lower() not in _OFF


def _number(text: str) -> int:
    """A whole number; 0 for what is none."""
    return int(text) if re.fullmatch("[0-9]{1,6}", text, re.ASCII) else 0


def _machine(draft: Draft, said: dict[str, str]) -> None:
    count = _number(said.get("cpu", "1"))
    parts = {
        part: _number(said.get(f"cpu_{part}", "")) or 1 for part in ("sockets", "cores", "threads")
    }
    product = parts["sockets"] * parts["cores"] * parts["threads"]
    if product > 1 and product != count:
        draft.hint(f"cpu is {count}, and sockets, cores and threads make {product}.")
    draft.put("cpu", parts if product > 1 else count)
    memory = said.get("memory") or "256M"
    draft.put("mem", f"{memory}M" if _number(memory) > 0 else memory)
    ports = said.get("comports") or "com1"
    for port in ports.split():
        if port in ("com1", "com2", "com3", "com4"):
            draft.put(port, "socket")
        else:
            draft.lost(f"the serial port {port}")
    if said.get("uuid"):
        draft.put("uuid", said["uuid"])
    _switches(draft, said)
    if said.get("bhyve_options"):
        draft.within("bhyve", args=said["bhyve_options"])


def _switches(draft: Draft, said: dict[str, str]) -> None:
    if not _on(said, "utctime", "yes"):
        draft.put("utc_clock", False)
    if _on(said, "wired_memory"):
        draft.put("wire_guest_mem", True)
    if said.get("hostbridge") == "amd":
        draft.put("hostbridge", "amd_hostbridge")
    elif said.get("hostbridge") not in (None, "", "standard"):
        draft.lost(f"hostbridge {said['hostbridge']}")
    if _on(said, "ignore_bad_msr"):
        draft.within("bhyve", config={"x86.strictmsr": False})


def _loader(draft: Draft, said: dict[str, str]) -> None:
    loader, older = said.get("loader", ""), said.get("uefi", "")
    if loader == "uefi-csm" or (not loader and "csm" in older):
        draft.put("bootrom", _CSM)
        draft.hint("bootrom is bhyve's alone; on QEMU leave it out, which is a BIOS.")
    elif loader == "uefi" or (not loader and _on(said, "uefi")):
        draft.put("bootrom", "uefi")
    else:
        loader = loader or f"for {said.get('guest') or 'this guest'}"
        draft.lost(f"the loader {loader}: on bhyve the guest needs a UEFI boot loader of its own")


def _numbers(said: dict[str, str], start: str, end: str) -> list[int]:
    """The numbers of the devices whose key is there: disk0_type, passthru0."""
    found = (re.fullmatch(rf"{start}(0|[1-9][0-9]{{0,2}}){end}", key, re.ASCII) for key in said)
    return sorted(int(match[1]) for match in found if match and said[match[0]])


def _disks(draft: Draft, said: dict[str, str]) -> None:
    for number in _numbers(said, "disk", "_type"):
        start = f"disk{number}_"
        kind, place = said[f"{start}type"], said.get(f"{start}dev") or "file"
        path = said.get(f"{start}name", "")
        if kind not in _DISKS or not path or place == "iscsi":
            draft.lost(f"disk{number}: {kind} {place} {path}")
            continue
        if place in ("zvol", "sparse-zvol"):
            path = f"/dev/zvol/zroot/vm/{draft.name}/{path}"
            draft.hint(f"disk{number}: this dataset is a guess, the file does not name it.")
        elif place == "file":
            draft.hint(f"disk{number}: {path} is in vm-bhyve's folder of this guest, and here")
            draft.hint("beside the description: move it, or write the whole path.")
        fields: Table = {"path": path} if kind == "ahci-cd" else with_format(path, "raw")
        fields |= _options(draft, said.get(f"{start}opts", ""))
        draft.device(kind, "cd" if kind == "ahci-cd" else "disk", fields)
        if said.get(f"{start}size"):
            draft.hint(f"If it is not there yet: truncate -s {said[f'{start}size']} {path}")


def _options(draft: Draft, text: str) -> Table:
    fields: Table = {}
    for option in filter(None, text.split(",")):
        key, _, value = option.strip().partition("=")
        if key in _FLAGS:
            fields[_FLAGS[key]] = True
        elif key == "sectorsize":
            logical, _, physical = value.partition("/")
            fields["logical_sector_size"] = _number(logical)
            if physical:
                fields["physical_sector_size"] = _number(physical)
        else:
            draft.lost(f"the disk's option {option}")
    return fields


def _cards(draft: Draft, said: dict[str, str]) -> None:
    for number in _numbers(said, "network", "_type"):
        start = f"network{number}_"
        kind, switch = said[f"{start}type"], said.get(f"{start}switch", "")
        if kind not in _CARDS:
            draft.lost(f"network{number}: {kind} on the switch {switch}")
            continue
        card: Table = {"type": "tap"}
        device = said.get(f"{start}device") or said.get(f"{start}name")
        if device:
            card["name"] = device
        if said.get(f"{start}mac"):
            card["mac"] = said[f"{start}mac"]
        if switch:
            card["bridge"] = f"vm-{switch}"
            draft.hint(f"vm-{switch} is the bridge that vm-bhyve makes for its switch {switch}.")
        draft.device(kind, "net", card)


def _others(draft: Draft, said: dict[str, str]) -> None:
    for number in _numbers(said, "passthru", ""):
        source, _, slot = said[f"passthru{number}"].partition("=")
        where: Table = {"slot": slot} if slot else {}
        draft.device("passthru", "passthru", {"src": source} | where)
    if _on(said, "virt_random"):
        draft.device("virtio-rnd", "random", {})
    if _on(said, "sound"):
        ends = {key: said.get(f"sound_{key}", "") for key in ("play", "rec")}
        draft.device("hda", "sound", {key: path for key, path in ends.items() if path})


def _screen(draft: Draft, said: dict[str, str]) -> None:
    if not _on(said, "graphics"):
        return
    draft.within("graphic", xhci_table=_on(said, "xhci_mouse"))
    if said.get("graphics_port"):
        draft.within("graphic", port=_number(said["graphics_port"]))
    width, _, height = (said.get("graphics_res") or "800x600").partition("x")
    draft.within("graphic", width=_number(width), height=_number(height))
    if said.get("graphics_wait") == "yes":
        draft.within("graphic", wait=True)
    if said.get("graphics_vga"):
        draft.within("graphic", vga=said["graphics_vga"])
    host = said.get("graphics_listen") or "127.0.0.1"
    if host != "127.0.0.1":
        draft.hint(f"Its screen was at {host}; it is this host's own until [graphic] says host.")
    if said.get("vnc_password"):
        draft.lost("the password of its screen: give [graphic] one")
