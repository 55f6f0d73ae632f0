"""Guests of other tools boot here: their file imported, an image put in the place of theirs.

Firmware and devices of every example boot here in one guest or another; test_import_examples.py
sees to that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.home import command
from tests.lacking import need
from tests.run.others import LIBVIRT, QUICKEMU, VM_BHYVE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm import Vm

pytestmark = [pytest.mark.real, pytest.mark.slow]

ON_QEMU = ("-o", "hypervisor=qemu", "-o", "qemu.accel=tcg")
HERE = ("-o", "net.net0.type=user")  # a tap is root's part
SMALL = ("-o", "mem=256M", "-o", "cpu=1")  # its machine is no matter, the time it takes is
SCREEN = ("-o", f"graphic.port={20000 + os.getpid() % 20000}")
PORT = ("-o", "com1=socket")  # where a domain has none there is nothing to read
NO_PORTS = ("-o", "net.net0.forward=[]")  # 22220 may be taken


VM_BHYVES = [
    ("alpine", (*HERE, *SMALL), "disk vda"),
    ("debian", (*HERE, *SMALL), "class 0x010601"),
    ("windows", (*HERE, *SMALL, *SCREEN), "device 0x100e"),
    ("everything", (), "cpu 2"),
]
QUICKEMUS = [("legacy", "disk vda"), ("freedos", "vendor 0x10ec device 0x8139")]
WITH_UEFI = "windows-11"
DOMAINS = [
    ("bhyve", (*HERE, *PORT), "class 0x010601"),
    ("pc", SCREEN, "vendor 0x10ec device 0x8139"),
    ("q35", SCREEN, "disk vda"),
    ("kernel", (), "boot target=50%"),
]
BOOTED = [
    WITH_UEFI,
    *(name for name, _ in QUICKEMUS),
    *(name for name, _, _ in VM_BHYVES + DOMAINS),
]


def booted(vm: Vm, text: str, *words: str) -> str:
    """What a guest says on its console from its start to its orderly end."""
    file = vm.folder / f"{vm.name}.conf"
    file.write_text(text)
    written = command(vm, "--import", str(file))
    assert written.returncode == 0, written.stderr
    vm.describe(written.stdout)
    done = vm.run(*ON_QEMU, *words)
    assert done.returncode == 0, done.stderr
    assert "powered off" in done.stderr
    return vm.console


def image(guest: Path, path: Path, form: str = "raw") -> None:
    """The guest's disk at the place of another tool's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "raw":
        shutil.copy(guest / "disk.img", path)
        return
    call = ["qemu-img", "convert", "-f", "raw", "-O", form, f"{guest}/disk.img", str(path)]
    subprocess.run(call, check=True)


def blank_cd(path: Path) -> None:
    """A CD from which nothing boots."""
    path.write_bytes(bytes(1 << 16))


@pytest.mark.parametrize(("name", "words", "seen"), VM_BHYVES)
def test_a_guest_of_vm_bhyves_boots(
    vm: Vm, guest: Path, name: str, words: tuple[str, ...], seen: str
) -> None:
    image(guest, vm.confdir / "disk0.img")
    said = booted(vm, VM_BHYVE[name], *words)
    assert seen in said
    assert "guest: ready" in said


@pytest.mark.parametrize(("name", "seen"), QUICKEMUS)
def test_a_guest_of_quickemus_boots(vm: Vm, guest: Path, name: str, seen: str) -> None:
    folder = "old" if name == "legacy" else name
    image(guest, vm.confdir / folder / "disk.qcow2", "qcow2")
    (vm.confdir / folder / "floppy.img").write_bytes(bytes(1474560))
    blank_cd(vm.confdir / folder / "FD13LIVE.iso")
    said = booted(vm, QUICKEMU[name], *SMALL, *SCREEN, *NO_PORTS)
    assert seen in said
    assert "guest: ready" in said


def test_a_uefi_guest_of_quickemus_boots_with_its_installer_and_its_tpm(
    vm: Vm, guest: Path
) -> None:
    need("swtpm")
    folder = vm.confdir / WITH_UEFI
    image(guest, folder / "disk.qcow2", "qcow2")
    for name in ("11.iso", "virtio-win.iso"):
        blank_cd(folder / name)
    words = (*SMALL, *SCREEN, *NO_PORTS, "-t", "install")
    said = booted(vm, QUICKEMU[WITH_UEFI], *words)
    assert "guest: tpm version 2" in said
    assert "guest: ready" in said


@pytest.mark.parametrize(("name", "words", "seen"), DOMAINS)
def test_a_domain_of_libvirts_boots(
    vm: Vm, guest: Path, name: str, words: tuple[str, ...], seen: str
) -> None:
    for file in ("vmlinuz", "initrd.img"):
        (vm.confdir / file).symlink_to(guest / file)
    blank_cd(vm.confdir / "media.iso")
    disk, form = ("disk.qcow2", "qcow2") if name == "q35" else ("disk.img", "raw")
    image(guest, vm.confdir / disk, form)
    said = booted(vm, LIBVIRT[name], *words)
    assert seen in said
    assert "guest: ready" in said
