"""VMs without firmware: bhyveload and grub-bhyve load them. Untested on FreeBSD."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.run.fakes import freebsd
from tests.run.fakes.kernel import Kernel
from tests.run.test_bhyve_run import asked, ended, running
from tests.vm import Vm
from vm_run.bhyve.loader import Loading, argv, device_map, load
from vm_run.pci_slots import place
from vm_run.program import Descriptors
from vm_run.supervisor import Signals
from vm_spec import Context, loads
from vm_spec.fault import VmError
from vm_spec.targets import select

DISK = '[disk.a]\npath = "/a.img"\n'


@pytest.fixture
def bsd(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A FreeBSD on which root runs a VM."""
    return freebsd.install(vm, monkeypatch)


def describe(vm: Vm, loader: str = "bhyveload", more: str = "", top: str = "") -> None:
    disk = vm.folder / "a.img"
    disk.touch()
    vm.describe(
        f'hypervisor = "bhyve"\nstop_timeout = 60\n{top}[disk.a]\npath = "{disk}"\n'
        f'[bhyve]\nloader = "{loader}"\n{more}'
    )


def loading(
    text: str, *, target: str = "default", wired: bool = False, attached: bool = True
) -> Loading:
    description = loads(text, Context(name="vm"))
    placed = place(description, select(description, target))
    return Loading(placed=placed, folder="/s", wired=wired, attached=attached)


def words(text: str, **how: bool) -> list[str]:
    return argv(loading(text, **how), "L")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        (
            f'mem = "512M"\ncom1 = "stdio"\n{DISK}[bhyve]\nloader = "bhyveload"\n',
            {},
            "-m 512M -d /a.img -c stdio vm",
        ),
        (
            f'mem = "512M"\ncom1 = "stdio"\n{DISK}[bhyve]\nloader = "bhyveload"\n',
            {"attached": False},
            "-m 512M -d /a.img -c /dev/nmdm-vm.1A vm",
        ),
        (
            f'mem = "1028K"\ncom1 = "nmdm"\n{DISK}[bhyve]\nloader = "bhyveload"\n',
            {"wired": True},
            "-m 1028K -d /a.img -c /dev/nmdm-vm.1A -S vm",
        ),
        (
            f'com1 = "/dev/nmdm7A"\n{DISK}[bhyve]\nloader = "bhyveload"\n'
            'loader_disk = "/b.img"\nloader_args = ["-e", "boot_verbose=YES"]\n',
            {},
            "-m 256M -d /b.img -c /dev/nmdm7A -e boot_verbose=YES vm",
        ),
        (
            f'{DISK}[bhyve]\nloader = "grub-bhyve"\n',
            {"wired": True},
            "-m /s/device.map -M 256M -S -r hd0,msdos1 vm",
        ),
        (
            f'com1 = "nmdm"\n{DISK}[bhyve]\nloader = "grub-bhyve"\ngrub_root = "hd0,gpt2"\n',
            {},
            "-m /s/device.map -M 256M -r hd0,gpt2 -c /dev/nmdm-vm.1A vm",
        ),
        (
            f'com1 = "nmdm"\n{DISK}[bhyve]\nloader = "grub-bhyve"\ngrub_commands = ["boot"]\n',
            {},
            "-m /s/device.map -M 256M vm",
        ),
    ],
)
def test_a_loader_has_the_same_memory_and_the_same_console_as_bhyve(
    text: str, how: dict[str, bool], expected: str
) -> None:
    assert words(text, **how) == ["L", *expected.split()]


def test_the_installer_s_medium_is_loaded_from_while_it_is_there() -> None:
    text = (
        f'{DISK}[bhyve]\nloader = "grub-bhyve"\n[targets.install]\n'
        '[[targets.install.emulations]]\ndevice = "ahci-cd"\npath = "/cd.iso"\n'
    )
    assert device_map(loading(text).placed) == "(hd0) /a.img\n"
    install = loading(text, target="install")
    assert device_map(install.placed) == "(cd0) /cd.iso\n(hd0) /a.img\n"
    assert argv(install, "L")[-3:] == ["-r", "cd0", "vm"]


def test_a_loader_without_a_disk_is_a_fault_of_the_description() -> None:
    with pytest.raises(VmError) as caught:
        words('[bhyve]\nloader = "bhyveload"\n')
    assert caught.value.status == 65
    assert "bhyveload has no disk to load from" in str(caught.value)


