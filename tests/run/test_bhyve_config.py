"""The -k file says what the argv says, by the rules of bhyve's own parser; untested on FreeBSD."""

from __future__ import annotations

import pytest

from vm_run.bhyve import argv
from vm_run.bhyve.config import beside, config, flat
from vm_run.pci_slots import Placed, place
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    ConsolePort,
    Emulation,
    Graphic,
    Hda,
    HexPair,
    Lookup,
    NicType,
    Nvme,
    Passthru,
    PortName,
    Raw,
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
)
from vm_spec.fault import VmError
from vm_spec.machine import Bhyve, Com, Description, FirmwarePath, Gdb, HostBridge, Machine, Uuid
from vm_spec.types import Cpu, FilePath, Forward, Label, Mac, PciId, PciSlot, Size, VmName

IT = Label("it")
VM = VmName("vm")
ISO = AhciCd(label=IT, path=FilePath("/cd.iso"))

DEFAULTS = {
    "acpi_tables": "true",
    "acpi_tables_in_memory": "true",
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "x86.verbosemsr": "false",
    "lpc.fwcfg": "bhyve",
}

# Recorded from bhyve's own parser (FreeBSD main, first half of 2026): argv -> what its
# configuration has beyond DEFAULTS.
RECORDED: dict[str, tuple[list[str], dict[str, str]]] = {
    "bundled flags": (
        ["-o", "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "-AHPw", "vm"],
        {
            "x86.vmexit_on_hlt": "true",
            "x86.vmexit_on_pause": "true",
            "x86.strictmsr": "false",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "name": "vm",
        },
    ),
    "-m 4096K": (
        ["-o", "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "-m", "4096K", "vm"],
        {
            "memory.size": "4096K",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "name": "vm",
        },
    ),
    "-G wait addr": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-G",
            "w127.0.0.1:1234",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "gdb.wait": "true",
            "gdb.address": "127.0.0.1",
            "gdb.port": "1234",
            "name": "vm",
        },
    ),
    "-G port": (
        ["-o", "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "-G", "1234", "vm"],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "gdb.port": "1234",
            "name": "vm",
        },
    ),
    "-c cpus=8,sockets=2,cores=2,threads=2": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-c",
            "cpus=8,sockets=2,cores=2,threads=2",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "cpus": "8",
            "sockets": "2",
            "cores": "2",
            "threads": "2",
            "name": "vm",
        },
    ),
    "lpc com1..4": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "31,lpc",
            "-l",
            "com1,stdio",
            "-l",
            "com2,/dev/nmdm0A",
            "-l",
            "com3,tcp=127.0.0.1:4444",
            "-l",
            "com4,tcp=[::1]:4445",
            "vm",
        ],
        {
            "lpc.com1.path": "stdio",
            "lpc.com2.path": "/dev/nmdm0A",
            "lpc.com3.path": "tcp=127.0.0.1:4444",
            "lpc.com4.path": "tcp=[::1]:4445",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.31.0.device": "lpc",
            "name": "vm",
        },
    ),
    "bootrom": (
        ["-s", "31,lpc", "-l", "bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "vm"],
        {
            "pci.0.31.0.device": "lpc",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "name": "vm",
        },
    ),
    "bootrom varfile": (
        [
            "-s",
            "31,lpc",
            "-l",
            "bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd,/vm/VARS.fd",
            "vm",
        ],
        {
            "pci.0.31.0.device": "lpc",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "bootvars": "/vm/VARS.fd",
            "name": "vm",
        },
    ),
    "lpc.bootrom is deprecated": (
        [
            "-s",
            "31,lpc",
            "-o",
            "lpc.bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-o",
            "lpc.bootvars=/v",
            "vm",
        ],
        {
            "lpc.bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "lpc.bootvars": "/v",
            "pci.0.31.0.device": "lpc",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "bootvars": "/v",
            "name": "vm",
        },
    ),
    "virtio-blk all options": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "3,virtio-blk,/d.img,nocache,direct,ro,sectorsize=512/4096,nodelete,ser=ABC,bootindex=1",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.3.0.device": "virtio-blk",
            "pci.0.3.0.path": "/d.img",
            "pci.0.3.0.nocache": "true",
            "pci.0.3.0.direct": "true",
            "pci.0.3.0.ro": "true",
            "pci.0.3.0.sectorsize": "512/4096",
            "pci.0.3.0.nodelete": "true",
            "pci.0.3.0.ser": "ABC",
            "pci.0.3.0.bootindex": "1",
            "name": "vm",
        },
    ),
    "ahci-cd ro": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "3,ahci-cd,/cd.iso,ro",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.3.0.device": "ahci",
            "pci.0.3.0.port.0.type": "cd",
            "pci.0.3.0.port.0.path": "/cd.iso",
            "pci.0.3.0.port.0.ro": "true",
            "name": "vm",
        },
    ),
    "nvme path": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "3,nvme,/d.img,maxq=4,qsz=64,ioslots=16,sectsz=4096,ser=N1,eui64=0x1122334455667788,dsm=enable,bootindex=0",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.3.0.device": "nvme",
            "pci.0.3.0.path": "/d.img",
            "pci.0.3.0.maxq": "4",
            "pci.0.3.0.qsz": "64",
            "pci.0.3.0.ioslots": "16",
            "pci.0.3.0.sectsz": "4096",
            "pci.0.3.0.ser": "N1",
            "pci.0.3.0.eui64": "0x1122334455667788",
            "pci.0.3.0.dsm": "enable",
            "pci.0.3.0.bootindex": "0",
            "name": "vm",
        },
    ),
    "virtio-9p": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "3,virtio-9p,share=/srv,ro",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.3.0.device": "virtio-9p",
            "pci.0.3.0.sharename": "share",
            "pci.0.3.0.path": "/srv",
            "pci.0.3.0.ro": "true",
            "name": "vm",
        },
    ),
    "virtio-net tap": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "2,virtio-net,tap0,mac=00:a0:98:00:00:01,mtu=9000",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.2.0.device": "virtio-net",
            "pci.0.2.0.backend": "tap0",
            "pci.0.2.0.mac": "00:a0:98:00:00:01",
            "pci.0.2.0.mtu": "9000",
            "name": "vm",
        },
    ),
    "virtio-net netgraph": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "2,virtio-net,netgraph,path=br0:,peerhook=link2,socket=vm0,hook=h",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.2.0.device": "virtio-net",
            "pci.0.2.0.backend": "netgraph",
            "pci.0.2.0.path": "br0:",
            "pci.0.2.0.peerhook": "link2",
            "pci.0.2.0.socket": "vm0",
            "pci.0.2.0.hook": "h",
            "name": "vm",
        },
    ),
    "virtio-net slirp": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "2,virtio-net,slirp,open,hostfwd=tcp:127.0.0.1:2222-:22;udp:127.0.0.1:5353-:53",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.2.0.device": "virtio-net",
            "pci.0.2.0.backend": "slirp",
            "pci.0.2.0.open": "true",
            "pci.0.2.0.hostfwd": "tcp:127.0.0.1:2222-:22;udp:127.0.0.1:5353-:53",
            "name": "vm",
        },
    ),
    "e1000": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "2,e1000,tap1,mac=00:a0:98:00:00:02",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.2.0.device": "e1000",
            "pci.0.2.0.backend": "tap1",
            "pci.0.2.0.mac": "00:a0:98:00:00:02",
            "name": "vm",
        },
    ),
    "virtio-console": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "4,virtio-console,org.qemu.guest_agent.0=/vm/qga.sock,p2=/vm/p2.sock",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.4.0.device": "virtio-console",
            "pci.0.4.0.port.0.name": "org.qemu.guest_agent.0",
            "pci.0.4.0.port.0.path": "/vm/qga.sock",
            "pci.0.4.0.port.1.name": "p2",
            "pci.0.4.0.port.1.path": "/vm/p2.sock",
            "name": "vm",
        },
    ),
    "passthru b/s/f": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-S",
            "-s",
            "5,passthru,1/0/0",
            "vm",
        ],
        {
            "memory.wired": "true",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.5.0.device": "passthru",
            "pci.0.5.0.bus": "1",
            "pci.0.5.0.slot": "0",
            "pci.0.5.0.func": "0",
            "name": "vm",
        },
    ),
    "passthru ppt0 rom": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-S",
            "-s",
            "5,passthru,ppt0,rom=/r",
            "vm",
        ],
        {
            "memory.wired": "true",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.5.0.device": "passthru",
            "pci.0.5.0.pptdev": "ppt0",
            "pci.0.5.0.rom": "/r",
            "name": "vm",
        },
    ),
    "fbuf all": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "29,fbuf,rfb=[::1]:5901,w=1920,h=1080,vga=off,wait,password=secret",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.29.0.device": "fbuf",
            "pci.0.29.0.rfb": "[::1]:5901",
            "pci.0.29.0.w": "1920",
            "pci.0.29.0.h": "1080",
            "pci.0.29.0.vga": "off",
            "pci.0.29.0.wait": "true",
            "pci.0.29.0.password": "secret",
            "name": "vm",
        },
    ),
    "xhci tablet": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "30,xhci,tablet",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.30.0.device": "xhci",
            "pci.0.30.0.slot.1.device": "tablet",
            "name": "vm",
        },
    ),
    "virtio-rnd": (
        ["-o", "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd", "-s", "6,virtio-rnd", "vm"],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.6.0.device": "virtio-rnd",
            "name": "vm",
        },
    ),
    "-o after -s": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-s",
            "3,virtio-blk,/a",
            "-o",
            "pci.0.3.0.ro=true",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "pci.0.3.0.device": "virtio-blk",
            "pci.0.3.0.path": "/a",
            "pci.0.3.0.ro": "true",
            "name": "vm",
        },
    ),
    "acpi off": (
        [
            "-o",
            "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "-o",
            "acpi_tables=false",
            "vm",
        ],
        {
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "acpi_tables": "false",
            "name": "vm",
        },
    ),
    "full uefi guest": (
        [
            "-c",
            "4,sockets=1,cores=2,threads=2",
            "-m",
            "4G",
            "-H",
            "-w",
            "-u",
            "-U",
            "a5a5a5a5-0001-4002-8003-000000000001",
            "-s",
            "0,hostbridge",
            "-s",
            "3,ahci-cd,/iso,ro",
            "-s",
            "4,virtio-blk,/dev/zvol/z/vm",
            "-s",
            "5,virtio-net,tap0,mac=58:9c:fc:00:00:01",
            "-s",
            "29,fbuf,tcp=127.0.0.1:5900,w=1024,h=768",
            "-s",
            "30,xhci,tablet",
            "-s",
            "31,lpc",
            "-l",
            "com1,/dev/nmdm-vm.1A",
            "-l",
            "bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd,/vm/VARS.fd",
            "vm",
        ],
        {
            "memory.size": "4G",
            "x86.vmexit_on_hlt": "true",
            "x86.strictmsr": "false",
            "lpc.com1.path": "/dev/nmdm-vm.1A",
            "cpus": "4",
            "sockets": "1",
            "cores": "2",
            "threads": "2",
            "rtc.use_localtime": "false",
            "uuid": "a5a5a5a5-0001-4002-8003-000000000001",
            "pci.0.0.0.device": "hostbridge",
            "pci.0.3.0.device": "ahci",
            "pci.0.3.0.port.0.type": "cd",
            "pci.0.3.0.port.0.path": "/iso",
            "pci.0.3.0.port.0.ro": "true",
            "pci.0.4.0.device": "virtio-blk",
            "pci.0.4.0.path": "/dev/zvol/z/vm",
            "pci.0.5.0.device": "virtio-net",
            "pci.0.5.0.backend": "tap0",
            "pci.0.5.0.mac": "58:9c:fc:00:00:01",
            "pci.0.29.0.device": "fbuf",
            "pci.0.29.0.tcp": "127.0.0.1:5900",
            "pci.0.29.0.w": "1024",
            "pci.0.29.0.h": "768",
            "pci.0.30.0.device": "xhci",
            "pci.0.30.0.slot.1.device": "tablet",
            "pci.0.31.0.device": "lpc",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
            "bootvars": "/vm/VARS.fd",
            "name": "vm",
        },
    ),
}

