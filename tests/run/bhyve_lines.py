"""Command lines and flat files of bhyve's, generated: most are good, all are near it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Texts = st.SearchStrategy[str]
Words = list[str]

# what stands in paths and names: signs that mean something to bhyve, to TOML or to us among them
TEXTS = st.text("abz019/._-~ %()\\'\"#=:;@uefi", min_size=1, max_size=10)
NUMBERS = st.integers(0, 40).map(str) | st.sampled_from(["0x4", "010", "65535", "08", "1024"])
STARTS = st.sampled_from(["", "/", "./", "~", "/dev/zvol/z/"])
PATHS = st.builds("{}{}".format, STARTS, TEXTS) | st.sampled_from([
    "/%(name).img", "uefi", "a.qcow2", r"\%(name)", "5%", "%(disk)",
])  # fmt: skip
BOOLEANS = st.sampled_from(["true", "false", "yes", "NO", "On", "0", "1"])
MACS = st.sampled_from(["", ",mac=58:9c:fc:00:00:01", ",mac=0:A0:98:1:2:3", ",mac=00:a0:98:0:0:A"])
ENDS = st.sampled_from([
    "tap0", "tap1,mtu=9000", "vmnet7", "vale0:a", "netmap:em0", "em0,type=netmap", "ngd0",
    "slirp", "slirp,open", "slirp,open,hostfwd=tcp:127.0.0.1:2222-:22;udp:0.0.0.0:53-:53",
    "slirp,open,hostfwd=tcp:1:22-10.0.2.3:2", "netgraph,path=br0:,peerhook=link2",
    "netgraph,path=x:,peerhook=y,socket=z,hook=h", "switch0,type=tap", "tap%(name)", "vale1:b.c",
])  # fmt: skip
BLOCK = st.sampled_from([
    "nocache", "direct", "sync", "ro", "nodelete", "sectorsize=4096", "sectorsize=512/4096",
    "sectorsize=0512", "ser=A 1", "serial=B", "ro=false", "nocache=yes", "bootindex=3", "ser=",
    "sectorsize=3", "ser=a%b", "direct=off", "ser=012345678901234567890123",
])  # fmt: skip
NVME = st.sampled_from([
    "maxq=4", "qsz=64", "qsz=0x40", "ioslots=16", "sectsz=4096", "sectsz=100", "ser=N", "eui64=0x1",
    "eui64=12", "dsm=auto", "dsm=never", "bootindex=7", "maxq=08",
])  # fmt: skip
FBUF = st.sampled_from([
    "tcp=0.0.0.0:5900", "rfb=[::1]:5901", "tcp=5902", "rfb=unix:/run/a.sock", "w=800", "h=600",
    "w=1920", "h=1080", "vga=on", "vga=off", "vga=io", "wait", "wait=no", "password=secret",
    "password=a%b", "password=longer than eight", "w=0800", "rfb=127.0.0.1:5903", "tcp=[fe80::1]",
])  # fmt: skip
SMALL = st.sampled_from([
    "virtio-rnd", "xhci", "xhci,tablet", "xhci,tablet,tablet", "hda", "lpc", "hostbridge",
    "amd_hostbridge", "virtio-scsi", "virtio-scsi,/dev/cam/ctl1.2", "passthru,1/0/0",
    "virtio-scsi,/dev/cam/ctl,iid=3", "passthru,ppt0", "passthru,pci0:2:0:0,rom=/r.rom",
    "passthru,3:0:0", "hostbridge,vendor=0x1022,devid=0x7432", "ahci,cd:", "e1000,tap7,mtu=1400",
    "lpc,pcireg.vendor=host",
])  # fmt: skip
BOARD = st.sampled_from([
    "acpi_tables", "destroy_on_poweroff", "memory.wired", "memory.guest_in_core", "monitor",
    "rtc.use_localtime", "virtio_msix", "x86.mptable", "x86.strictmsr", "x86.strictio",
    "x86.vmexit_on_hlt", "x86.vmexit_on_pause", "x86.x2apic", "config.dump", "gdb.wait",
    "pci.enable_bars", "acpi_tables_in_memory", "x86.verbosemsr", "lpc.pc-testdev",
])  # fmt: skip
NAMED = st.sampled_from([
    "system.sku", "bios.vendor", "board.serial_number", "chassis.asset_tag", "keyboard.layout",
    "disk", "no.such.key", "lpc.fwcfg", "system.serial_number", "lpc.bootvars", "bootvars",
    "gdb.address", "pci.0.3.0.path", "pci.0.5.0.ser", "pci.0.03.0.device",
    "pci.0.4.0.pcireg.vendor",
])  # fmt: skip
WHOLE = st.sampled_from([
    "tpm.type=passthru", "tpm.path=/dev/tpm0", "tpm.version=2.0", "tpm.intf=crb", "tpm.type=swtpm",
    "memory.size=1G", "vcpu.0.cpuset=1,2-3", "domains.0.size=256M", "domains.0.cpus=0",
    "pci.0.6.0.device=virtio-rnd", "pci.0.3.0.ro=true", "lpc.com1.path=/dev/nmdm0A",
    "uuid=A5A5A5A5-0001-4002-8003-000000000001", "lpc.com2.path=socket", "lpc.com3.path=a b",
    "gdb.address=west", "bootrom=/rom", "lpc.bootrom=/old", "memory.wired=true", "bootvars=/v=1",
    "gdb.port=1234",
])  # fmt: skip
COUNTS = st.sampled_from(["cpus", "sockets", "cores", "threads"])
PAIRS = st.one_of(
    st.builds("{}={}".format, BOARD, BOOLEANS),
    st.builds("{}={}".format, NAMED, TEXTS),
    st.builds("{}={}".format, COUNTS, NUMBERS),
    WHOLE,
)
"""What `-o` says, and a line of a file for `-k`."""


@st.composite
def joined(draw: Draw, first: Texts, more: Texts) -> str:
    """A device's words: the first, and some others."""
    return ",".join([draw(first), *draw(st.lists(more, max_size=4))])


