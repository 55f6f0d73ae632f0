"""The ways in which users who are not root run a VM of bhyve's. Untested on FreeBSD."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lacking import need
from tests.run.fakes import freebsd
from tests.run.fakes.kernel import Kernel
from tests.run.test_bhyve_run import asked, console, describe, ended, running, says
from tests.vm import Vm


@pytest.fixture
def bsd(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A FreeBSD with a plain user, for whom neither a VM nor /dev/vmmctl is there."""
    (vm.folder / "rom.fd").touch()
    describe(vm)
    return freebsd.install(vm, monkeypatch, uid=1001)


@pytest.fixture
def handed(bsd: Kernel) -> Kernel:
    """One on which vm-init has made the VM."""
    bsd.write("vm", {"memory": 0, "wired": False})  # as bhyvectl --create leaves it
    return bsd


@pytest.fixture
def monitor(bsd: Kernel) -> Kernel:
    """One whose bhyve has the monitor mode, for a user of the group vmm."""
    need("pgrep")
    (bsd.folder / "vmmctl").touch()
    return bsd


def test_without_a_way_the_next_command_is_told(vm: Vm, bsd: Kernel) -> None:
    done = vm.run()
    assert done.returncode == 69
    assert "sudo vm-init vm" in done.stderr
    assert bsd.calls() == []


def test_a_vm_that_was_handed_over_is_never_destroyed(vm: Vm, handed: Kernel) -> None:
    handed.plan("0", "boot")
    process = running(vm, "--force")
    process.terminate()
    done = vm.finish(process)
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "killed"]
    assert done.returncode == 0
    assert "vm: bhyve runs in the VM of vm-init: " in done.stderr
    assert asked(handed) == []
    assert handed.vms() == ["vm"]


def test_a_vm_that_was_handed_over_loses_its_power_and_stays(vm: Vm, handed: Kernel) -> None:
    handed.plan("deaf")
    process = running(vm)
    assert says(vm, "vm_stop", "--force", "vm").returncode == 0
    vm.finish(process)
    assert asked(handed) == ["--force-poweroff"]
    assert handed.vms() == ["vm"]


def test_a_vm_that_was_handed_over_outlasts_a_description_that_destroys_it(
    vm: Vm, handed: Kernel
) -> None:
    describe(vm, "power_off_destroy_vm = true\n")
    handed.plan("1")
    assert vm.run().returncode == 0
    assert handed.vms() == ["vm"]


def test_a_vm_that_was_handed_over_keeps_its_size(vm: Vm, handed: Kernel) -> None:
    describe(vm, '[targets.install]\nmem = "1G"\nnext_target = "default"\n')
    handed.plan("0")
    done = vm.run("-t", "install")
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "error"]
    assert done.returncode == 4
    anew = "make it anew: sudo vm-init --release vm && sudo vm-init vm"
    assert anew in done.stderr
    assert handed.vms() == ["vm"]


def test_a_vm_that_was_handed_over_is_loaded_again_as_it_is(vm: Vm, handed: Kernel) -> None:
    disk = vm.folder / "a.img"
    disk.touch()
    vm.describe(f'hypervisor = "bhyve"\n[disk.a]\npath = "{disk}"\n[bhyve]\nloader = "bhyveload"\n')
    handed.plan("0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [call[0] for call in handed.calls()] == ["bhyveload", "bhyve"] * 2
    assert handed.vms() == ["vm"]


def test_in_the_monitor_mode_bhyve_makes_the_vm_and_it_goes_with_it(
    vm: Vm, monitor: Kernel
) -> None:
    monitor.plan("0", "1")  # two guests, and one bhyve
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert "vm: bhyve runs in its monitor mode (-M): " in done.stderr
    assert [call[:2] for call in monitor.calls()] == [["bhyve", "-M"]]
    assert ended(vm) == [("poweroff", "exit status 1")]
    assert monitor.vms() == []


def test_in_the_monitor_mode_the_power_button_is_the_child_s(vm: Vm, monitor: Kernel) -> None:
    process = running(vm)
    process.terminate()
    done = vm.finish(process)
    assert ended(vm) == [("poweroff", "exit status 1")]
    assert done.returncode == 0


def test_in_the_monitor_mode_sigterm_before_acpi_is_the_end_that_was_asked_for(
    vm: Vm, monitor: Kernel
) -> None:
    monitor.plan("boot")
    process = running(vm)
    process.terminate()
    assert vm.finish(process).returncode == 0
    assert ended(vm) == [("killed", "SIGTERM, before the guest had enabled ACPI")]
    assert monitor.vms() == []


def test_in_the_monitor_mode_a_child_that_was_killed_is_an_error(vm: Vm, monitor: Kernel) -> None:
    process = running(vm)
    os.kill(monitor.runs("vm"), signal.SIGKILL)
    assert vm.finish(process).returncode == 4
    assert ended(vm) == [("error", "exit status 4")]


def test_in_the_monitor_mode_a_guest_is_taken_over_and_stopped(vm: Vm, monitor: Kernel) -> None:
    vm.kill(running(vm))
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    assert says(vm, "vm_stop", "vm").returncode == 0
    assert vm.finish(second).returncode == 0
    assert monitor.vms() == []
    assert asked(monitor) == []


def test_in_the_monitor_mode_the_sockets_of_a_guest_that_rebooted_are_a_reboot(
    vm: Vm, monitor: Kernel
) -> None:
    path = console(vm)
    monitor.plan("0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "poweroff"]
    assert not path.exists()


@pytest.mark.parametrize(
    ("more", "words", "what"),
    [
        ('[targets.two]\nnext_target = "default"\n', ("-t", "two"), "next_target = default"),
        ("", ("--no-reboot",), "--no-reboot"),
        ("", ("--reboot-count", "1"), "--reboot-count"),
        ("", ("--reboot-on", "halt"), "reboot_on without reboot"),
        ('reboot_on = ["halt"]\n', (), "reboot_on without reboot"),
    ],
)
def test_the_monitor_mode_refuses_what_needs_a_supervisor_that_starts_again(
    vm: Vm, monitor: Kernel, more: str, words: tuple[str, ...], what: str
) -> None:
    describe(vm, more)
    done = vm.run(*words)
    assert done.returncode == 69
    assert f"bhyve's monitor mode reboots by itself, so {what} cannot work" in done.stderr
    assert "hint: have the VM made for you: sudo vm-init vm" in done.stderr
    assert monitor.calls() == []
    assert not Path(vm.state / "bhyve.json").exists()


def test_the_monitor_mode_refuses_a_loader(vm: Vm, monitor: Kernel) -> None:
    vm.describe('hypervisor = "bhyve"\n[disk.a]\npath = "a.img"\n[bhyve]\nloader = "bhyveload"\n')
    done = vm.run("--no-requirement-check")
    assert done.returncode == 69
    assert "so loader = bhyveload cannot work" in done.stderr
    assert monitor.calls() == []