FLAGS = {
    "A": ("acpi_tables", "true"),
    "D": ("destroy_on_poweroff", "true"),
    "H": ("x86.vmexit_on_hlt", "true"),
    "P": ("x86.vmexit_on_pause", "true"),
    "S": ("memory.wired", "true"),
    "W": ("virtio_msix", "false"),
    "Y": ("x86.mptable", "false"),
    "u": ("rtc.use_localtime", "false"),
    "w": ("x86.strictmsr", "false"),
}
# What the first word after the device is a value of.
FIRST = {
    "ahci-cd": "path",
    "ahci-hd": "path",
    "e1000": "backend",
    "nvme": "path",
    "virtio-blk": "path",
    "virtio-input": "path",
    "virtio-net": "backend",
    "virtio-scsi": "target.0",
}


def interpreted(args: list[str]) -> dict[str, str]:
    """The configuration tree that bhyve makes of its arguments, as far as we write them."""
    tree = dict(DEFAULTS)
    words = iter(args)
    for word in words:
        if not word.startswith("-"):
            tree["name"] = word
        elif word[1] in FLAGS:
            tree |= dict(FLAGS[letter] for letter in word[1:])
        else:
            tree |= option(word, next(words))
    for key in ("bootrom", "bootvars"):
        if old := tree.get(f"lpc.{key}"):
            tree.setdefault(key, old)
    return tree


