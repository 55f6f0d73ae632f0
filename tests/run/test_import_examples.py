"""The documented examples of other tools are descriptions here, which both hypervisors take."""

from __future__ import annotations

import pytest

from tests.run.others import LIBVIRT, QUICKEMU, VM_BHYVE
from tests.run.test_import_boot import BOOTED
from vm_import import detect
from vm_run import bhyve, qemu
from vm_run.pci_slots import place
from vm_spec import Context, loads, select
from vm_spec.devices import Disk
from vm_spec.fault import VmError

ALL = {**VM_BHYVE, **QUICKEMU, **LIBVIRT}
ON_BHYVE_ONLY = (("graphic.wait", "false"), ("com1", "socket"), ("bootrom", "uefi"))


def written(name: str) -> str:
    return detect.imported(ALL[name].encode(), "x.conf")


def told(name: str) -> list[str]:
    """What a result says that it could not carry."""
    lost = written(name).partition("# Could not be carried:\n")[2].partition("\n\n")[0]
    return [line.removeprefix("#   ") for line in lost.partition("#\n")[0].splitlines()]


def parts(name: str) -> set[str]:
    """Firmware, controllers, cards and the rest of what a guest finds in its machine."""
    machine = loads(written(name)).machine
    firmware = "bios" if machine.bootrom is None else "uefi"
    kinds_of = {str(device.kind) for device in machine.emulations}
    return kinds_of | {firmware, machine.qemu.machine} | ({"screen"} if machine.graphic else set())


@pytest.mark.parametrize("name", [*VM_BHYVE, *QUICKEMU, *LIBVIRT])
def test_each_target_of_an_example_gives_a_command_line_of_qemu(name: str) -> None:
    keys = tuple(key for key in ON_BHYVE_ONLY if name in ("android", "bhyve-uefi"))
    description = loads(written(name), Context(overrides=keys))
    for target in ("default", *(target.name for target in description.targets)):
        machine = select(description, target)
        assert qemu.argv(place(description, machine))[0].endswith("qemu-system-x86_64")


@pytest.mark.parametrize("name", [*VM_BHYVE, "bhyve", "bhyve-grub", "bhyve-uefi"])
def test_each_example_of_bhyves_gives_a_command_line_of_bhyve(name: str) -> None:
    description = loads(written(name), Context(overrides=(("hypervisor", "bhyve"),)))
    line = bhyve.argv(place(description, description.machine))
    assert line[-1] == description.name
    bootrom = any("bootrom" in word for word in line)
    assert bootrom == (description.machine.bhyve.loader is None)


@pytest.mark.parametrize("name", [*VM_BHYVE, *QUICKEMU, *LIBVIRT])
def test_what_each_example_is_made_of_boots_in_a_test(name: str) -> None:
    tried = {part for one in BOOTED for part in parts(one)}
    assert parts(name) <= tried


def test_the_examples_lose_these_and_no_other() -> None:
    assert {name: lines for name in ALL if (lines := told(name))} == {
        "android": [
            "grub_run0 linuxefi /kernel root=/dev/memdisk: nothing uses it",
            "grub_run1 initrdefi /initrd: nothing uses it",
        ],
        "coreos": [
            "grub_install0 linux /coreos/vmlinuz coreos.autologin: nothing uses it",
            "grub_install1 initrd /coreos/cpio.gz: nothing uses it",
        ],
        "windows-11": ['secureboot on: bootrom = "uefi" is firmware without it'],
        "q35": [
            "<memballoon> virtio",
            "<features> <vmport> state=off",
            "<clock> <timer> rtc tickpolicy=catchup",
            "<clock> <timer> hpet present=no",
        ],
    }


def test_the_installer_of_an_example_has_its_own_commands_and_starts_from_the_cd() -> None:
    description = loads(written("alpine"))
    base, install = description.machine.bhyve, select(description, "install").bhyve
    assert (base.loader, base.grub_root) == ("grub-bhyve", "hd0,1")
    assert base.grub_commands[-1] == "boot"
    assert "root=/dev/vda3" in base.grub_commands[0]
    assert (install.loader, install.grub_root) == ("grub-bhyve", "cd0")
    assert "alpine_dev=cdrom:iso9660" in install.grub_commands[0]
    assert select(description, "install").next_target == "default"


def test_boot_is_said_once_however_often_it_was_written() -> None:
    for name in ("centos6", "netbsd", "openbsd"):
        description = loads(written(name))
        for target in ("default", "install"):
            commands = select(description, target).bhyve.grub_commands
            assert commands.count("boot") == 1


def test_an_example_without_commands_leaves_them_to_the_guests_own_file() -> None:
    description = loads(written("debian"))
    assert description.machine.bhyve.grub_commands == ()
    assert description.machine.bhyve.loader_args == ("-d", "/boot/grub")


def test_a_tpm_of_an_example_is_one_here() -> None:
    assert loads(written("windows")).machine.tpm is None
    found = loads(written("windows-11")).machine.tpm
    assert found is not None
    assert (found.type, found.interface) == ("swtpm", "tis")


def test_macos_has_the_files_that_quickget_puts_beside_its_disk() -> None:
    machine = loads(written("macos")).machine
    disks = [device for device in machine.emulations if isinstance(device, Disk)]
    assert [str(disk.path) for disk in disks] == ["./macos/OpenCore.qcow2", "./macos/disk.qcow2"]
    assert machine.bootrom == "./macos/OVMF_CODE.fd"
    assert machine.varfile == "./macos/OVMF_VARS-1024x768.fd"


def test_an_example_that_no_x86_machine_runs_is_refused() -> None:
    for text in ('guest_os="linux"\narch="aarch64"\n', "<domain type='xen'/>"):
        with pytest.raises(VmError, match=r"aarch64|no domain"):
            detect.imported(text.encode(), "x.conf")
