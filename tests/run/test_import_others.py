"""What quickemu, vm-bhyve and libvirt have written, as descriptions of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.run.qemu_machines import values
from tests.vm import HOUSE
from vm_import import detect, libvirt, quickemu, shell, vm_bhyve
from vm_run import bhyve, qemu
from vm_run.pci_slots import place
from vm_spec import loads, select
from vm_spec.devices import (
    AhciCd,
    AhciHd,
    Disk,
    Drive,
    Nic,
    Nvme,
    OtherNic,
    Passthru,
    Virtio9p,
    VirtioBlk,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
)
from vm_spec.fault import VmError
from vm_spec.types import Cpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.machine import Machine

EVERYBODY = ".".join("0000")  # the address
QUICKEMU = """#!/usr/bin/quickemu --vm
# a desktop
guest_os="linux"
disk_img="debian/disk.qcow2"   # made at the first start
disk_size='20G'
iso=debian/installer.iso
fixed_iso="extra.iso"
cpu_cores="4"
ram="4G"
macaddr="52:54:00:12:34:56"
port_forwards=("8080:80" '5432:5432'
  # the last one
  "9000:90")
tpm="on"
usb_devices=("1a2b:3c4d")
display="none"
"""

VM_BHYVE = """
loader="uefi"
cpu=4
cpu_sockets=2
cpu_cores=2
memory=2G   # enough
network0_type="virtio-net"
network0_switch="public"
network0_mac="58:9c:fc:01:02:03"
network1_type="e1000"
network1_device="tap7"
disk0_type="virtio-blk"
disk0_name="disk0.img"
disk0_opts="nocache,sectorsize=512/4096"
disk1_type="nvme"
disk1_dev="custom"
disk1_name="/dev/zvol/tank/web"
disk2_type="ahci-cd"
disk2_dev="custom"
disk2_name="/iso/tools.iso"
passthru0="6/0/0=20:0"
uuid="6b9a1b8c-3c53-11ee-9d0a-0242ac120002"
bhyve_options="-w -p 1:1"
graphics="yes"
graphics_port="5999"
graphics_listen="0.0.0.0"
graphics_res="1280x720"
vnc_password="secret"
xhci_mouse="yes"
virt_random="yes"
comports="com1 com2"
utctime="no"
grub_run0="linux /boot/vmlinuz"
  cpu=99
"""

LIBVIRT = """<?xml version='1.0' encoding='UTF-8'?>
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>shop</name>
  <uuid>9b1b0f6e-4a67-4d2f-8f3c-2f2e5d8f0a11</uuid>
  <memory unit='GiB'>2</memory>
  <vcpu placement='static'>4</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd.img</initrd>
    <cmdline>console=ttyS0 root=/dev/vda 50%</cmdline>
  </os>
  <features><acpi/><apic/><kvm><hidden state='on'/></kvm></features>
  <cpu mode='custom'><model>Skylake-Client</model><topology sockets='1' cores='2' threads='2'/>
    <feature policy='disable' name='hle'/></cpu>
  <clock offset='localtime'/>
  <on_poweroff>restart</on_poweroff>
  <devices>
    <emulator>/usr/bin/false</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
      <source file='/img/a'/><target dev='vda' bus='virtio'/><serial>A1</serial></disk>
    <disk type='block' device='disk'><driver type='raw'/><source dev='/dev/sdz'/>
      <target dev='sda' bus='sata'/></disk>
    <disk type='file' device='disk'><source file='/img/c.raw'/><target dev='sdb' bus='scsi'/>
      <readonly/></disk>
    <disk type='file' device='cdrom'><source file='/iso/x.iso'/><target dev='sdc' bus='sata'/>
      <readonly/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='lost-volume'/>
      <target dev='vdb' bus='virtio'/></disk>
    <interface type='bridge'><mac address='52:54:00:6b:3c:58'/><source bridge='br0'/>
      <model type='virtio'/></interface>
    <interface type='direct'><source dev='eno1' mode='bridge'/><model type='e1000'/></interface>
    <interface type='network'><source network='office'/><model type='virtio'/></interface>
    <interface type='user'><model type='rtl8139'/>
      <portForward proto='tcp'><range start='2222' to='22'/></portForward></interface>
    <serial type='pty'><target port='0'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <graphics type='vnc' port='5905' autoport='no' listen='0.0.0.0' passwd='geheim'/>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address domain='0x0000' bus='0x06' slot='0x12' function='0x1'/></source></hostdev>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
    <filesystem type='mount'><source dir='/srv'/><target dir='share'/><readonly/></filesystem>
  </devices>
  <qemu:commandline><qemu:arg value='-device'/><qemu:arg value='edu'/></qemu:commandline>
