"""Which keys bhyve ever reads: it says nothing of the others.

Source: bhyve_config(5); the sources of each device of usr.sbin/bhyve.
"""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["devices", "unread"]

SMBIOS = (
    r"bios\.(vendor|version|release_date)"
    r"|system\.(family_name|manufacturer|product_name|serial_number|sku|version)"
    r"|board\.(manufacturer|product_name|version|serial_number|asset_tag|location)"
    r"|chassis\.(manufacturer|version|serial_number|asset_tag|sku)"
)
BOARD = re.compile(
    r"name|cpus|sockets|cores|threads|vcpu\.[0-9]+\.cpuset|memory\.(size|wired|guest_in_core)"
    r"|domains\.[0-9]+\.(size|cpus|domain_policy)|acpi_tables|acpi_tables_in_memory"
    r"|destroy_on_poweroff|monitor|gdb\.(address|port|wait)|keyboard\.layout|rtc\.use_localtime"
    r"|uuid|virtio_msix|config\.dump|bootrom|bootvars|pci\.enable_bars"
    r"|x86\.(mptable|x2apic|strictio|strictmsr|verbosemsr|vmexit_on_hlt|vmexit_on_pause)"
    r"|tpm\.(type|path|version|intf|ppi)|lpc\.fwcfg|" + SMBIOS,
    re.ASCII,
)
SLOT = re.compile(r"pci\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]?)\.([0-7])\.(.+)", re.ASCII | re.DOTALL)
VARIABLE = re.compile(r"%\(([^)]*)\)")
REGISTERS = r"pcireg\.(vendor|device|revid|subvendor|subdevice)"
LPC = re.compile(rf"lpc\.(com[1-4]\.path|pc-testdev|{REGISTERS})", re.ASCII)
BLOCK = r"path|nocache|direct|sync|ro|nodelete|sectorsize|bootindex"
ENDS = r"backend|type|mac|path|peerhook|socket|hook|open|hostfwd"
OF = {
    "ahci": rf"port\.[0-9]+\.({BLOCK}|type|ser|rev|model|nmrr)",
    "e1000": ENDS,
    "fbuf": "rfb|tcp|w|h|vga|wait|password",
    "hda": "play|rec",
    "hostbridge": rf"vendor|devid|{REGISTERS}",
    "lpc": REGISTERS,
    "nvme": rf"{BLOCK}|ram|maxq|qsz|ioslots|sectsz|ser|eui64|dsm",
    "passthru": "bus|slot|func|pptdev|rom|bootindex",
    "uart": "path",
    "virtio-9p": "sharename|path|ro",
    "virtio-blk": rf"{BLOCK}|ser|serial",
    "virtio-console": r"port\.[0-9]+\.(name|path)",
    "virtio-input": "path",
    "virtio-net": rf"{ENDS}|mtu",
    "virtio-rnd": REGISTERS,
    "virtio-scsi": r"target\.[0-9]+|iid|backend|bootindex|seg_max|num_queues|ctl_ringsz"
    "|evt_ringsz|req_ringsz|thr_per_q",
    "xhci": r"slot\.[0-9]+\.device",
}


def devices(tree: Mapping[str, str]) -> dict[tuple[int, int, int], dict[str, str]]:
    """The devices of the PCI bus with their keys, in the order that bhyve looks at them."""
    found: dict[tuple[int, int, int], dict[str, str]] = {}
    for key, text in tree.items():
        if place := SLOT.fullmatch(key):
            bus, slot, function = int(place[1]), int(place[2]), int(place[3])
            if bus < 256 and slot < 32:
                found.setdefault((bus, slot, function), {})[place[4]] = text
    return dict(sorted(found.items()))


def unread(tree: Mapping[str, str]) -> list[str]:
    """Keys that are never read, each with its text: `memory.size = 1G`."""
    named = {name for text in tree.values() for name in _variables(text)}
    on_bus = devices(tree)
    has_lpc = any(keys.get("device") == "lpc" for keys in on_bus.values())
    return [
        f"{key}={text}"
        for key, text in tree.items()
        if not (
            key in named
            or BOARD.fullmatch(key)
            or (has_lpc and LPC.fullmatch(key))
            or _on_bus(key, on_bus)
        )
    ]


def _variables(text: str) -> list[str]:
    """Its variables; behind the last bracket there is none, and the search would not end soon."""
    return VARIABLE.findall(text[: text.rfind(")") + 1])


def _on_bus(key: str, on_bus: Mapping[tuple[int, int, int], Mapping[str, str]]) -> bool:
    place = SLOT.fullmatch(key)
    if not place:
        return False
    device = on_bus.get((int(place[1]), int(place[2]), int(place[3])), {}).get("device", "")
    pattern = f"device|{OF[device]}" if device in OF else "device"
    return bool(re.fullmatch(pattern, place[4], re.ASCII))