def option(letter: str, value: str) -> dict[str, str]:
    match letter:
        case "-c":
            parts = (part.rpartition("=") for part in value.split(","))
            return {name or "cpus": number for name, _, number in parts}
        case "-m" | "-U":
            return {{"-m": "memory.size", "-U": "uuid"}[letter]: value}
        case "-G":
            return debugger(value)
        case "-o":
            key, _, text = value.partition("=")
            return {key: text}
        case "-l":
            return lpc(*value.split(","))
        case "-s":
            return slot(*value.split(","))
        case _:
            raise AssertionError(letter)


def debugger(value: str) -> dict[str, str]:
    address, _, port = value.removeprefix("w").rpartition(":")
    wait = {"gdb.wait": "true"} if value.startswith("w") else {}
    return wait | ({"gdb.address": address} if address else {}) | {"gdb.port": port}


def lpc(device: str, *rest: str) -> dict[str, str]:
    if device == "bootrom":
        return dict(zip(("bootrom", "bootvars"), rest, strict=False))
    return {f"lpc.{device}.path": rest[0]}


def slot(where: str, device: str, *rest: str) -> dict[str, str]:
    numbers = where.split(":")
    bus = numbers.pop(0) if len(numbers) == 3 else "0"
    number, function = (*numbers, "0")[:2]
    keys = emulation(device, list(rest))
    return {f"pci.{bus}.{number}.{function}.{key}": text for key, text in keys.items()}


