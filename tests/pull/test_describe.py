"""The description that a pulled box gets."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pull.ovfs import machine, ovf
from vm_pull.describe import Provenance, describe, for_bhyve
from vm_pull.hardware import box
from vm_pull.hardware.hardware import DiskUse, Hardware
from vm_run import dry_run
from vm_spec import Context, Description, VmError, loads
from vm_spec.frozen import replace
from vm_spec.machine import HypervisorName

HOUSE = Path(__file__).parents[2]
GIB = 1 << 30
FROM = Provenance(
    source="ubuntu/trusty64",
    url="https://user:secret@boxes.example/trusty/vagrant.box?sig=hidden",
    version="20190514.0.0",
    provider="virtualbox",
    architecture="amd64",
    checksum="sha256:0a1b2c",
    checksum_verified=True,
    pulled_on="2026-11-20",
)
TRUSTY = Hardware(
    provider="virtualbox",
    cpus=2,
    memory=GIB,
    firmware="bios",
    disks=(
        DiskUse(member="box-disk001.vmdk", bus="ahci-hd"),
        DiskUse(member="box-disk002.vmdk", bus="virtio-blk"),
    ),
    nic="e1000",
    nic_slot=3,
    mac="08:00:27:a1:b2:c3",
    os="Ubuntu_64",
    notes=("a disk of its LsiLogic controller is a SATA disk here",),
)
LIBVIRT = Hardware(provider="libvirt", disks=(DiskUse(member="box.img", bus="virtio-blk"),))

WHOLE = """\
# ubuntu/trusty64 20190514.0.0 for virtualbox amd64
# from https://boxes.example/trusty/vagrant.box?sig=...
# pulled on 2026-11-20
# sha256:0a1b2c (verified)
#
#   vm-run trusty64                 start it; Ctrl-C asks it to power off
#   vm-run --detach trusty64        start it in the background; vm-stop trusty64 ends it
#   ssh -p 2222 vagrant@localhost   log in, once it has booted
#   vm-console trusty64             its serial port, if it has a console there
#
# Nearly all boxes have the password vagrant, and a key that everybody knows:
# https://github.com/hashicorp/vagrant/tree/main/keys
# Change both before others than this host can reach the guest.
#
# Its maker calls its system Ubuntu_64.
# It boots by BIOS, and bhyve has UEFI only: it is for QEMU.
# Note: a disk of its LsiLogic controller is a SATA disk here.

cpu = 2
mem = "1024M"
com1 = "socket"

[disk.disk0]
device = "ahci-hd"
path = "trusty64.img"

[disk.disk1]
path = "trusty64-1.qcow2"

[net.lan]
device = "e1000"
slot = 3
forward = ["2222:22"]
# mac = "08:00:27:a1:b2:c3"  # of the box, and of all who pull it

[qemu]
vga = "std"

