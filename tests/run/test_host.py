"""What this host has: asked of a host that is made of files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from tests.home import FAKE_QEMU, Home
from vm_run import qemu
from vm_run.host import check, linux
from vm_run.host.requirements import Memory, Pci
from vm_run.pci_slots import place
from vm_spec.devices import Passthru
from vm_spec.fault import Fault
from vm_spec.machine import Description, Machine
from vm_spec.types import Label, PciId, Size, VmName
from vm_state import pci
from vm_state.platform import which

INTEL = "processor\t: 0\nflags\t\t: fpu vmx sse2\nvmx flags\t: vnmi\n"
AMD = "processor\t: 0\nflags\t\t: fpu svm sse2\n"
NEITHER = "processor\t: 0\nflags\t\t: fpu sse2 novmx\nvmx flags\t: vmx\n"
ARM = "processor\t: 0\nFeatures\t: fp vmx\n"


@pytest.mark.parametrize(
    ("node", "cpuinfo", "works"),
    [
        (True, INTEL, True),
        (True, AMD, True),
        (True, NEITHER, False),
        (True, ARM, False),
        (True, "", False),
        (True, None, False),
        (False, INTEL, False),
    ],
)
def test_kvm_works_where_its_node_opens_and_the_processor_has_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: bool, cpuinfo: str | None, works: bool
) -> None:
    monkeypatch.setattr(linux, "_KVM", str(tmp_path / "kvm"))
    monkeypatch.setattr(linux, "_CPUINFO", str(tmp_path / "cpuinfo"))
    if node:
        (tmp_path / "kvm").touch()
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert linux.kvm_works() is works


ADDRESS = "0000:01:00.0"
IDS = {
    "vendor": "0x10de\n",
    "subsystem_vendor": "0x1043\n",
    "device": "0x1B80\n",
    "subsystem_device": "0x8591\n",
}
LOOKUP = ("0x10de1043", "0x1b808591")


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PCI device of a host that is made of files, bound to vfio-pci."""
    monkeypatch.setattr(linux, "_SYS", str(tmp_path))
    monkeypatch.setattr(pci, "_DEVICES", str(tmp_path / "bus/pci/devices"))
    made = tmp_path / "bus/pci/devices" / ADDRESS
    made.mkdir(parents=True)
    (made.parent / "0000:00:00.0").mkdir()  # one that says nothing of itself
    for name, content in IDS.items():
        (made / name).write_text(content)
    drivers = tmp_path / "bus/pci/drivers"
    for driver in ("vfio-pci", "nouveau"):
        (drivers / driver).mkdir(parents=True)
    (made / "driver").symlink_to(drivers / "vfio-pci")
    (tmp_path / "groups/999999").mkdir(parents=True)
    (made / "iommu_group").symlink_to(tmp_path / "groups/999999")
    return made


def lack(need: Pci) -> Fault:
    fault = check.check(need, "web")
    assert fault
    return fault


def test_a_card_whose_group_is_not_ours_is_work_for_vm_init(card: Path) -> None:
    for need in (Pci(address=ADDRESS), Pci(lookup=LOOKUP)):
        fault = lack(need)
        assert fault.problem == "/dev/vfio/999999 is not yours"
        assert fault.hint == "sudo vm-init web"


@pytest.mark.parametrize("driver", ["nouveau", None])
def test_a_card_of_another_driver_is_work_for_vm_init(card: Path, driver: str | None) -> None:
    (card / "driver").unlink()
    if driver:
        (card / "driver").symlink_to(card.parents[1] / "drivers" / driver)
    fault = lack(Pci(address=ADDRESS))
    assert fault.problem == f"PCI device {ADDRESS} is not bound to vfio-pci"
    assert fault.hint == "sudo vm-init web"


def test_a_card_in_no_iommu_group_is_for_the_firmware(card: Path) -> None:
    (card / "iommu_group").unlink()
    fault = lack(Pci(address=ADDRESS))
    assert fault.problem == f"PCI device {ADDRESS} is in no IOMMU group"
    assert fault.hint.startswith("switch the IOMMU on")


def opens_all(path: str, mode: int) -> bool:
    return mode == os.R_OK | os.W_OK and bool(path)


RECORDED = " 1:    9    0  {}IO-APIC   1-edge    i8042\n 24:  0  0  DMAR-MSI   0-edge  dmar0\n"


