"""QEMU itself takes the command lines, and holds the promises that only it can hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lacking import lacking
from tests.run.qemu_machines import A, placed
from vm_run.qemu import argv
from vm_run.resources import Resources
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    ConsolePort,
    Drive,
    DriveInterface,
    Emulation,
    Graphic,
    Hda,
    ImageFormat,
    Media,
    Nvme,
    OtherNic,
    QemuWord,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.machine import Com, Qemu
from vm_spec.types import Cpu, FilePath, Label, Mac, PciSlot

if TYPE_CHECKING:
    from pathlib import Path

    from vm_run.pci_slots import Placed

QEMU = shutil.which("qemu-system-x86_64")
SCREEN_PORT = 6000 + os.getpid() % 20000  # another one for each of pytest's workers

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86_64"),
]


def outcome(machine: Placed, resources: Resources, *commands: str) -> tuple[int, str, str]:
    """Exit status, answers and errors of a QEMU that is told these monitor commands, then quits."""
    assert QEMU
    said = [
        {"execute": "human-monitor-command", "arguments": {"command-line": command}}
        for command in commands
    ]
    steps = [{"execute": "qmp_capabilities"}, *said, {"execute": "quit"}]
    ended = subprocess.run(
        [*argv(machine, resources, QEMU), "-S", "-qmp", "stdio"],
        input="".join(json.dumps(step) + "\n" for step in steps),
        pass_fds=tuple(resources.fds.values()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.replace("\\r\\n", "\n"), ended.stderr


def logged(folder: Path) -> Resources:
    return Resources(state=str(folder), logged=True, attached=False)


def image(folder: Path, name: str = "a.raw", size: int = 8 << 20) -> FilePath:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
    return FilePath(str(path))


def everything(folder: Path) -> list[Emulation]:
    """About every device that can exist on a host without special hardware."""
    n = iter(range(100))

    def disk() -> FilePath:
        return image(folder, f"{next(n)}.raw")

    return [
        VirtioBlk(label=Label("blk"), path=disk(), direct=True, ser="S1", logical_sector_size=4096),
        VirtioBlk(label=Label("blkro"), path=disk(), ro=True, nodelete=True),
        VirtioBlk(label=Label("b" * 48), path=disk(), nocache=True),
        AhciHd(label=Label("hd"), path=disk(), nmrr=1, rev="1", model="m", direct=True,
               physical_sector_size=4096),
        AhciCd(label=Label("cd"), path=disk(), ser="S2", model="m"),
        Nvme(label=Label("nv"), path=disk(), maxq=4, sectsz=8192),
        Nvme(label=Label("nv2"), path=disk(), eui64=7, sectsz=4096),
        VirtioScsi(label=Label("scsi"), path=disk()),
        VirtioScsi(label=Label("scsicd"), path=disk(), media=Media("cdrom")),
        Drive(label=Label("ide"), path=disk(), nocache=True),
        Drive(label=Label("idecd"), path=disk(), media=Media("cdrom")),
        Drive(label=Label("fd"), path=image(folder, "fd", 1474560),
              interface=DriveInterface("floppy")),
        Drive(label=Label("none"), path=disk(), interface=DriveInterface("none")),
        VirtioNet(label=Label("net"), mac=Mac("02:00:5e:10:00:01"), mtu=1400),
        E1000(label=Label("e")),
        OtherNic(label=Label("rtl"), model=QemuWord("rtl8139")),
        VirtioConsole(label=Label("con"), ports=tuple(
            ConsolePort(name=Label(f"p{i}"), path=FilePath(f"{folder}/p{i}")) for i in range(16)
        )),
        Virtio9p(label=Label("share"), sharename=Label("home"), path=FilePath(str(folder))),
        VirtioRnd(label=Label("rnd"), qemu=(("max-bytes", 1024), ("period", 1000))),
        Xhci(label=Label("usb")),
        Hda(label=Label("sound"), slot=PciSlot(slot=25)),
        VirtioRnd(label=Label("rnd2"), slot=PciSlot(slot=25, function=3)),
    ]  # fmt: skip


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_qemu_takes_a_machine_of_about_every_device(tmp_path: Path, machine: str) -> None:
    machine_of_all = placed(
        *everything(tmp_path),
        com1=Com("stdio"), com2=Com("socket"), cpu=Cpu(sockets=2, cores=2),
        graphic=Graphic(label=Label("g"), port=SCREEN_PORT),
        qemu=Qemu(machine=machine),
        generate_acpi=machine == "q35",
    )  # fmt: skip
    status, answers, errors = outcome(machine_of_all, logged(tmp_path), "info qtree")
    assert (status, errors) == (0, "")
    assert 'dev: virtio-serial-pci, id \\"con\\"' in answers
    assert (tmp_path / "console.log").exists()


def test_qemu_takes_a_microvm_of_virtio_devices(tmp_path: Path) -> None:
    machine = placed(
        VirtioBlk(label=A, path=image(tmp_path)),
        VirtioScsi(label=Label("s"), path=image(tmp_path, "b")),
        VirtioNet(label=Label("n"), mtu=1400),
        VirtioRnd(label=Label("r")),
        Virtio9p(label=Label("h"), sharename=A, path=FilePath(str(tmp_path))),
        VirtioConsole(
            label=Label("c"), ports=(ConsolePort(name=A, path=FilePath(f"{tmp_path}/p")),)
        ),
        com1=Com("socket"),
        kernel=image(tmp_path, "vmlinuz"),
        qemu=Qemu(machine="microvm"),
    )
    status, _, errors = outcome(machine, logged(tmp_path))
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_devices_that_overflow_sit_behind_bridges(tmp_path: Path, machine: str) -> None:
    disks = [VirtioBlk(label=Label(f"d{n}"), path=image(tmp_path, f"{n}")) for n in range(20)]
    cards = [VirtioNet(label=Label(f"n{n}")) for n in range(12)]
    last = VirtioRnd(label=A, slot=PciSlot(bus=8, slot=1))
    many = placed(*disks, *cards, last, qemu=Qemu(machine=machine))
    status, answers, errors = outcome(many, logged(tmp_path), "info qtree")
    assert (status, errors) == (0, "")
    assert answers.count("dev: pci-bridge,") == 3  # to buses 1, 2 and 8
    assert answers.count("dev: virtio-blk-pci,") == 20
    assert answers.count("dev: virtio-net-pci,") == 12


# B24, B25
@pytest.mark.parametrize("name", ["a.raw,format=qcow2", "json:{}", "nbd:h:1", "a:b\nc'\"é"])
def test_qemu_opens_the_file_of_just_this_name(tmp_path: Path, name: str) -> None:
    machine = placed(
        VirtioBlk(label=A, path=image(tmp_path, name)),
        Virtio9p(label=Label("s"), sharename=A, path=FilePath(str(tmp_path))),
    )
    status, answers, errors = outcome(machine, logged(tmp_path), "info block")
    assert (status, errors) == (0, "")
    assert "(raw)" in answers


# B26
def test_a_guest_that_writes_a_qcow2_header_has_a_raw_disk_at_its_next_start(
    tmp_path: Path,
) -> None:
    path = image(tmp_path, "backing")
    disk = tmp_path / "a.raw"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "raw", disk], check=True
    )
    raw = placed(VirtioBlk(label=A, path=FilePath(str(disk))))
    assert "backing" not in outcome(raw, logged(tmp_path), "info block")[1]
    layered = placed(VirtioBlk(label=A, path=FilePath(str(disk)), format=ImageFormat("qcow2")))
    assert "backing" in outcome(layered, logged(tmp_path), "info block")[1]


@pytest.mark.parametrize("kind", ["pipe", "memfd"])
def test_the_password_comes_through_a_descriptor(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        fd, writer = os.pipe()
    else:
        fd = writer = os.memfd_create("vnc")
    os.write(writer, b"secret-7")
    if kind == "pipe":
        os.close(writer)
    resources = Resources(state=str(tmp_path), fds={"vnc-password": fd})
    graphic = Graphic(label=A, host="0.0.0.0", port=SCREEN_PORT, password="secret-7")  # noqa: S104
    status, answers, errors = outcome(placed(graphic=graphic), resources, "info vnc")
    os.close(fd)
    assert (status, errors) == (0, "")
    assert "Auth: vnc" in answers


def test_qemu_takes_the_hosts_uefi_with_variables_of_the_vms_own(tmp_path: Path) -> None:
    code, template = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
    if not os.path.exists(code):
        lacking("needs ovmf")
    variables = tmp_path / "web.vars.fd"
    shutil.copyfile(template, variables)
    machine = placed(bootrom=FilePath("uefi"), varfile=FilePath(str(variables)))
    status, answers, errors = outcome(machine, logged(tmp_path), "info block")
    assert (status, errors) == (0, "")
    assert "firmware" in answers


# mov eax, LEAF; cpuid; ...; out 0xf4, al: QEMU's exit status is then al * 2 + 1
BIT = "66b801000000 0fa2 66c1e91f 88c8 baf400 ee f4ebfd"  # leaf 1: the hypervisor bit
NAME = "66b800000040 0fa2 88d8 baf400 ee f4ebfd"  # leaf 40000000h: its name's first letter


@pytest.mark.parametrize(
    ("code", "hidden", "expected"),
    [(BIT, False, 3), (BIT, True, 1), (NAME, False, ord("T") * 2 + 1), (NAME, True, 1)],
)
def test_a_hidden_hypervisor_is_not_seen_by_the_guest(
    tmp_path: Path, code: str, hidden: bool, expected: int
) -> None:
    assert QEMU
    disk = tmp_path / "boot.raw"
    disk.write_bytes(bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    debug_exit = ("-device", "isa-debug-exit,iobase=0xf4")
    machine = placed(
        VirtioBlk(label=A, path=FilePath(str(disk))),
        qemu=Qemu(hide_hypervisor=hidden, args=debug_exit),
    )
    ended = subprocess.run(
        argv(machine, logged(tmp_path), QEMU),
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert ended.returncode == expected