</domain>
"""

LIBVIRT_BHYVE = """<domain type='bhyve'><name>bee</name><memory>524288</memory><vcpu>1</vcpu>
  <os><type>hvm</type><loader readonly='yes' type='rom'>/fw/BHYVE_UEFI.fd</loader></os>
  <features><acpi/></features><clock offset='utc'/>
  <devices><disk type='file'><driver type='raw'/><source file='/vm/bee.img'/>
    <target dev='hda' bus='sata'/></disk>
    <interface type='bridge'><source bridge='bridge0'/><model type='virtio'/></interface>
    <serial type='nmdm'><source master='/dev/nmdm0A' slave='/dev/nmdm0B'/></serial>
  </devices></domain>
"""


def machine(text: str, target: str = "default") -> Machine:
    return select(loads(text), target)


def on_qemu(text: str) -> list[str]:
    description = loads(text)
    return qemu.argv(place(description, description.machine))


def on_bhyve(text: str) -> list[str]:
    description = loads(text)
    return bhyve.argv(place(description, description.machine))


def of(kind: type[Any], text: str, target: str = "default") -> list[Any]:
    return [device for device in machine(text, target).emulations if isinstance(device, kind)]


def comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


def fault(read: Callable[[bytes, str], str], text: str) -> str:
    with pytest.raises(VmError) as caught:
        read(text.encode(), "web")
    assert caught.value.status == 65
    return str(caught.value)


def test_a_quickemu_configuration_is_the_same_machine() -> None:
    text = quickemu.imported(QUICKEMU, "desk")
    found = machine(text)
    assert (found.name, found.cpu.count, str(found.mem)) == ("desk", 4, "4G")
    assert found.bootrom == "uefi"
    assert found.graphic is None
    assert [(disk.path, disk.image_format) for disk in of(Disk, text)] == [
        ("./debian/disk.qcow2", "qcow2")
    ]
    assert [cd.path for cd in of(AhciCd, text)] == ["./extra.iso"]
    assert [cd.path for cd in of(AhciCd, text, "install")] == [
        "./extra.iso",
        "./debian/installer.iso",
    ]
    [card] = of(Nic, text)
    assert card.mac == "52:54:00:12:34:56"
    assert [(one.port, one.guest_port) for one in card.forward] == [
        (22220, 22),
        (8080, 80),
        (5432, 5432),
        (9000, 90),
    ]


def test_a_quickemu_configuration_gives_a_command_line_of_qemu() -> None:
    line = on_qemu(quickemu.imported(QUICKEMU, "desk"))
    assert values(line, "-m") == ["4096M"]
    drivers = str(values(line, "-device"))
    assert "virtio-blk-pci" in drivers
    assert "virtio-net-pci" in drivers


def test_what_quickemu_has_and_we_have_not_is_told() -> None:
    more = 'secureboot="on"\nusb_devices=("mouse")\n'
    told = comments(quickemu.imported(f"{QUICKEMU}{more}", "desk"))
    assert "secureboot on" in told
    assert "usb_devices mouse" in told


def test_a_device_of_the_hosts_usb_is_carried_as_arguments_of_qemu() -> None:
    text = quickemu.imported(QUICKEMU, "desk")
    assert machine(text).qemu.args == (
        "-device", "qemu-xhci,id=hostpass",
        "-device", "usb-host,bus=hostpass.0,vendorid=0x1a2b,productid=0x3c4d",
    )  # fmt: skip


def test_a_bridge_and_a_bios_of_quickemus_are_carried() -> None:
    text = quickemu.imported('disk_img=a.img\nboot="legacy"\nnetwork="br0"', "x")
    [card] = of(VirtioNet, text)
    assert (card.bridge, card.backend, machine(text).bootrom) == ("br0", "tap", None)
    assert of(VirtioBlk, text)[0].image_format == "qcow2"


def test_a_restricted_network_is_never_opened() -> None:
    text = quickemu.imported('guest_os=linux\nnetwork="restrict"', "x")
    assert of(Nic, text) == []
    assert "network restrict" in comments(text)


@pytest.mark.parametrize(
    "line",
    [
        "ram=$(touch {})",
        'ram="`touch {}`"',
        "ram=$HOME",
        "touch {}",
        "ram=4G touch {}",
        "source {}",
        ". {}",
        "eval 'touch {}'",
        "ram=${cpu_cores:-$(touch {})}",
        "ram=${ram:-8G}",
        "ram=8G; touch {}",
        "ram=8G && touch {}",
        "export ram=8G",
        'ram="8G" touch {}',
        "ram=$((8*1024))M",
        "ram=<(touch {})",
        "usb_devices=($(touch {}))",
        "port_forwards=(`touch {}`)",
        "ram+=$(touch {})",
        "declare -x ram=8G",
        "trap 'touch {}' EXIT",
    ],
)
def test_threat_b7_nothing_in_a_quickemu_configuration_is_run(line: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    written = line.replace("{}", str(canary))
    text = quickemu.imported(f'guest_os="linux"\n{written}\ncpu_cores=3\n', "x")
    assert not canary.exists()
    assert machine(text).cpu.count == 3
    assert str(machine(text).mem) == "2G"
    assert "not run" in comments(text)


@pytest.mark.parametrize(
    "block",
    [
        "f() {\ncpu_cores=7\n}",
        "if true; then\ncpu_cores=7\nfi",
        "cat <<END\ncpu_cores=7\nEND",
        "echo '\ncpu_cores=7\n'",
        "echo \\\ncpu_cores=7",
    ],
)
def test_an_assignment_inside_something_else_is_none(block: str) -> None:
    assert "cpu_cores" not in shell.read(f"{block}\n").words


def test_words_and_arrays_of_a_shell_are_read_as_it_does() -> None:
    found = shell.read('a=1\'b c\'"d\\"e"\nA=(\'x y\' z # no\n  "w")\nempty=\n')
    assert found.words == {"a": '1b cd"e', "empty": ""}
    assert found.arrays == {"A": ("x y", "z", "w")}
    assert found.others == ()


def test_a_vm_bhyve_configuration_is_the_same_machine() -> None:
    text = vm_bhyve.imported(VM_BHYVE, "web")
    found = machine(text)
    assert found.cpu == Cpu(sockets=2, cores=2)
    assert (str(found.mem), found.bootrom, found.utc_clock) == ("2G", "uefi", False)
    assert (found.com1, found.com2) == ("socket", "socket")
    assert found.uuid == "6b9a1b8c-3c53-11ee-9d0a-0242ac120002"
    assert found.bhyve.args == ("-w", "-p", "1:1")
    [disk] = of(VirtioBlk, text)
    assert (disk.path, disk.nocache) == ("./disk0.img", True)
    assert (disk.logical_sector_size, disk.physical_sector_size) == (512, 4096)
    assert [one.path for one in of(Nvme, text)] == ["/dev/zvol/tank/web"]
    assert [one.path for one in of(AhciCd, text)] == ["/iso/tools.iso"]
    assert [(card.kind, card.bridge, card.backend) for card in of(Nic, text)] == [
        ("virtio-net", "vm-public", "tap"),
        ("e1000", None, "tap"),
    ]
    assert of(Nic, text)[1].name == "tap7"
    [given_away] = of(Passthru, text)
    assert (str(given_away.src), str(given_away.slot)) == ("0000:06:00.0", "0:20:0")
    assert len(of(VirtioRnd, text)) == 1


def test_a_screen_of_vm_bhyves_for_everybody_is_for_this_host_now() -> None:
    text = vm_bhyve.imported(VM_BHYVE, "web")
    screen = machine(text).graphic
    assert screen is not None
    assert (screen.host, screen.port, screen.width, screen.height) == (
        "127.0.0.1",
        5999,
        1280,
        720,
    )
    assert EVERYBODY in comments(text)
    assert "secret" not in text


def test_a_vm_bhyve_configuration_gives_command_lines_of_both() -> None:
    text = vm_bhyve.imported(VM_BHYVE, "web")
    line = on_bhyve(text)
    assert line[-1] == "web"
    assert values(line, "-m") == ["2G"]
    shown = " ".join(line)
    assert "virtio-blk,./disk0.img" in shown
    assert "nvme,/dev/zvol/tank/web" in shown
    assert "e1000,tap7" in shown
    assert "/dev/zvol/tank/web" in " ".join(on_qemu(text))


def test_what_vm_bhyve_has_and_we_have_not_is_told() -> None:
    text = vm_bhyve.imported('loader="x86"\ndisk0_type="x"\ndisk0_name="y"\ngrub_run0="z"', "x")
    told = comments(text)
    assert "the loader x86" in told
    assert "disk0: x file y" in told
    assert "grub_run0 z" in told


def test_each_line_of_vm_bhyves_stands_for_itself() -> None:
    text = vm_bhyve.imported('loader="uefi"\ngrub_run0="a # b"\nodd=(1 2)\ncpu=3\n', "x")
    assert machine(text).cpu.count == 3
    told = comments(text)
    assert 'grub_run0="a (not a plain key and value)' in told
    assert "odd=(1 2) (not a plain key and value)" in told


def test_a_hint_is_whole_for_each_disk_and_each_card() -> None:
    disks = "".join(f'disk{n}_type="virtio-blk"\ndisk{n}_name="{n}.img"\n' for n in "012")
    told = comments(vm_bhyve.imported(f'loader="uefi"\n{disks}', "x"))
    assert told.count("or write its whole path.") == 3
    cards = "".join(
        f"<interface type='network'><source network='n{n}'/></interface>" for n in "012"
    )
    domain = LIBVIRT_BHYVE.replace("<serial", f"{cards}<serial")
    told = comments(libvirt.imported(domain, "x"))
    assert told.count("until it has that network's bridge.") == 3


def test_a_key_of_vm_bhyves_without_its_device_is_told() -> None:
    text = vm_bhyve.imported('loader="uefi"\nnetwork9="x"\npassthru00="1/0/0"\ndisk07="y"', "x")
    assert machine(text).emulations == ()
    assert "network9 x" in comments(text)
    assert "passthru00 1/0/0" in comments(text)


def test_a_disk_of_vm_bhyves_without_a_type_is_told() -> None:
    told = comments(vm_bhyve.imported('loader="uefi"\ndisk3_name="lost.img"', "x"))
    assert "disk3_name lost.img" in told


def test_a_libvirt_domain_is_the_same_machine() -> None:
    text = libvirt.imported(LIBVIRT, "other")
    found = machine(text)
    assert (found.name, found.hypervisor, found.bootrom) == ("shop", "qemu", "uefi")
    assert (str(found.mem), found.cpu) == ("2G", Cpu(cores=2, threads=2))
    assert (found.kernel, found.initrd) == ("/boot/vmlinuz", "/boot/initrd.img")
    assert found.cmdline == "console=ttyS0 root=/dev/vda 50%"
    assert found.uuid == "9b1b0f6e-4a67-4d2f-8f3c-2f2e5d8f0a11"
    assert (found.utc_clock, found.reboot_on) == (False, ("reboot", "poweroff"))
    assert (found.qemu.cpu, found.qemu.hide_hypervisor) == ("Skylake-Client,hle=off", True)
    assert found.qemu.args == ("-device", "edu")
    assert found.com1 == "socket"
    assert (found.com2, found.generate_acpi) == (None, True)


def test_the_devices_of_a_libvirt_domain_are_the_same() -> None:
    text = libvirt.imported(LIBVIRT, "other")
    [virtio] = of(VirtioBlk, text)
    assert (virtio.path, virtio.format, virtio.nocache, virtio.ser) == (
        "/img/a",
        "qcow2",
        True,
        "A1",
    )
    assert [disk.path for disk in of(AhciHd, text)] == ["/dev/sdz"]
    assert [(disk.path, disk.ro) for disk in of(VirtioScsi, text)] == [("/img/c.raw", True)]
    assert [cd.path for cd in of(AhciCd, text)] == ["/iso/x.iso"]
    assert [(card.kind, card.backend) for card in of(Nic, text)] == [
        ("virtio-net", "tap"),
        ("e1000", "macvtap"),
        ("virtio-net", "user"),
        ("nic", "user"),
    ]
    assert of(VirtioNet, text)[0].mac == "52:54:00:6b:3c:58"
    [other] = of(OtherNic, text)
    assert (other.model, other.forward[0].port, other.forward[0].guest_port) == (
        "rtl8139",
        2222,
        22,
    )
    assert str(of(Passthru, text)[0].src) == "0000:06:12.1"
    [folder] = of(Virtio9p, text)
    assert (folder.sharename, folder.path, folder.ro) == ("share", "/srv", True)
    assert len(of(VirtioRnd, text)) == 1


def test_what_libvirt_has_and_we_have_not_is_told() -> None:
    text = libvirt.imported(LIBVIRT, "other")
    told = comments(text)
    assert "lost-volume" in told
    assert "<memballoon> virtio" in told
    assert "office" in told
    assert EVERYBODY in told
    assert "geheim" not in text
    screen = machine(text).graphic
    assert screen is not None
    assert (screen.host, screen.port, screen.password) == ("127.0.0.1", 5905, "")


def test_a_libvirt_domain_gives_a_command_line_of_qemu() -> None:
    line = on_qemu(libvirt.imported(LIBVIRT, "other"))
    shown = " ".join(line)
    assert [path in shown for path in ("/img/a", "/dev/sdz", "/img/c.raw", "/iso/x.iso")] == [
        True
    ] * 4
    assert "/usr/bin/false" not in shown
    assert values(line, "-smp") == ["4,sockets=1,cores=2,threads=2"]


def test_a_libvirt_domain_of_bhyves_gives_its_command_line() -> None:
    text = libvirt.imported(LIBVIRT_BHYVE, "x")
    found = machine(text)
    assert (found.hypervisor, found.com1, found.bootrom) == (
        "bhyve",
        "/dev/nmdm0A",
        "/fw/BHYVE_UEFI.fd",
    )
    line = on_bhyve(text)
    assert line[-1] == "bee"
    assert values(line, "-m") == ["512M"]
    assert "/vm/bee.img" in " ".join(line)


def test_an_ide_disk_of_a_pc_stays_one() -> None:
    domain = LIBVIRT_BHYVE.replace("bhyve'", "kvm'").replace("'sata'", "'ide'")
    domain = domain.replace("<type>hvm", "<type machine='pc-i440fx-8.0'>hvm")
    domain = domain.replace("nmdm", "pty")
    text = libvirt.imported(domain, "x")
    assert [(one.interface, one.path) for one in of(Drive, text)] == [("ide", "/vm/bee.img")]
    assert machine(text).qemu.machine == "pc"


HOSTILE = [
    '<!DOCTYPE d [<!ENTITY a "b">]><domain type="kvm"><name>&a;</name></domain>',
    '<!DOCTYPE d SYSTEM "file:///etc/passwd"><domain type="kvm"/>',
    "<domain type='kvm'>",
    "<domain type='kvm'>" + "<a>" * 100 + "</a>" * 100 + "</domain>",
    "<domain type='kvm'>" + "<a/>" * 30_000 + "</domain>",
    '<!DOCTYPE d [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><domain type="kvm"/>',
    '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><domain type="kvm">&b;</domain>',
    '<!DOCTYPE domain PUBLIC "-//x" "http://127.0.0.1:1/d.dtd"><domain type="kvm"/>',
    "<domain type='kvm'><name>&undefined;</name></domain>",
    "<?xml version='1.0' encoding='UTF-7'?><domain type='kvm'/>",
    "<domain type='kvm'><domain type='kvm'/>",
    "<domain type='kvm' type='qemu'/>",
    "<domain type='xen'/>",
    "<network/>",
    "<domain type='kvm'><os><type arch='aarch64'>hvm</type></os></domain>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_threat_b7_xml_that_is_hostile_or_no_domain_is_refused(text: str) -> None:
    said = fault(libvirt.imported, text)
    assert "OVF" not in said
    assert "VirtualBox" not in said


BLANKS = " " * 60_000
READ = """
import sys
from vm_import import detect
from vm_spec.fault import VmError
for text in sys.stdin.buffer.read().split(b"\\0"):
    try:
        print(bool(detect.imported(text, "x")))
    except VmError as error:
        print(error.status)