@st.composite
def several(draw: Draw, name: str, one: Texts) -> str:
    """A device with one to three ports."""
    return ",".join([name, *draw(st.lists(one, min_size=1, max_size=3))])


DISKS = st.sampled_from(["virtio-blk", "ahci-hd", "ahci-cd"])
CARDS = st.sampled_from(["virtio-net", "e1000"])
PORTS = st.sampled_from(["hd", "cd"])
SHARES = st.sampled_from(["share", "a b", "x.y"])
CONSOLES = st.sampled_from(["org.qemu.guest_agent.0", "p", "a b"])
DEVICES: Texts = st.one_of(
    st.builds("{},{}".format, DISKS, joined(PATHS, BLOCK)),
    st.builds("{},{}{}".format, CARDS, ENDS, MACS),
    joined(PATHS.map("nvme,{}".format) | st.just("nvme,ram=64"), NVME),
    several("ahci", joined(st.builds("{}:{}".format, PORTS, PATHS), BLOCK)),
    joined(st.just("fbuf"), FBUF),
    st.builds("virtio-9p,{}={}{}".format, SHARES, PATHS, st.sampled_from(["", ",ro", ",ro=no"])),
    several("virtio-console", st.builds("{}={}".format, CONSOLES, PATHS)),
    PATHS.map("virtio-input,{}".format),
    PATHS.map("uart,{}".format),
    st.builds("hda,play={},rec={}".format, PATHS, PATHS),
    SMALL,
)
PLACES = st.integers(0, 31).map(str) | st.sampled_from(["3:1", "0:4:2", "1:0:0", "31:7", " 5x"])
BRIDGES = st.sampled_from(["31,lpc", "0,hostbridge", "0:31:0,lpc"])
COMS = st.sampled_from([
    "stdio", "/dev/nmdm0A", "tcp=127.0.0.1:4444", "tcp=[::1]:4445", "nmdm", "a",
])  # fmt: skip
ROMS = st.sampled_from([
    "/rom", "/rom,/vars", "rom,vars", "/rom,fwcfg=qemu", "/rom,/v,fwcfg=qemu", "uefi", "~/r,~/v",
])  # fmt: skip
TPMS = st.sampled_from([
    "tpm,passthru,/dev/tpm0", "tpm,swtpm,/run/s", "tpm,passthru,t,version=2.0", "pc-testdev",
])  # fmt: skip
CPUS = st.sampled_from([
    "2", "cpus=4", "4,sockets=1,cores=2,threads=2", "sockets=2,cores=2", "", "2000", "2,sockets=2",
    "4,cores=2", "cores=2", "0x2", "3,cores=1",
])  # fmt: skip
SIZES = st.sampled_from(["512", "1g", "2048M", "1GB", "4096K", "0x400", "010", "1T", "1000001"])
FLAGS = st.sampled_from([
    "-A", "-AHP", "-w", "-S", "-S", "-u", "-D", "-W", "-Y", "-x", "-a", "-C", "-e", "-M", "-I",
])  # fmt: skip
PINS = st.sampled_from(["0:1", "0-1:4-5", "1:7", "0-1:5", "2:3junk"])
DOMAINS = st.sampled_from([
    "id=0,size=256M,cpus=0", "id=1,cpus=1", "id=0,cpus=0-1,domain_policy=ft:1",
    "id=0,size=1G,cpus=0,1",
])  # fmt: skip
DEBUGGERS = st.sampled_from([
    "1234", "w1234", "127.0.0.1:1234", "w[::1]:99", "localhost:5", "west:7", "99999999", "a:b",
])  # fmt: skip
OTHERS = st.sampled_from([
    ["-f", "opt/a,string=b c,d"], ["-f", "name=opt/b,file=/f"], ["-K", "de_noacc"],
    ["-U", "a5a5a5a5-0001-4002-8003-000000000001"], ["-k", "it.conf"],
])  # fmt: skip