def test_a_vm_is_loaded_before_each_of_its_starts(vm: Vm, bsd: Kernel) -> None:
    describe(vm)
    bsd.plan("0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "poweroff"]
    assert [call[0] for call in bsd.calls()] == [
        *("bhyveload", "bhyve", "bhyvectl"),
        *("bhyveload", "bhyve", "bhyvectl"),
    ]
    assert bsd.vms() == []


def test_a_vm_that_was_left_is_destroyed_before_it_is_loaded(vm: Vm, bsd: Kernel) -> None:
    describe(vm)
    bsd.write("vm", {"memory": 1 << 40, "wired": True})
    bsd.plan("1")
    assert vm.run().returncode == 0
    assert [call[0] for call in bsd.calls()] == ["bhyvectl", "bhyveload", "bhyve", "bhyvectl"]


def test_memory_that_is_wired_is_wired_both_times(vm: Vm, bsd: Kernel) -> None:
    describe(vm, top="wire_guest_mem = true\n")
    bsd.plan("1")
    assert vm.run("--no-requirement-check").returncode == 0
    assert ["-S" in call for call in bsd.calls("bhyveload", "bhyve")] == [True, True]


@pytest.mark.parametrize(("com1", "shown"), [("stdio", True), ("nmdm", False), ("", False)])
def test_a_loader_has_the_terminal_where_it_is_the_first_serial_port(
    vm: Vm, bsd: Kernel, com1: str, shown: bool
) -> None:
    describe(vm, top=f'com1 = "{com1}"\n' if com1 else "")
    bsd.plan("1")
    done = vm.run("--no-requirement-check")
    assert done.returncode == 0, done.stderr
    assert ("Loading the kernel\n" in done.stdout) == shown


def test_grub_reads_its_commands_and_the_map_of_disks(vm: Vm, bsd: Kernel) -> None:
    describe(vm, "grub-bhyve", 'grub_commands = ["linux /vmlinuz root=/dev/vda1", "boot"]\n')
    bsd.plan("1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    commands = (bsd.folder / "commands").read_text()
    assert commands == "linux /vmlinuz root=/dev/vda1\nboot\n"
    assert (bsd.folder / "device.map").read_text() == f"(hd0) {vm.folder}/a.img\n"
    assert not (vm.state / "device.map").exists()


def test_a_loader_that_fails_is_told_with_its_last_words(vm: Vm, bsd: Kernel) -> None:
    describe(vm)
    (bsd.folder / "loader").write_text("1 can't load 'kernel'\n")
    bsd.write("vm", {"memory": 256 << 20, "wired": False})
    done = vm.run()
    assert done.returncode == 69
    assert "bhyveload: exit status 1: can't load 'kernel'\n" in done.stderr
    assert f"less {vm.state}/hypervisor.log" in done.stderr
    assert bsd.calls("bhyve") == []
    assert bsd.vms() == []


def test_a_loader_that_is_not_installed_is_told_with_where_it_is(
    vm: Vm, bsd: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(vm, "grub-bhyve")
    (bsd.folder / "bin" / "grub-bhyve").unlink()
    done = vm.run("--no-requirement-check")
    assert done.returncode == 69
    assert "grub-bhyve is not there" in done.stderr
    assert "sudo pkg install grub2-bhyve" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_a_loader_in_its_menu(vm: Vm, bsd: Kernel, name: str) -> None:
    describe(vm)
    (bsd.folder / "loader").write_text("wait\n")
    process = vm.start()
    vm.wait_for((bsd.folder / "menu").exists)
    process.send_signal(signal.Signals[name])
    done = vm.finish(process)
    assert done.returncode == 130
    assert f"{name}: bhyveload was stopped, before the guest ran" in done.stderr
    assert bsd.calls("bhyve") == []
    assert not Path(vm.state / "bhyve.json").exists()


def test_a_signal_that_comes_when_a_loader_has_ended_is_for_whoever_listens_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    close = Signals.close

    def late(signals: Signals) -> None:
        signal.raise_signal(signal.SIGHUP)  # to this thread: xdist has others
        close(signals)

    (tmp_path / "bhyveload").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bhyveload").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(Signals, "close", late)
    given = Descriptors()
    for theirs in range(3):
        given.open(os.devnull, os.O_RDWR, theirs)
    former = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    try:
        load(loading(f'{DISK}[bhyve]\nloader = "bhyveload"\n'), given)
    finally:
        signal.signal(signal.SIGHUP, former)
        given.close()
    assert heard == [signal.SIGHUP]


def test_a_signal_ends_a_loader_after_a_reboot_too(vm: Vm, bsd: Kernel) -> None:
    describe(vm)
    process = running(vm)
    (bsd.folder / "loader").write_text("wait\n")
    os.kill(bsd.runs("vm"), signal.SIGUSR2)  # the guest reboots
    vm.wait_for((bsd.folder / "menu").exists)
    process.terminate()
    done = vm.finish(process)
    assert done.returncode == 130
    assert ended(vm) == [("reboot", "exit status 0")]
    assert bsd.vms() == []


def test_what_somebody_else_has_loaded_is_run_once(vm: Vm, bsd: Kernel) -> None:
    describe(vm, "none")
    done = vm.run()
    assert done.returncode == 69
    assert "vm is not in the kernel, and loader = none means" in done.stderr
    bsd.write("vm", {"memory": 256 << 20, "wired": False, "loaded": True})
    bsd.plan("0")
    done = vm.run()
    assert [outcome for outcome, _ in ended(vm)] == ["reboot"]
    assert done.returncode == 69
    assert "vm has rebooted, and loader = none means" in done.stderr
    assert asked(bsd)[-1] == "--destroy"