"""


def test_threat_b7_a_long_run_of_blanks_costs_no_more_than_other_text() -> None:
    texts = {
        f"guest_os=linux\nram=4G{BLANKS}x\n": "True",
        f"guest_os=linux\nif true; then fi{BLANKS}x\n": "True",
        f"guest_os=linux\nports=(1{BLANKS}\n": "True",
        f"loader=uefi\ncpu=1{BLANKS}x\n": "True",
        "x\n" + "\n" * 60_000 + "y": "65",
        f"[a]{BLANKS}y": "65",
    }
    done = subprocess.run(
        ["prlimit", "--cpu=10", sys.executable, "-c", READ],
        input="\0".join(texts), stdout=subprocess.PIPE, cwd=HOUSE, timeout=300, check=False,
        text=True,
    )  # fmt: skip
    assert done.stdout.split() == [*texts.values()]


@pytest.mark.parametrize(
    "text", ["a=" + "[" * 30_000, "a=" + "{a=" * 20_000, "a." * 30_000 + "a=1", '{"a":' * 10_000]
)
def test_threat_b7_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(VmError) as caught:
        detect.imported(text.encode(), "x")
    assert caught.value.status == 65


def test_threat_b7_a_comment_cannot_be_left() -> None:
    text = quickemu.imported('disk_img=a.qcow2\nx="\x1b[2J\r\u2028extra_options = 1"', "x")
    assert "\x1b" not in text
    assert machine(text).extra_options == ()
    assert all(line.startswith("#") for line in text.splitlines() if "extra_options" in line)


def test_a_disk_that_cannot_be_said_whole_is_left_out() -> None:
    domain = LIBVIRT_BHYVE.replace("type='raw'", "type='luks'")
    text = libvirt.imported(domain, "x")
    assert of(Disk, text) == []
    assert "the ahci-hd disk0, for want of its format" in comments(text)


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        (LIBVIRT, "shop", "libvirt"),
        (QUICKEMU, "file", "quickemu"),
        (VM_BHYVE, "file", "vm-bhyve"),
        (
            "# flat\nname=flat\nmemory.size=1G\ncpus=2\npci.0.0.0.device=hostbridge\n"
            "pci.0.3.0.device=virtio-blk\npci.0.3.0.path=/vm/a.img\n",
            "flat",
            "bhyve",
        ),
        ("memory.size=1G\npci.0.0.0.device=hostbridge\n", "file", "bhyve"),
        ('{"mem": "1G", "emulations": [{"device": "virtio-net", "name": "tap3"}]}', "file", "in"),
        ('mem = "1G"\n[disk.a]\npath = "a%%b.img"', "file", "in another syntax"),
        (
            '[base.main]\nmachine="q35"\nsmp="2"\nmem="512"\n[storage.a]\n'
            'driver="virtio"\nfile="a.img"',
            "file",
            "in another syntax",
        ),
    ],
)
def test_a_file_is_known_by_what_is_in_it(text: str, name: str, kind: str) -> None:
    written = detect.imported(text.encode(), "/some/where/file.txt")
    assert machine(written).name == name
    assert kind in written.splitlines()[0]
    assert on_qemu(written)


def test_what_a_description_of_ours_says_is_what_it_says_afterwards() -> None:
    for path in sorted((Path(__file__).parents[2] / "examples").glob("vm*n.*")):
        if path.suffix in (".toml", ".json"):
            assert machine(detect.imported(path.read_bytes(), path.name)).emulations


def test_a_file_of_no_known_kind_is_refused_with_what_is_known() -> None:
    with pytest.raises(VmError, match="quickemu or of vm-bhyve"):
        detect.imported(b"hello, world\n", "x.conf")


@pytest.mark.parametrize("read", [quickemu.imported, vm_bhyve.imported, libvirt.imported])
def test_what_is_another_kind_of_file_is_refused(read: Callable[[bytes, str], str]) -> None:
    assert fault(read, "nothing of anybody's\n")
    assert fault(read, "\0")


PIECES = st.sampled_from([
    "guest_os=", "disk_img=", "disk0_type=", "disk0_name=", "loader=", "network0_type=", "\n",
    "network=", '"', "'", "$(x)", "virtio-blk", "uefi", "ram=", "4G", "port_forwards=(", ")", " ",
    "<domain type='kvm'>", "</domain>", "<devices>", "</devices>", "<disk type='file'>", "</disk>",
    "<source file='a'/>", "<memory>", "</memory>", "9", "%", "%(a)", "#", "\\", "passthru0=", "1/2",
])  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_is_a_description_or_a_fault(text: str) -> None:
    for read in (quickemu.imported, vm_bhyve.imported, libvirt.imported):
        try:
            loads(read(text, "web"))
        except VmError as error:
            assert error.status == 65


@given(st.one_of(st.binary(), st.lists(PIECES, max_size=40).map(lambda x: "".join(x).encode())))
def test_any_bytes_are_a_description_or_a_fault(data: bytes) -> None:
    try:
        loads(detect.imported(data, "web.conf"))
    except VmError as error:
        assert error.status == 65


@given(st.lists(st.text("ab=$\"' \n()#\\{", max_size=30)).map("\n".join))
def test_a_shell_text_is_read_to_its_end(text: str) -> None:
    found = shell.read(text)
    assert not any("$" in word for word in found.words.values() if "'" not in text)