# To see its screen, put this in the place of [qemu], and point a VNC viewer at localhost:5900.
# [graphic]
# port = 5900
"""
SMALL = """\
# ./my.box
# no checksum is published for it
#
#   vm-run small                start it; Ctrl-C asks it to power off
#   vm-run --detach small       start it in the background; vm-stop small ends it
#   ssh -p 2223 root@localhost  log in, once it has booted
"""


def text(hardware: Hardware, *disks: tuple[str, str], name: str = "it", port: int = 2222) -> str:
    return describe(name, hardware, disks or (("it.img", "raw"),), port, FROM)


def loaded(written: str, hypervisor: str = "qemu", name: str = "it") -> Description:
    context = Context(file="it.toml", folder="/vm", name=name, user="alice", home="/home/alice")
    description = loads(written, context)
    chosen = replace(description.machine, hypervisor=HypervisorName(hypervisor))
    return replace(description, machine=chosen)


def argv(written: str, hypervisor: str = "qemu") -> list[str]:
    return shlex.split(dry_run.dry_run(loaded(written, hypervisor), "default", [], "shell"))


def settings_of(written: str) -> dict[str, object]:
    """The keys of a description, without its comments."""
    return tomli.loads(written)


def comments(written: str) -> str:
    return "\n".join(line for line in written.splitlines() if line.startswith("#"))


def test_a_description_of_a_virtualbox_box_is_agreed_to_the_letter() -> None:
    disks = (("trusty64.img", "raw"), ("trusty64-1.qcow2", "qcow2"))
    assert describe("trusty64", TRUSTY, disks, 2222, FROM) == WHOLE


def test_a_description_of_a_libvirt_box_has_no_more_than_it_needs() -> None:
    written = text(replace(LIBVIRT, firmware="uefi"), ("it.img", "qcow2"))
    assert settings_of(written) == {
        "cpu": 1,
        "mem": "1024M",
        "bootrom": "uefi",
        "com1": "socket",
        "disk": {"disk0": {"path": "it.img", "format": "qcow2"}},
        "net": {"lan": {"forward": ["2222:22"]}},
        "qemu": {"vga": "std"},
    }
    assert "BIOS" not in written
    assert "mac =" not in written


@pytest.mark.parametrize("hypervisor", ["qemu", "bhyve"])
@pytest.mark.parametrize("bus", ["ahci-hd", "nvme", "virtio-blk"])
@pytest.mark.parametrize("nic", ["e1000", "virtio-net"])
@pytest.mark.parametrize("firmware", ["uefi", "bios", ""])
def test_a_description_becomes_a_command_line_of_both_hypervisors(
    hypervisor: str, bus: str, nic: str, firmware: str
) -> None:
    hardware = Hardware(
        provider="virtualbox",
        firmware=firmware,
        disks=tuple(DiskUse(member=f"{n}", bus=bus) for n in range(3)),
        nic=nic,
        nic_slot=3,
    )
    written = text(hardware, ("it.img", "raw"), ("it-1.img", "raw"), ("it-2.img", "raw"))
    words = argv(written, hypervisor)
    for file in ("/vm/it.img", "/vm/it-1.img", "/vm/it-2.img"):
        assert sum(file in word for word in words) == 1
    forwards = "hostfwd=tcp:127.0.0.1:2222-:22"
    assert sum(forwards in word for word in words) == 1


PULLED = {
    "virtualbox": ({"box.ovf": ovf(vbox=machine())}, ["box-disk001.vmdk"]),
    "libvirt": ({"metadata.json": b'{"provider": "libvirt"}'}, ["box.img"]),
    "qemu": ({"metadata.json": b'{"provider": "qemu"}'}, ["box.img"]),
    "bhyve": ({"metadata.json": b'{"provider": "bhyve"}'}, ["disk.img", "uefi.fd"]),
    "vmware_desktop": (
        {
            "metadata.json": b'{"provider": "vmware_desktop"}',
            "box.vmx": b'sata0:0.fileName = "disk.vmdk"',
        },
        ["disk.vmdk"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("hypervisor", ["qemu", "bhyve"])
@pytest.mark.parametrize("provider", PULLED)
def test_a_box_of_each_provider_runs_on_both_hypervisors(provider: str, hypervisor: str) -> None:
    hardware = box.hardware(*PULLED[provider])
    words = argv(text(hardware), hypervisor)
    assert sum("/vm/it.img" in word for word in words) == 1


def test_the_card_is_in_its_slot_and_the_disks_are_around_it() -> None:
    four = tuple(DiskUse(member=f"{n}", bus="ahci-hd") for n in range(4))
    hardware = replace(TRUSTY, disks=four)
    disks = [(f"it-{n}.img", "raw") for n in range(4)]
    words = argv(describe("it", hardware, disks, 2222, FROM))
    devices = [json.loads(word) for word in words if word.startswith('{"driver": "')]
    slots = {one["id"]: one["addr"] for one in devices if "addr" in one}
    wanted = {"disk0": "2.0", "disk1": "4.0", "disk2": "5.0", "disk3": "6.0", "lan": "3.0"}
    assert slots == wanted


def test_disks_boot_in_the_order_of_the_box() -> None:
    written = text(TRUSTY, ("a.img", "raw"), ("b.img", "raw"))
    shown = [json.loads(word) for word in argv(written) if "bootindex" in word]
    assert [(one["drive"], one["bootindex"]) for one in shown] == [("disk0", 1), ("disk1", 2)]


@pytest.mark.parametrize(
    ("file", "kind", "form"),
    [
        ("a.img", "raw", None),
        ("a.qcow2", "qcow2", None),
        ("a.img", "qcow2", "qcow2"),
        ("a.qcow2", "raw", "raw"),
        ("a.vmdk", "vmdk-sparse", None),
        ("a.img", "vhd", "vpc"),
        ("a", "vdi", "vdi"),
    ],
)
def test_a_format_is_written_where_the_name_does_not_say_it(
    file: str, kind: str, form: str | None
) -> None:
    table = settings_of(text(LIBVIRT, (file, kind)))["disk"]
    assert table == {"disk0": {"path": file} | ({"format": form} if form else {})}


def test_a_percent_sign_in_a_file_s_name_is_one() -> None:
    machine = loaded(text(LIBVIRT, ("100%(name).img", "raw"))).machine
    assert getattr(machine.emulations[0], "path", "") == "/vm/100%(name).img"


def test_a_virtio_scsi_disk_stays_one_on_qemu_and_is_virtio_blk_for_bhyve() -> None:
    hardware = replace(LIBVIRT, disks=(DiskUse(member="x", bus="virtio-scsi"),))
    assert any("virtio-scsi-pci" in word for word in argv(text(hardware)))
    assert "On bhyve its virtio-scsi disks must be virtio-blk" in comments(text(hardware))
    with pytest.raises(VmError, match="use virtio-blk for an image"):
        argv(text(hardware), "bhyve")
    changed = text(for_bhyve(hardware))
    assert any("virtio-blk" in word for word in argv(changed, "bhyve"))
    assert "its virtio SCSI disks are virtio-blk here" in comments(changed)
    assert for_bhyve(LIBVIRT) is LIBVIRT


def test_who_logs_in_and_with_what_is_told() -> None:
    written = text(replace(LIBVIRT, user="freebsd", own_key=True))
    assert "ssh -p 2222 freebsd@localhost" in comments(written)
    assert "The box has a key of its own" in comments(written)
    assert "password vagrant" not in written


def test_a_checksum_is_told_as_what_it_is() -> None:
    def told(**changes: object) -> str:
        origin = replace(FROM, **changes)
        return comments(describe("it", LIBVIRT, [("it.img", "raw")], 2222, origin))

    assert "# sha256:0a1b2c (verified)" in told()
    assert "# sha256:0a1b2c (not verified)" in told(checksum_verified=False)
    assert "# no checksum is published for it" in told(checksum="")


def test_a_file_as_the_source_is_told_once() -> None:
    origin = Provenance(source="./my.box", url="./my.box")
    hardware = replace(LIBVIRT, user="root")
    written = describe("small", hardware, [("small.img", "raw")], 2223, origin)
    assert [line.split() for line in written.splitlines()[:6]] == [
        line.split() for line in SMALL.splitlines()
    ]


HOSTILE = "\x1b]8;;http://evil\x1b\\x\r\nmem = '1T'\n[disk.x]\u202e\u2028\x85\x07\x9b31m\ud800"


def test_threat_b22_what_a_stranger_writes_is_escaped_and_stays_a_comment() -> None:
    origin = Provenance(
        source=HOSTILE, url=f"https://x/{HOSTILE}", version=HOSTILE, provider=HOSTILE,
        architecture=HOSTILE, checksum=HOSTILE, pulled_on=HOSTILE,
    )  # fmt: skip
    hardware = replace(LIBVIRT, os=HOSTILE, mac=HOSTILE, notes=(HOSTILE,) * 99)
    written = describe("it", hardware, [("it.img", "raw")], 2222, origin)
    assert all(line.isprintable() for line in written.splitlines())
    assert written.encode()
    assert settings_of(written) == settings_of(text(LIBVIRT))
    assert len(written) < 32_000
    assert comments(written).count("# Note: ") == 20


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_threat_b22_no_text_leaves_its_comment(source: str, version: str, notes: list[str]) -> None:
    origin = Provenance(source=source, version=version)
    hardware = replace(LIBVIRT, notes=tuple(notes), os=source)
    written = describe("it", hardware, [("it.img", "raw")], 2222, origin)
    assert all(line.isprintable() for line in written.split("\n"))
    assert settings_of(written) == settings_of(text(LIBVIRT))


def test_threat_b22_a_password_in_an_address_is_not_kept() -> None:
    assert "secret" not in text(LIBVIRT)
    assert "hidden" not in text(LIBVIRT)


def test_vm_run_takes_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "it.toml"
    file.write_text(text(TRUSTY, ("it.img", "raw"), ("it-1.img", "raw")))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vm_run", "-c", file, "-d"],
        env={"PYTHONPATH": str(HOUSE), "HOME": str(tmp_path), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/it.img" in done.stdout