def emulation(device: str, rest: list[str]) -> dict[str, str]:
    match device:
        case "ahci-cd" | "ahci-hd":
            port = {"type": device[-2:]} | plain(device, rest)
            return {"device": "ahci"} | {f"port.0.{key}": text for key, text in port.items()}
        case "amd_hostbridge":
            own = {"pcireg.vendor": "0x1022", "pcireg.device": "0x7432"}
            return {"device": "hostbridge"} | own
        case "passthru":
            parts = rest.pop(0)
            own = dict(zip(("bus", "slot", "func"), parts.split("/"), strict=False))
            own = own if "/" in parts else {"pptdev": parts}
        case "virtio-9p":
            name, _, path = rest.pop(0).partition("=")
            own = {"sharename": name, "path": path}
        case "virtio-console":
            pairs = [word.split("=", 1) for word in rest]
            own = {f"port.{n}.name": name for n, (name, _) in enumerate(pairs)}
            own |= {f"port.{n}.path": path for n, (_, path) in enumerate(pairs)}
            rest = []
        case "xhci":
            own = {f"slot.{n}.device": word for n, word in enumerate(rest, 1)}
            rest = []
        case _:
            own = {}
    return {"device": device} | own | plain(device, rest)


def plain(device: str, rest: list[str]) -> dict[str, str]:
    """Words that pci_parse_legacy_config reads: key=value, or a key that becomes true."""
    own: dict[str, str] = {}
    if device in FIRST and not rest[0].startswith("ram="):
        own[FIRST[device]] = rest[0]
        rest = rest[1:]
    for word in rest:
        key, equals, text = word.partition("=")
        own[key] = text if equals else "true"
    return own


