"""Each documented key of another tool's is carried, or named in a comment of the result.

Carried: the machine is another one with it. Named: a comment has its name, or what it says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_import import libvirt, quickemu, vm_bhyve
from vm_spec import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.machine import Machine, Target

    Meaning = tuple[Machine, tuple[Target, ...]]


def meaning(text: str) -> Meaning:
    found = loads(text)
    return found.machine, found.targets


def comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


def carried(read: Callable[[str, str], str], before: str, after: str) -> bool:
    return meaning(read(before, "x")) != meaning(read(after, "x"))


# vm-bhyve, config.sample and vm(8), GUEST CONFIGURATION FORMAT. The key is the last line's; the
# lines before it are what it needs.
VM_BHYVE = 'disk0_type="virtio-blk"\ndisk0_name="disk0.img"\nnetwork0_type="virtio-net"\n'
VM_BHYVE_CARRIED = """
loader="uefi"
loader="uefi-csm"
loader="uefi-devel"
loader="uefi-custom"
loader="grub"
loader="bhyveload"
guest="freebsd"
uefi="yes"
loader="bhyveload" bhyveload_loader="/boot/userboot_4th.so"
loader="bhyveload" bhyveload_args="-e machdep.hyperthreading_allowed=0"
loader="bhyveload" loader_timeout="10"
loader="grub" grub_install0="linux /vmlinuz"
loader="grub" grub_run0="linux /vmlinuz"
loader="grub" grub_run_partition="msdos1"
loader="grub" grub_run_no_partition="yes"
loader="grub" grub_run_dir="/grub"
loader="grub" grub_run_file="grub.conf"
cpu="4"
cpu="4" cpu_sockets="4"
cpu="4" cpu_cores="2"
cpu="4" cpu_threads="4"
memory="512M"
wired_memory="yes"
hostbridge="amd"
ignore_bad_msr="yes"
bhyve_options="-p 1:1"
comports="com1 com2"
utctime="no"
uuid="6b9a1b8c-3c53-11ee-9d0a-0242ac120002"
fwcfg="qemu"
disk0_type="nvme"
disk0_dev="zvol"
disk0_dev="sparse-zvol"
disk0_name="other.img"
disk0_opts="nocache"
disk0_opts="direct"
disk0_opts="ro"
disk0_opts="sectorsize=512/4096"
disk1_type="ahci-cd" disk1_name="a.iso"
disk1_type="virtio-9p" disk1_name="root=/srv/root"
network0_type="e1000"
network0_switch="public"
network0_device="tap7"
network0_name="web1"
network0_mac="58:9c:fc:01:02:03"
passthru0="6/0/0"
passthru0="6/0/0=2:0"
passthru0="6/0/0" passthru0_options="rom=a.rom"
virt_random="yes"
graphics="yes"
graphics="yes" graphics_port="5999"
graphics="yes" graphics_res="1280x720"
graphics="yes" graphics_wait="yes"
graphics="yes" graphics_vga="off"
graphics="yes" xhci_mouse="yes"
xhci_mouse="yes"
sound="yes"
sound="yes" sound_play="/dev/dsp1"
sound="yes" sound_rec="/dev/dsp1"
virt_console0="yes"
virt_console0="org.freenas.bhyve-agent"
virt_console0="yes" virt_console1="second"
on_restart="shutdown"
on_fault="restart"
"""
VM_BHYVE_NAMED = """
loader="other"
loader="uefi" uefi_vars="yes"
loader="uefi" grub_run0="linux /kernel"
loader="uefi" grub_install0="linux /kernel"
loader="uefi" bhyveload_args="-e a=b"
loader="uefi" loader_timeout="3"
hostbridge="none"
comports="com1 com9"
debug="yes"
ahci_device_limit="8"
disk0_size="50G"
disk0_dev="iscsi"
disk0_opts="frobnicate"
disk4_name="orphan.img"
network0_span="yes"
network4_mac="58:9c:fc:01:02:03"
network0_device="tap7" network0_name="web1"
passthru0="6/0/0" passthru0_options="bootindex=1"
start_slot="5"
install_slot="4"
graphics="yes" graphics_listen="10.0.0.1"
graphics="yes" graphics_wait="auto"
graphics="yes" vnc_password="P@s5w0rd"
graphics_port="5999"
zfs_dataset_opts="compress=lz4"
zfs_zvol_opts="volblocksize=128k"
prestart="myscript.pl"
priority="10"
limit_pcpu="50"
limit_rbps="1000"
limit_wbps="1000"
limit_riops="100"
limit_wiops="100"
nulliso_fix="yes"
frobnicate="yes"
frobnicate="no"
"""

# quickemu_conf(5), OPTIONS, and the options of quickemu(1) that a file may hold
QUICKEMU = 'disk_img="a.qcow2"\n'
QUICKEMU_CARRIED = """
guest_os="windows"
guest_os="macos"
guest_os="freedos"
guest_os="reactos"
guest_os="kolibrios"
guest_os="windows-server"
guest_os="haiku"
guest_os="batocera"
guest_os="solaris"
guest_os="macos" macos_release="catalina"
guest_os="macos" macos_release="sonoma"
boot="legacy"
cpu_cores="4"
disk_img="other.qcow2"
disk_format="raw"
display="none"
width="1920"
height="1080"
extra_args="-device edu"
fixed_iso="drivers.iso"
floppy="floppy.img"
img="RecoveryImage.img"
guest_os="batocera" img="batocera.img"
iso="install.iso"
macaddr="52:54:00:AB:51:AE"
network="none"
network="restrict"
network="br0"
bridge="br0"
port_forwards=("8123:8123" "8888:80")
ram="4G"
tpm="on"
usb_devices=("046d:082d")
ssh_port="2222"
public_dir="/srv/public"
serial="none"
mouse="ps2"
sound_card="intel-hda"
"""
QUICKEMU_NAMED = """
disk_size="64G"
preallocation="metadata"
secureboot="on"
viewer="remote-viewer"
viewer_extra_args="--full-screen"
spice_port="5931"
monitor="telnet"
monitor_telnet_port="4441"
monitor_telnet_host="example.org"
monitor_cmd="system_powerdown"
serial="telnet"
serial_telnet_port="6661"
serial_telnet_host="example.org"
usb_controller="xhci"
keyboard="virtio"
keyboard_layout="de"
mouse="virtio"
sound_card="ac97"
sound_duplex="hda-output"
gl="on"
max_outputs="2"
port_forwards=("99999:1")
usb_devices=("mouse")
frobnicate="yes"
frobnicate="off"
frobnicate=("yes" "no")
"""


def keys(text: str) -> list[str]:
    """Each line with one assignment on a line of the result."""
    lines = text.strip().splitlines()
    return [re.sub(r'(["\)]) (?=[a-z0-9_]+=)', r"\1\n", line) for line in lines]


def last(text: str) -> tuple[str, str]:
    """What stands before the last key, and that key."""
    before, _, line = text.rpartition("\n")
    return f"{before}\n" if before else "", line.partition("=")[0]


@pytest.mark.parametrize("text", keys(VM_BHYVE_CARRIED))
def test_each_documented_key_of_vm_bhyves_makes_another_machine(text: str) -> None:
    before, _ = last(text)
    assert carried(vm_bhyve.imported, VM_BHYVE + before, f"{VM_BHYVE}{text}\n")


@pytest.mark.parametrize("text", keys(VM_BHYVE_NAMED))
def test_each_key_of_vm_bhyves_that_is_not_carried_is_named(text: str) -> None:
    before, key = last(text)
    told = comments(vm_bhyve.imported(f"{VM_BHYVE}{text}\n", "x"))
    value = text.rpartition('="')[2].rstrip('"').rpartition(" ")[2]
    untold = comments(vm_bhyve.imported(VM_BHYVE + before, "x"))
    assert told != untold
    assert key in told or value in told


@pytest.mark.parametrize("text", keys(QUICKEMU_CARRIED))
def test_each_documented_key_of_quickemus_makes_another_machine(text: str) -> None:
    before, _ = last(text)
    assert carried(quickemu.imported, QUICKEMU + before, f"{QUICKEMU}{text}\n")


@pytest.mark.parametrize("text", keys(QUICKEMU_NAMED))
def test_each_key_of_quickemus_that_is_not_carried_is_named(text: str) -> None:
    before, key = last(text)
    told = comments(quickemu.imported(f"{QUICKEMU}{text}\n", "x"))
    value = re.split('["(]', text)[-2]
    assert told != comments(quickemu.imported(QUICKEMU + before, "x"))
    assert key in told or value in told


@given(st.text("abcdefgh_", min_size=3, max_size=20), st.sampled_from(["yes", "no", "0", "x"]))
def test_a_key_that_nobody_knows_is_named_by_itself(word: str, value: str) -> None:
    line = f'zz_{word}="{value}"\n'
    for read, before in ((vm_bhyve.imported, VM_BHYVE), (quickemu.imported, QUICKEMU)):
        written = read(before + line, "x")
        assert f"zz_{word} {value}" in comments(written)
        assert meaning(written) == meaning(read(before, "x"))


# libvirt, Domain XML format, and Bhyve driver: where, without, with
LIBVIRT = """<domain type='{type}'><name>x</name><memory unit='MiB'>512</memory>
<vcpu>2</vcpu>{domain}<os><type>hvm</type>{os}</os>
<features><acpi/><hyperv>{hyperv}</hyperv>{features}</features><cpu>{cpu}</cpu>
<clock offset='utc'>{clock}</clock><memoryBacking>{backing}</memoryBacking>
<devices>{devices}
<disk type='file' device='disk'>{disk}<source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='virtio'/>{interface}</interface>
{screen}</devices></domain>"""
PLACES = re.findall(r"\{(\w+)\}", LIBVIRT.replace("{type}", ""))


def domain(place: str, text: str, kind: str = "kvm") -> str:
    return LIBVIRT.format_map(dict.fromkeys(PLACES, "") | {"type": kind, place: text})


def pci(more: str = "", attributes: str = "mode='subsystem' type='pci'") -> str:
    address = "<address domain='0' bus='6' slot='0' function='0'/>"
    return f"<hostdev {attributes}><source>{address}</source>{more}</hostdev>"


def disk(attributes: str = "", more: str = "", bus: str = "virtio") -> str:
    return (
        f"<disk type='file' device='disk' {attributes}><source file='/b.img'/>{more}"
        f"<target dev='b' bus='{bus}'/></disk>"
    )


VNC = "<graphics type='vnc'/>"
BHYVE_SOUND = "<sound model='ich7'><audio id='1'/></sound>"
OSS = "<audio id='1' type='oss'><input dev='/dev/dsp0'/><output dev='/dev/dsp1'/></audio>"
CARRIED = [
    ("domain", "", "<uuid>9b1b0f6e-4a67-4d2f-8f3c-2f2e5d8f0a11</uuid>"),
    ("domain", "", "<on_reboot>destroy</on_reboot>"),
    ("domain", "", "<on_poweroff>restart</on_poweroff>"),
    ("domain", "", "<on_crash>restart</on_crash>"),
    ("os", "", "<loader readonly='yes' type='rom'>/fw/bios.bin</loader>"),
    ("os", "<loader type='pflash'>/fw/c.fd</loader>",
     "<loader type='pflash'>/fw/c.fd</loader><nvram>/fw/v.fd</nvram>"),
    ("os", "", "<kernel>/vmlinuz</kernel>"),
    ("os", "<kernel>/vmlinuz</kernel>", "<kernel>/vmlinuz</kernel><initrd>/initrd</initrd>"),
    ("os", "<kernel>/vmlinuz</kernel>", "<kernel>/vmlinuz</kernel><cmdline>quiet</cmdline>"),
    ("features", "", "<kvm><hidden state='on'/></kvm>"),
    ("features", "", "<msrs unknown='ignore'/>"),
    *(("hyperv", "", f"<{name} state='on'/>") for name in (
        "relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies",
        "reenlightenment", "tlbflush", "ipi", "evmcs", "avic", "spinlocks")),
    ("hyperv", "<spinlocks state='on'/>", "<spinlocks state='on' retries='8191'/>"),
    ("hyperv", "<stimer state='on'/>", "<stimer state='on'><direct state='on'/></stimer>"),
    ("hyperv", "", "<vendor_id state='on' value='KVMHv'/>"),
    ("cpu", "", "<model>Skylake-Client</model>"),
    ("cpu", "", "<topology sockets='2' cores='1' threads='1'/>"),
    ("cpu", "", "<topology sockets='1' dies='1' cores='1' threads='2'/>"),
    ("cpu", "", "<feature policy='disable' name='hle'/>"),
    ("backing", "", "<locked/>"),
    ("backing", "", "<hugepages/>"),
    ("devices", "", disk()),
    *(("devices", disk(), disk(bus=bus)) for bus in ("sata", "scsi", "nvme", "ide", "usb")),
    ("devices", disk(), disk(more="<readonly/>")),
    ("devices", disk(), disk(more="<serial>A1</serial>")),
    ("devices", disk(), disk(more="<driver name='qemu' type='qcow2'/>")),
    *(("devices", disk(), disk(more=f"<driver cache='{mode}'/>")) for mode in (
        "none", "writethrough", "directsync")),
    ("devices", disk(), disk(more="<driver discard='ignore'/>")),
    ("devices", disk(), disk(more="<blockio logical_block_size='4096'/>")),
    ("devices", disk(), disk(more="<blockio physical_block_size='4096'/>")),
    ("devices", "", "<disk type='file' device='cdrom'><source file='/a.iso'/></disk>"),
    ("devices", "", "<disk type='file' device='floppy'><source file='/a.ima'/></disk>"),
    ("devices", "", "<disk type='block' device='lun'><source dev='/dev/sdb'/></disk>"),
    ("interface", "", "<mac address='52:54:00:6b:3c:58'/>"),
    ("interface", "", "<mtu size='1400'/>"),
    ("interface", "", "<portForward proto='tcp'><range start='2222' to='22'/></portForward>"),
    *(("devices", "", f"<interface type='{kind}'>{source}</interface>") for kind, source in (
        ("bridge", "<source bridge='br0'/>"), ("direct", "<source dev='eno1' mode='bridge'/>"),
        ("network", "<source network='lan'/>"), ("ethernet", "<target dev='mytap'/>"),
        ("user", ""))),
    ("devices", "", "<interface type='hostdev'><source><address type='pci' bus='6'/></source>"
     "</interface>"),
    *(("devices", "<interface type='user'><model type='virtio'/></interface>",
       f"<interface type='user'><model type='{model}'/></interface>")
      for model in ("e1000", "rtl8139", "e1000e", "vmxnet3")),
    ("devices", "", pci()),
    ("devices", pci(), pci("<rom file='/a.rom'/>")),
    ("devices", "", "<filesystem type='mount'><source dir='/s'/><target dir='s'/></filesystem>"),
    ("devices", "", "<rng model='virtio'><backend model='random'/></rng>"),
    ("devices", "", "<rng model='virtio'><rate bytes='1234' period='2000'/><backend/></rng>"),
    ("devices", "", "<sound model='ich9'/>"),
    ("screen", "", VNC),
    ("screen", VNC, "<graphics type='vnc' port='5905' autoport='no'/>"),
    ("screen", VNC, f"{VNC}<input type='tablet' bus='usb'/>"),
    ("screen", VNC, f"{VNC}<video><model><resolution x='1280' y='720'/></model></video>"),
    ("screen", "", "<graphics type='spice'/>"),
    ("devices", "", "<serial type='pty'/>"),
    ("devices", "", "<serial type='dev'><source path='/dev/ttyS0'/></serial>"),
    ("devices", "", "<console type='pty'/>"),
    ("devices", "", "<channel type='unix'><target type='virtio' name='org.a'/></channel>"),
    ("devices", "", "<input type='evdev'><source dev='/dev/input/event3'/></input>"),
    ("devices", "", "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"),
    ("devices", "", "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"),
    ("devices", "", "<tpm model='tpm-crb'><backend type='passthrough'>"
     "<device path='/dev/tpm1'/></backend></tpm>"),
    ("domain", "", "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'>"
     "<arg value='-S'/></commandline>"),
]  # fmt: skip

CARRIED_BY_BHYVE = [
    ("domain", "", "<bootloader>/usr/local/sbin/grub-bhyve</bootloader>"),
    ("domain", "<bootloader>grub-bhyve</bootloader>",
     "<bootloader>grub-bhyve</bootloader><bootloader_args>-r hd0,1</bootloader_args>"),
    ("domain", "", "<sysinfo type='smbios'><system><entry name='serial'>7</entry></system>"
     "</sysinfo>"),
    ("domain", "", "<cputune><vcpupin vcpu='0' cpuset='1-4'/></cputune>"),
    ("domain", "", "<commandline xmlns='http://libvirt.org/schemas/domain/bhyve/1.0'>"
     "<arg value='-S'/></commandline>"),
    ("os", "", "<loader readonly='yes' type='pflash'>/fw/BHYVE_UEFI.fd</loader>"),
    ("os", "<loader type='pflash'>/fw/c.fd</loader>",
     "<loader type='pflash'>/fw/c.fd</loader><nvram>/vm/a.fd</nvram>"),
    ("features", "", "<msrs unknown='ignore'/>"),
    ("backing", "", "<locked/>"),
    ("devices", "", "<disk type='ctl'><source dev='/dev/cam/ctl'/>"
     "<target dev='sda' bus='scsi'/></disk>"),
    ("devices", "", "<serial type='nmdm'><source master='/dev/nmdm0A'"
     " slave='/dev/nmdm0B'/></serial>"),
    ("devices", "", BHYVE_SOUND),
    ("devices", BHYVE_SOUND, BHYVE_SOUND + OSS),
    ("devices", "", pci(attributes="mode='subsystem' type='pci' managed='no'")),
    ("screen", VNC, "<graphics type='vnc' wait='yes'/>"),
    ("screen", VNC, f"{VNC}<video><driver vgaconf='on'/><model type='gop'/></video>"),
]  # fmt: skip
NAMED = [
    ("domain", "<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>", "<genid> 43dc0cf8"),
    ("domain", "<title>A title</title>", "<title>"),
    ("domain", "<description>words</description>", "<description>"),
    ("domain", "<metadata><a xmlns='urn:a'/></metadata>", "<metadata>"),
    ("domain", "<maxMemory slots='16'>1024</maxMemory>", "<maxMemory>"),
    ("domain", "<currentMemory unit='MiB'>256</currentMemory>", "currentMemory"),
    ("domain", "<iothreads>4</iothreads>", "<iothreads> 4"),
    ("domain", "<cputune><shares>2048</shares></cputune>", "<cputune>"),
    ("domain", "<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>", "<vcpupin> 0 on 1"),
    ("domain", "<numatune><memory mode='strict' nodeset='1'/></numatune>", "<numatune>"),
    ("domain", "<memtune><hard_limit>1</hard_limit></memtune>", "<memtune>"),
    ("domain", "<blkiotune><weight>800</weight></blkiotune>", "<blkiotune>"),
    ("domain", "<resource><partition>/m</partition></resource>", "<resource>"),
    ("domain", "<seclabel type='none'/>", "<seclabel>"),
    ("domain", "<launchSecurity type='sev'/>", "<launchSecurity> sev"),
    ("domain", "<keywrap><cipher name='aes' state='on'/></keywrap>", "<keywrap>"),
    ("domain", "<perf><event name='cmt' enabled='yes'/></perf>", "<perf>"),
    ("domain", "<idmap><uid start='0' target='1' count='1'/></idmap>", "<idmap>"),
    ("domain", "<throttlegroups><throttlegroup/></throttlegroups>", "<throttlegroups>"),
    ("domain", "<pm><suspend-to-mem enabled='no'/></pm>", "<pm>"),
    ("domain", "<on_crash>coredump-restart</on_crash>", "on_crash coredump-restart"),
    ("domain", "<on_lockfailure>poweroff</on_lockfailure>", "<on_lockfailure> poweroff"),
    ("domain", "<vcpus><vcpu id='0' enabled='yes'/></vcpus>", "<vcpus>"),
    ("domain", "<sysinfo type='fwcfg'><entry name='opt/a'>b</entry></sysinfo>", "<sysinfo>"),
    ("domain", "<commandline><env name='A' value='b'/></commandline>", "<env> A"),
    ("os", "<loader secure='yes'/>", "Secure Boot"),
    ("os", "<firmware><feature enabled='yes' name='enrolled-keys'/></firmware>", "enrolled-keys"),
    ("os", "<firmware><feature enabled='yes' name='secure-boot'/></firmware>", "Secure Boot"),
    ("os", "<nvram template='/fw/v.fd'/>", "<nvram> template"),
    ("os", "<boot dev='network'/>", "network"),
    ("os", "<bootmenu enable='yes' timeout='3000'/>", "<bootmenu>"),
    ("os", "<bios useserial='yes' rebootTimeout='0'/>", "<bios>"),
    ("os", "<smbios mode='host'/>", "<smbios> mode=host"),
    ("os", "<acpi><table type='slic'>/a</table></acpi>", "<acpi>"),
    ("os", "<shim>/a</shim>", "<shim> /a"),
    ("os", "<dtb>/a</dtb>", "<dtb> /a"),
    *(("features", f"<{name} state='on'/>", f"<{name}>") for name in (
        "vmport", "pmu", "smm", "ioapic", "hap", "viridian", "privnet", "gic", "vmcoreinfo",
        "pvspinlock", "async-teardown", "ras", "ps2")),
    ("features", "<msrs unknown='fault'/>", "unknown=fault"),
    ("features", "<kvm><hint-dedicated state='on'/></kvm>", "<hint-dedicated>"),
    ("features", "<xen><e820_host state='on'/></xen>", "<xen>"),
    ("hyperv", "<emsr_bitmap state='on'/>", "<emsr_bitmap>"),
    ("cpu", "<vendor>Intel</vendor>", "<vendor> Intel"),
    ("cpu", "<cache mode='emulate' level='3'/>", "<cache>"),
    ("cpu", "<maxphysaddr mode='emulate' bits='42'/>", "<maxphysaddr>"),
    ("cpu", "<numa><cell id='0' cpus='0-1' memory='1'/></numa>", "<numa>"),
    ("cpu", "<topology sockets='9' cores='2' threads='1'/>", "topology"),
    *(("clock", f"<timer name='{name}' present='no'/>", "<timer>") for name in (
        "hpet", "kvmclock", "hypervclock")),
    *(("backing", f"<{name}/>", f"<{name}>") for name in (
        "nosharepages", "source", "access", "allocation", "discard")),
    ("devices", "<emulator>/usr/bin/x</emulator>", "<emulator>"),
    ("devices", disk("rawio='yes'"), "rawio=yes"),
    ("devices", disk("sgio='unfiltered'"), "sgio=unfiltered"),
    ("devices", disk("snapshot='no'"), "<disk> snapshot"),
    *(("devices", disk(more=more), word) for more, word in (
        ("<driver io='native'/>", "io=native"), ("<driver queues='4'/>", "queues=4"),
        ("<driver iothread='1'/>", "iothread=1"), ("<driver error_policy='stop'/>", "error_policy"),
        ("<driver detect_zeroes='on'/>", "detect_zeroes"),
        ("<iotune><total_bytes_sec>1</total_bytes_sec></iotune>", "<iotune>"),
        ("<shareable/>", "<shareable>"), ("<transient/>", "<transient>"),
        ("<geometry cyls='1' heads='2' secs='3'/>", "<geometry>"), ("<wwn>1</wwn>", "<wwn>"),
        ("<vendor>SEAGATE</vendor>", "<vendor> SEAGATE"), ("<product>P</product>", "<product> P"),
        ("<alias name='ua-a'/>", "<alias>"), ("<address type='pci' slot='7'/>", "<address>"),
        ("<backingStore type='file'/>", "<backingStore>"), ("<mirror/>", "being copied"),
        ("<encryption format='luks'/>", "encrypted"), ("<throttlefilters/>", "<throttlefilters>"))),
    ("devices", disk(bus="virtio").replace("bus=", "removable='on' bus="), "removable=on"),
    ("devices", disk("").replace("file='/b.img'", "file='/b.img' startupPolicy='optional'"),
     "startupPolicy=optional"),
    *(("devices", f"<disk type='{kind}'><source name='n' volume='v'/><target dev='vdz'/></disk>",
       f"vdz: {kind}") for kind in ("network", "volume", "nvme", "vhostuser", "vhostvdpa", "dir")),
    *(("interface", more, word) for more, word in (
        ("<filterref filter='clean-traffic'/>", "<filterref>"), ("<link state='down'/>", "<link>"),
        ("<bandwidth><inbound average='1'/></bandwidth>", "<bandwidth>"), ("<vlan/>", "<vlan>"),
        ("<driver name='vhost' queues='5'/>", "queues=5"), ("<boot order='1'/>", "<boot>"),
        ("<rom bar='off'/>", "<rom>"), ("<guest dev='eth9'/>", "<guest> dev=eth9"),
        ("<coalesce><rx/></coalesce>", "<coalesce>"), ("<ip address='10.1.1.1'/>", "<ip>"),
        ("<route family='ipv4'/>", "<route>"), ("<virtualport type='midonet'/>", "<virtualport>"),
        ("<teaming type='persistent'/>", "<teaming>"), ("<backend type='passt'/>", "<backend>"),
        ("<script path='/etc/qemu-ifup'/>", "<script>"),
        ("<tune><sndbuf>0</sndbuf></tune>", "<tune>"),
        ("<port isolated='yes'/>", "<port>"), ("<acpi index='4'/>", "<acpi>"),
        ("<portForward proto='tcp'><range start='1' end='999'/></portForward>", "1 to 999"))),
    *(("devices", f"<interface type='{kind}'><source mode='m'/></interface>", f"of type {kind}")
      for kind in ("vhostuser", "vdpa", "mcast", "server", "client", "udp", "internal", "null",
                   "vds")),
    ("devices", "<interface type='direct'><source dev='e' mode='vepa'/></interface>", "mode vepa"),
    ("devices", "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/>"
     "<product id='0xbeef'/></source></hostdev>", "usb 0x1234 0xbeef"),
    *(("devices", f"<hostdev mode='subsystem' type='{kind}'/>", f"host's: {kind}")
      for kind in ("scsi", "scsi_host", "mdev")),
    ("devices", "<hostdev mode='capabilities' type='storage'/>", "host's: storage"),
    ("devices", pci("<boot order='1'/>"), "<boot>"),
    ("devices", pci("<driver name='xen'/>"), "<driver> xen"),
    ("devices", pci("<rom bar='off'/>"), "bar=off"),
    ("devices", "<filesystem type='mount' accessmode='mapped'><source dir='/s'/><target dir='s'/>"
     "</filesystem>", "accessmode=mapped"),
    ("devices", "<filesystem type='ram'><target dir='s'/></filesystem>", "<filesystem> ram"),
    ("devices", "<filesystem><driver type='virtiofs'/><source dir='/s'/><target dir='s'/>"
     "</filesystem>", "virtiofs"),
    ("devices", "<rng model='virtio'><backend model='egd' type='udp'/></rng>", "<rng> virtio egd"),
    ("devices", "<sound model='ac97'/>", "<sound> ac97"),
    ("devices", "<audio id='1' type='spice'/>", "<audio>"),
    *(("devices", f"<{name} model='m'/>", f"<{name}> m") for name in (
        "watchdog", "vsock", "panic", "memballoon", "smartcard", "shmem", "memory", "iommu",
        "crypto", "redirdev", "redirfilter", "nvram", "lease", "parallel", "pstore")),
    ("devices", "<controller type='scsi' model='virtio-scsi'/>", "<controller>"),
    ("devices", "<hub type='usb'/>", "<hub>"),
    ("devices", "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='12345'/>"
     "</serial>", "tcp 127.0.0.1 12345"),
    ("devices", "<serial type='pty'><target type='usb-serial'/></serial>", "usb-serial"),
    ("devices", "<serial type='pty'><log file='/a'/></serial>", "<log>"),
    ("devices", "<serial type='pty'><protocol type='telnet'/></serial>", "<protocol> telnet"),
    ("devices", "<console type='pty'><target type='virtio'/></console>", "virtio console"),
    ("devices", "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/>"
     "</channel>", "spicevmc"),
    ("devices", "<input type='keyboard' bus='ps2'/>", "<input> keyboard"),
    ("devices", "<input type='keyboard' bus='virtio'/>", "<input> keyboard virtio"),
    ("screen", "<graphics type='vnc' listen='0.0.0.0'/>", "was at 0.0.0.0"),
    ("screen", "<graphics type='vnc'><listen type='socket' socket='/a'/></graphics>", "socket"),
    ("screen", "<graphics type='vnc' passwd='secret'/>", "password"),
    ("screen", "<graphics type='vnc' keymap='de'/>", "keymap=de"),
    ("screen", "<graphics type='vnc' sharePolicy='ignore'/>", "sharePolicy"),
    ("screen", "<graphics type='vnc' websocket='-1'/>", "websocket"),
    ("screen", "<graphics type='spice'/>", "<graphics> spice"),
    ("screen", "<graphics type='sdl'/>", "<graphics> sdl"),
    ("screen", VNC + "<video><model type='qxl'/></video>", "<video> qxl"),
    ("screen", VNC + "<video><model type='vga'><acceleration accel3d='yes'/></model></video>",
     "<acceleration>"),
    ("screen", "<video><model type='vga'/></video>", "<video>"),
    ("devices", "<tpm model='tpm-tis'><backend type='emulator' version='1.2'/></tpm>",
     "<tpm> tpm-tis emulator 1.2"),
    ("devices", "<tpm model='tpm-spapr'><backend type='emulator'/></tpm>", "<tpm> tpm-spapr"),
    ("devices", "<tpm model='tpm-crb'><backend type='emulator'><encryption secret='s'/>"
     "</backend></tpm>", "<encryption>"),
    ("devices", "<tpm model='tpm-crb'><backend type='external'/></tpm>", "<tpm> tpm-crb external"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "before", "after"), CARRIED)
def test_each_documented_element_of_libvirts_makes_another_machine(
    place: str, before: str, after: str
) -> None:
    assert carried(libvirt.imported, domain(place, before), domain(place, after))


@pytest.mark.parametrize(("place", "before", "after"), CARRIED_BY_BHYVE)
def test_each_documented_element_of_libvirts_bhyve_makes_another_machine(
    place: str, before: str, after: str
) -> None:
    texts = domain(place, before, "bhyve"), domain(place, after, "bhyve")
    assert carried(libvirt.imported, *texts)


@pytest.mark.parametrize(("place", "text", "word"), NAMED)
def test_each_element_of_libvirts_that_is_not_carried_is_named(
    place: str, text: str, word: str
) -> None:
    assert word in comments(libvirt.imported(domain(place, text), "x"))


@given(st.sampled_from(PLACES), st.text("abcdefgh", min_size=3, max_size=12), st.booleans())
def test_an_element_that_nobody_knows_is_named_by_itself(place: str, word: str, deep: bool) -> None:
    element = f"<zz{word} {word}='7'/>"
    text = domain(place, f"<known>{element}</known>" if deep else element)
    written = libvirt.imported(text, "x")
    assert f"<{'known' if deep else f'zz{word}'}>" in comments(written)
    assert meaning(written) == meaning(libvirt.imported(domain(place, ""), "x"))


@pytest.mark.parametrize("tag", ["domain", "os", "cpu", "clock", "disk", "source", "interface"])
def test_an_attribute_that_nobody_knows_is_named_by_itself(tag: str) -> None:
    text = domain("os", "").replace(f"<{tag}", f"<{tag} zz='7'", 1)
    written = libvirt.imported(text, "x")
    assert "zz=7" in comments(written)
    assert meaning(written) == meaning(libvirt.imported(domain("os", ""), "x"))


def test_what_a_domain_says_of_its_tables_is_what_its_guest_reads() -> None:
    info = (
        "<sysinfo type='smbios'><bios><entry name='vendor'>A, B</entry></bios>"
        "<system><entry name='product'>P</entry><entry name='odd'>O</entry></system></sysinfo>"
    )
    text = domain("domain", info).replace("<os>", "<os><smbios mode='sysinfo'/>")
    written = libvirt.imported(text, "x")
    assert meaning(written)[0].qemu.smbios == ("type=0,vendor=A,, B", "type=1,product=P")
    assert "<sysinfo> <system> <entry> odd" in comments(written)
    told = meaning(libvirt.imported(text.replace("'kvm'", "'bhyve'"), "x"))[0].bhyve.config
    assert dict(told) == {"bios.vendor": "A, B", "system.product_name": "P"}


def test_threat_b7_a_password_is_in_no_result() -> None:
    for before in ("", 'graphics="yes"\n'):
        text = vm_bhyve.imported(f'{VM_BHYVE}{before}vnc_password="geheim"\n', "x")
        assert "vnc_password" in comments(text)
        assert "geheim" not in text
    for element in ("graphics type='vnc'", "graphics type='spice'", "redirdev", "channel"):
        written = libvirt.imported(domain("screen", f"<{element} passwd='geheim'/>"), "x")
        assert f"<{element.partition(' ')[0]}>" in comments(written) or "password" in written
        assert "geheim" not in written


@pytest.mark.parametrize(
    "line",
    [
        'vnc_password="$x geheim"', "vnc_password='ge#geheim'", "vnc_password = geheim",
        'VNC_PASSWORD="geheim"', "rdp_passwd=geheim", "client_secret=geheim",
        "export vnc_password=geheim", "vnc_password=geheim; true",
    ],
)  # fmt: skip
def test_threat_b7_a_password_in_an_odd_line_is_in_no_result(line: str) -> None:
    for read, before in ((vm_bhyve.imported, VM_BHYVE), (quickemu.imported, QUICKEMU)):
        text = read(f"{before}{line}\n", "x")
        assert re.search("password|passwd|secret", comments(text), re.IGNORECASE)
        assert "geheim" not in text


def test_a_feature_of_a_processor_brings_no_other() -> None:
    name = "hle=off,+smap"
    text = libvirt.imported(domain("cpu", f"<feature policy='require' name='{name}'/>"), "x")
    assert meaning(text)[0].qemu.cpu == ""
    assert name in comments(text)


def boots(text: str) -> list[str]:
    found = loads(libvirt.imported(text, "x"))
    return [str(getattr(device, "path", "")) for device in found.machine.emulations][:2]


@pytest.mark.parametrize(
    ("first", "own", "paths"),
    [
        ("", "", ["/a.img", "/c.iso"]),
        ("<boot dev='cdrom'/><boot dev='hd'/>", "", ["/c.iso", "/a.img"]),
        ("<boot dev='hd'/><boot dev='cdrom'/>", "", ["/a.img", "/c.iso"]),
        ("", "<boot order='1'/>", ["/c.iso", "/a.img"]),
    ],
)
def test_what_a_domain_boots_first_is_first(first: str, own: str, paths: list[str]) -> None:
    cd = f"<disk type='file' device='cdrom'>{own}<source file='/c.iso'/></disk>"
    text = domain("devices", cd).replace("<os>", f"<os>{first}")
    assert boots(text) == paths


def test_the_disks_of_a_domain_of_bhyves_stay_in_the_order_of_its_file() -> None:
    cd = "<disk type='file' device='cdrom'><source file='/c.iso'/></disk>"
    assert boots(domain("devices", cd, "bhyve")) == ["/c.iso", "/a.img"]