def option(letter: str, values: Texts) -> st.SearchStrategy[Words]:
    """An option with one of these values."""
    return values.map(lambda value: [f"-{letter}", value])


WORDS: st.SearchStrategy[Words] = st.one_of(
    FLAGS.map(lambda flag: [flag]),
    option("s", st.builds("{},{}".format, PLACES, DEVICES)),
    option("s", st.builds("{},{}".format, PLACES, DEVICES)),
    option("s", BRIDGES),
    option("o", PAIRS),
    option("m", SIZES),
    option("c", CPUS),
    option("l", st.builds("com{},{}".format, st.integers(1, 4), COMS)),
    option("l", ROMS.map("bootrom,{}".format) | TPMS),
    option("p", PINS),
    option("n", DOMAINS),
    option("G", DEBUGGERS),
    OTHERS,
)
"""One option, with its value in a word of its own."""
LINES = PAIRS | st.sampled_from([
    "# a", "", "name=filed", "pci.0.7.0.device=e1000", "pci.0.7.0.backend=tap9",
    "memory.size = 1G", " cpus=2",
])  # fmt: skip
FILES = st.lists(LINES, max_size=5).map("\n".join)
"""The text of a file for `-k`."""
PIECES = st.sampled_from([
    "-s", "-o", "-k", "-l", "-c", "-m", "-n", "-p", "-G", "-f", "-U", "-K", "-", "--", "-h", "-M",
    "3,virtio-blk,", "0:0:0,", "=", ",", ":", ".", "%(", ")", "\\", "1", "é", "\ud800", "\n",
    "\x1b[2J", "it.conf", "vm", "pci.0.3.0.", "device=", "ahci,hd:", "fbuf,tcp=", "xhci,", "id=",
    "bootrom,", "0", "-1", "99999999999999999999",
])  # fmt: skip