@pytest.mark.parametrize(
    ("interrupts", "allowed", "hands_over"),
    [
        (RECORDED.format("IR-"), "N", True),  # an intel-iommu with intremap=on, and an amd-iommu
        (RECORDED.format(""), "N", False),  # an intel-iommu with intremap=off
        (RECORDED.format(""), "Y", True),
        ("", "N", True),  # not readable, or of another architecture
    ],
)
def test_vfio_hands_over_no_device_whose_interrupts_are_not_remapped(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    interrupts: str, allowed: str, hands_over: bool,
) -> None:  # fmt: skip
    (tmp_path / "interrupts").write_text(interrupts)
    monkeypatch.setattr(linux, "_INTERRUPTS", str(tmp_path / "interrupts"))
    parameters = tmp_path / "module/vfio_iommu_type1/parameters"
    parameters.mkdir(parents=True)
    (parameters / "allow_unsafe_interrupts").write_text(f"{allowed}\n")
    monkeypatch.setattr(os, "access", opens_all)
    fault = check.check(Pci(address=card.name), "web")
    assert (fault is None) == hands_over
    if fault:
        assert fault.problem == linux.NO_REMAPPING
        assert "vfio_iommu_type1 allow_unsafe_interrupts=1" in fault.hint


def test_a_card_that_is_not_there_is_named(card: Path) -> None:
    assert lack(Pci(address="0000:02:00.0")).problem == "there is no PCI device 0000:02:00.0"
    problem = lack(Pci(lookup=("0x10de1043", "0x1b800000"))).problem
    assert problem == "there is no PCI device 0x10de1043 0x1b800000"


def test_a_card_is_looked_up_by_all_four_numbers(card: Path) -> None:
    assert check.find_pci(LOOKUP) == ADDRESS
    assert check.find_pci(("0x10DE1043", "0x1B808591")) == ADDRESS
    assert check.find_pci(("0x10de0000", "0x1b808591")) == ""


def test_a_host_without_pci_has_no_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "_SYS", str(tmp_path))
    assert check.find_pci(LOOKUP) == ""


def checked(home: Home, monkeypatch: pytest.MonkeyPatch, qemu: str) -> str:
    monkeypatch.setenv("QEMU_BIN", qemu)
    monkeypatch.chdir(home.vm.folder)
    return home.lacks("")


HINT = "  hint: install it (Debian: sudo apt install qemu-system-x86), or set QEMU_BIN\n"


def test_a_hypervisor_that_is_not_there_is_told_with_how_to_get_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("/nowhere/qemu", "no-such-qemu"):
        assert checked(home, monkeypatch, name) == f"{name} does not exist\n{HINT}"


def test_a_hypervisor_that_may_not_be_run_is_told_as_that(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = home.program("plain")
    program.chmod(0o644)
    for path in (str(program), str(home.bin), "bin/plain"):
        said = checked(home, monkeypatch, path)
        assert said == f"{path} is not a program that you may run\n{HINT}"


def test_a_hypervisor_may_be_named_by_word_or_by_path(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.program("my-qemu", FAKE_QEMU)
    for name in ("my-qemu", "bin/my-qemu", str(home.bin / "my-qemu")):
        assert checked(home, monkeypatch, name) == ""


def test_without_path_the_system_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert which("sh") in ("/bin/sh", "/usr/bin/sh")


def test_vfio_needs_as_much_memory_locked_as_the_guest_has_and_a_gibibyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passthru = Passthru(label=Label("gpu"), src=PciId(bus=1, slot=0, function=0))
    machine = Machine(name=VmName("vm"), mem=Size(bytes=2 << 30), emulations=(passthru,))
    placed = place(Description(machine=machine), machine)
    (need,) = [need for need in qemu.needs(placed) if isinstance(need, Memory)]
    assert need.bytes == 3 << 30
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    limits = [8 << 20]

    def getrlimit(which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_MEMLOCK
        return limits[0], limits[0]

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    fault = check.check(need, "vm")
    assert fault is not None
    assert fault.problem == (
        "VFIO locks the guest's memory: 3145728 KiB, and you may lock 8192 KiB"
    )
    assert "/etc/security/limits.d/vmman.conf" in fault.hint
    limits[0] = -1
    assert check.check(need, "vm") is None