@pytest.mark.parametrize("name", RECORDED)
def test_the_interpreter_of_these_tests_agrees_with_bhyves_parser(name: str) -> None:
    args, beyond = RECORDED[name]
    assert interpreted(args) == DEFAULTS | beyond


def placed(*emulations: Emulation, **fields: object) -> Placed:
    machine = Machine(name=VM, emulations=emulations, **fields)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return place(Description(machine=machine), machine)


def for_this_version(keys: list[tuple[str, str]]) -> dict[str, str]:
    """Without the keys that only bhyve of FreeBSD 15 and older reads."""
    scsi = {key[: -len("device")] + "dev" for key, text in keys if text == "virtio-scsi"}
    return {
        key: text
        for key, text in keys
        if key not in scsi and key not in ("lpc.bootrom", "lpc.bootvars")
    }


IMAGE = FilePath("/d.img")
MACHINES: dict[str, Placed] = {
    "nothing": placed(),
    "flags on": placed(
        wire_guest_mem=True, force_msi=True, disable_mptable_gen=True, power_off_destroy_vm=True
    ),
    "flags off": placed(utc_clock=False, yield_on_hlt=False, generate_acpi=False),
    "identity": placed(
        cpu=Cpu(sockets=2, cores=2, threads=2),
        mem=Size(bytes=4 << 30),
        gdb=Gdb("w127.0.0.1:1234"),
        uuid=Uuid("a5a5a5a5-0001-4002-8003-000000000001"),
    ),
    "sockets": placed(cpu=Cpu(sockets=4), gdb=Gdb("1234")),
    "serial ports": placed(
        com1=Com("stdio"), com2=Com("nmdm"), com3=Com("socket"), com4=Com("/dev/nmdm0A")
    ),
    "bootrom": placed(bootrom=FirmwarePath("/ROM.fd"), varfile=FilePath("/VARS.fd")),
    "uefi": placed(bootrom=FirmwarePath("uefi")),
    "amd bridge": placed(
        hostbridge=HostBridge("amd_hostbridge"), lpc_slot=PciSlot(slot=1, function=1)
    ),
    "graphic": placed(
        graphic=Graphic(label=IT, host="::1", wait=True, vga=VgaMode("off"), port=5901)
    ),
    "own keys": placed(
        VirtioRnd(label=IT),
        bhyve=Bhyve(config=(("x86.strictmsr", False), ("system.sku", "%(name)"))),
    ),
    "percent": placed(VirtioBlk(label=IT, path=FilePath("/a%(name)\\b"))),
    "virtio-blk": placed(
        VirtioBlk(
            label=IT,
            path=IMAGE,
            ro=True,
            nocache=True,
            direct=True,
            nodelete=True,
            logical_sector_size=512,
            physical_sector_size=4096,
            ser="S",
            bhyve=(("bootindex", 1),),
        )
    ),
    "ahci-hd": placed(AhciHd(label=IT, path=IMAGE, ser="S", nmrr=1, rev="R", model="M", ro=True)),
    "ahci-cd": placed(
        AhciCd(label=IT, path=IMAGE, ser="S", nmrr=0, bhyve=(("ro", True), ("port.0.bootindex", 0)))
    ),
    "nvme": placed(
        Nvme(
            label=IT, path=IMAGE, maxq=4, qsz=64, ioslots=16, sectsz=4096, eui64=5, dsm=Trim("auto")
        )
    ),
    "nvme ram": placed(Nvme(label=IT, ram=64)),
    "virtio-scsi": placed(
        VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl2.0"), bhyve=(("iid", 3),))
    ),
    "virtio-net": placed(
        VirtioNet(label=IT, name=PortName("tap0"), mac=Mac("02:00:00:00:00:01"), mtu=9000)
    ),
    "renamed tap": placed(VirtioNet(label=IT, name=PortName("vm0"), type=NicType("tap"))),
    "netgraph": placed(
        VirtioNet(
            label=IT, name=PortName("netgraph"), bhyve=(("path", "br0:"), ("peerhook", "link2"))
        )
    ),
    "slirp": placed(
        E1000(
            label=IT,
            forward=(Forward(port=2222, guest_port=22), Forward(port=8080, guest_port=80)),
        )
    ),
    "virtio-console": placed(
        VirtioConsole(
            label=IT,
            ports=(
                ConsolePort(name=Label("p1"), path=FilePath("/p1=x")),
                ConsolePort(name=Label("p2"), path=FilePath("/p2")),
            ),
            bhyve=(("port.4.name", "y"), ("port.4.path", "/y")),
        )
    ),
    "virtio-9p": placed(
        Virtio9p(label=IT, sharename=Label("share"), path=FilePath("/srv"), ro=True)
    ),
    "virtio-rnd": placed(VirtioRnd(label=IT)),
    "virtio-input": placed(VirtioInput(label=IT, path=FilePath("/dev/input/event0"))),
    "xhci": placed(Xhci(label=IT)),
    "xhci alone": placed(Xhci(label=IT, tablet=False)),
    "hda": placed(Hda(label=IT, play=FilePath("/dev/dsp0"), rec=FilePath("/dev/dsp1"))),
    "passthru": placed(
        Passthru(label=IT, src=PciId(bus=1, slot=0, function=0), rom=FilePath("/rom"))
    ),
    "lookup": placed(
        Passthru(
            label=IT, lookup=Lookup(vendor=HexPair("0x10de1b80"), device=HexPair("0x12345678"))
        )
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_file_and_the_argv_make_one_configuration(name: str) -> None:
    machine = MACHINES[name]
    told = DEFAULTS | for_this_version(config(machine))
    assert told == interpreted(argv(machine)[1:])


def test_each_line_is_a_key_an_equals_sign_and_a_value() -> None:
    assert flat(placed(ISO, com1=Com("stdio"))) == (
        "acpi_tables=true\n"
        "x86.vmexit_on_hlt=true\n"
        "rtc.use_localtime=false\n"
        "cpus=1\n"
        "memory.size=256M\n"
        "pci.0.0.0.device=hostbridge\n"
        "pci.0.31.0.device=lpc\n"
        "pci.0.2.0.device=ahci\n"
        "pci.0.2.0.port.0.type=cd\n"
        "pci.0.2.0.port.0.path=/cd.iso\n"
        "bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd\n"
        "lpc.bootrom=/usr/local/share/uefi-firmware/BHYVE_UEFI.fd\n"
        "lpc.com1.path=stdio\n"
        "name=vm\n"
    )


def test_firmware_is_named_for_bhyve_of_15_and_for_older_ones() -> None:
    keys = dict(config(MACHINES["bootrom"]))
    assert keys["bootrom"] == keys["lpc.bootrom"] == "/ROM.fd"
    assert keys["bootvars"] == keys["lpc.bootvars"] == "/VARS.fd"


def test_a_comma_is_no_fault_in_a_file() -> None:
    keys = dict(config(placed(VirtioBlk(label=IT, path=FilePath("/a,b")))))
    assert keys["pci.0.2.0.path"] == "/a,b"


def test_a_percent_sign_means_itself() -> None:
    keys = dict(config(MACHINES["percent"]))
    assert keys["pci.0.2.0.path"] == r"/a\%(name)\\b"


def test_a_backslash_without_a_percent_sign_is_left_alone() -> None:
    keys = dict(config(placed(VirtioBlk(label=IT, path=FilePath(r"/a\b")))))
    assert keys["pci.0.2.0.path"] == r"/a\b"


def test_the_users_own_keys_come_before_the_name_only_and_word_for_word() -> None:
    assert config(MACHINES["own keys"])[-3:] == [
        ("x86.strictmsr", "false"),
        ("system.sku", "%(name)"),
        ("name", "vm"),
    ]


@pytest.mark.parametrize(
    "machine",
    [
        placed(VirtioBlk(label=IT, path=FilePath("/a\nbhyve=1"))),
        placed(bootrom=FirmwarePath("/a\nb")),
        placed(VirtioRnd(label=IT, bhyve=(("a", "b\nc"),))),
        placed(bhyve=Bhyve(config=(("a", "b\nc"),))),
        placed(bhyve=Bhyve(config=(("a\nb", "c"),))),
    ],
)
def test_a_line_break_is_a_fault(machine: Placed) -> None:
    with pytest.raises(VmError, match="has a line break"):
        flat(machine)


def test_what_has_no_key_is_named_in_a_comment() -> None:
    machine = placed(
        Raw(label=IT, value="virtio-gpu,a\nb"), extra_options=("-x",), bhyve=Bhyve(args=("-w",))
    )
    assert beside(machine) == ["-s", "0:22:0,virtio-gpu,a\nb", "-w", "-x"]
    lines = flat(machine).splitlines()
    assert lines[0] == r"# not in this file: bhyve -k FILE -s '0:22:0,virtio-gpu,a\nb' -w -x"
    assert not [line for line in lines[1:] if line.startswith("#") or "22" in line]


def test_a_raw_device_that_is_known_has_keys() -> None:
    machine = placed(Raw(label=IT, value="ahci,hd:/a,ser=A,cd:/c.iso", bhyve=(("port.0.nmrr", 1),)))
    assert beside(machine) == []
    assert [line for line in flat(machine).splitlines() if "pci.0.22" in line] == [
        "pci.0.22.0.device=ahci",
        "pci.0.22.0.port.0.type=hd",
        "pci.0.22.0.port.0.path=/a",
        "pci.0.22.0.port.0.ser=A",
        "pci.0.22.0.port.1.type=cd",
        "pci.0.22.0.port.1.path=/c.iso",
        "pci.0.22.0.port.0.nmrr=1",
    ]
    words = argv(machine)
    assert words[-5:-3] == ["-l", "bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"]
    assert words[-3:] == ["-o", "pci.0.22.0.port.0.nmrr=1", "vm"]


def test_threat_b7_a_line_break_in_a_raw_device_is_no_further_line_of_the_file() -> None:
    machine = placed(Raw(label=IT, value="ahci-hd,/a\nmemory.size=1G"))
    with pytest.raises(VmError, match="has a line break, which bhyve_config") as raised:
        flat(machine)
    assert str(raised.value).startswith("raw it:\n")
    assert "0:22:0,ahci-hd,/a\nmemory.size=1G" in argv(machine)


def test_arguments_of_the_command_line_are_named_in_the_comment() -> None:
    line = flat(placed(), extra=["-p", "0:1"]).splitlines()[0]
    assert line == "# not in this file: bhyve -k FILE -p 0:1"


def test_a_file_with_a_password_says_so_first() -> None:
    machine = placed(graphic=Graphic(label=IT, password="s3cret"))
    lines = flat(machine).splitlines()
    assert lines[0] == "# A password is in this file: let nobody else read it (chmod 600)."
    assert "pci.0.28.0.password=s3cret" in lines


def test_a_machine_that_has_keys_for_all_has_nothing_beside_its_file() -> None:
    assert beside(MACHINES["virtio-console"]) == []
    assert not flat(MACHINES["virtio-console"]).startswith("#")
