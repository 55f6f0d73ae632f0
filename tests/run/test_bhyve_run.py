"""The life of a bhyve VM: the real commands, and fakes that keep state like the real programs.

Untested on FreeBSD.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.home import leftover, listening
from tests.lacking import need
from tests.run.fakes import freebsd
from tests.run.fakes.kernel import Kernel
from tests.vm import Vm
from vm_run.bhyve import traces
from vm_run.bhyve.traces import Traces
from vm_run.supervisor import Signals
from vm_state.lock import is_locked


@pytest.fixture
def bsd(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A FreeBSD on which root runs a VM that has a firmware."""
    (vm.folder / "rom.fd").touch()
    describe(vm, '[targets.install]\nmem = "1G"\nnext_target = "default"\n')
    return freebsd.install(vm, monkeypatch)


def describe(vm: Vm, more: str = "") -> None:
    vm.describe(f'hypervisor = "bhyve"\nbootrom = "{vm.folder}/rom.fd"\nstop_timeout = 60\n{more}')


def running(vm: Vm, *words: str) -> subprocess.Popen[str]:
    """A vm-run whose guest waits for what will be asked of it."""
    process = vm.start(*words)
    freebsd.until_it_waits(vm)
    return process


def says(vm: Vm, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What another of the commands answers."""
    return subprocess.run(
        [sys.executable, "-m", "tests.run.fakes.freebsd", module, *words],
        env=vm.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def ended(vm: Vm) -> list[tuple[str, str]]:
    return [(event["outcome"], event["detail"]) for event in vm.events("ended")]


def asked(bsd: Kernel) -> list[str]:
    """What bhyvectl was asked for, in order."""
    return [call[2] for call in bsd.calls("bhyvectl")]


@pytest.mark.parametrize(
    ("code", "outcome", "status"),
    [
        ("1", "poweroff", 0),
        ("2", "halt", 0),
        ("3", "triple-fault", 3),
        ("4", "error", 4),
        ("5", "suspend", 0),
        ("64", "error", 4),
        ("71", "error", 4),
        ("100", "error", 4),
        ("139", "error", 4),
    ],
)
def test_an_exit_status_of_bhyve_is_an_outcome(
    vm: Vm, bsd: Kernel, code: str, outcome: str, status: int
) -> None:
    bsd.plan(f"{code} vm_run error -1, errno 14")
    done = vm.run()
    assert ended(vm) == [(outcome, f"exit status {code}")]
    assert done.returncode == status, done.stderr
    assert ("  log: vm_run error -1, errno 14\n" in done.stderr) == (outcome == "error")
    assert bsd.vms() == []


def test_an_assertion_that_fails_is_an_error(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("134 Assertion failed: (error == 0)")
    assert vm.run().returncode == 4
    assert ended(vm) == [("error", "SIGABRT")]
    assert bsd.vms() == []


@pytest.mark.parametrize(
    ("word", "why"),
    [("-z", "bhyve: illegal option -- z"), ("two", "it takes no such command line")],
)
def test_a_usage_error_is_no_power_off_though_both_exit_with_1(
    vm: Vm, bsd: Kernel, word: str, why: str
) -> None:
    done = vm.run("--reboot-on", "poweroff", "--", word)
    assert ended(vm) == [("error", f"exit status 1: {why}")]
    assert done.returncode == 4
    assert f"the hypervisor failed (exit status 1: {why}) after" in done.stderr
    assert bsd.vms() == []


def test_a_usage_of_an_earlier_start_or_of_another_program_is_not_believed(
    vm: Vm, bsd: Kernel
) -> None:
    assert vm.run("--", "-z").returncode == 4
    bsd.plan("1 Usage: post-start [-x]")
    assert vm.run().returncode == 0
    assert ended(vm)[1:] == [("poweroff", "exit status 1")]


def test_a_configuration_that_is_only_shown_is_no_power_off(vm: Vm, bsd: Kernel) -> None:
    done = vm.run("--", "-o", "config.dump=yes")
    assert "\nmemory.size=" in done.stdout
    (outcome, detail), *_ = ended(vm)
    assert outcome == "error"
    assert detail.endswith("config.dump shows the configuration and starts no guest")
    assert bsd.vms() == []


def test_a_vm_is_in_the_kernel_while_it_runs_and_not_after(vm: Vm, bsd: Kernel) -> None:
    process = running(vm)
    assert bsd.vms() == ["vm"]
    assert vm.record["hypervisor"] == "bhyve"
    assert vm.record["supervisor"] == process.pid
    process.terminate()
    done = vm.finish(process)
    assert done.returncode == 0
    assert ended(vm) == [("poweroff", "exit status 1")]
    assert "vm: bhyve runs as root\n" in done.stderr
    assert "vm: SIGTERM: pressing the power button, waiting up to 60 s" in done.stderr
    assert bsd.vms() == []
    assert not (vm.state / "state.json").exists()
    assert not (vm.state / "bhyve.json").exists()


def test_a_reboot_is_a_start_in_the_same_vm(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("0", "0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "reboot", "poweroff"]
    assert [call[0] for call in bsd.calls()] == ["bhyve", "bhyve", "bhyve", "bhyvectl"]
    assert asked(bsd) == ["--destroy"]


def test_a_guest_that_was_installed_reboots_into_the_next_target_and_another_vm(
    vm: Vm, bsd: Kernel
) -> None:
    bsd.plan("0", "1")
    done = vm.run("-t", "install")
    assert done.returncode == 0, done.stderr
    assert [event["target"] for event in vm.events("ended")] == ["install", "default"]
    assert [call[0] for call in bsd.calls()] == ["bhyve", "bhyvectl", "bhyve", "bhyvectl"]
    sizes = [call[call.index("-m") + 1] for call in bsd.calls("bhyve")]
    assert sizes[0] != sizes[1]  # in one and the same VM the second would be refused


def test_a_guest_that_reboots_over_and_over_is_given_up(vm: Vm, bsd: Kernel) -> None:
    describe(vm, "reboot_limit = 2\n")
    bsd.plan("0", "0", "0", "0")
    done = vm.run()
    assert len(bsd.calls("bhyve")) == 3
    assert "it was restarted 2 times within a minute (reboot_limit)" in done.stderr
    assert bsd.vms() == []


def test_sigterm_before_the_guest_has_enabled_acpi_is_the_end_that_was_asked_for(
    vm: Vm, bsd: Kernel
) -> None:
    bsd.plan("boot")
    process = running(vm, "--reboot-on", "killed")
    process.terminate()
    done = vm.finish(process)
    assert ended(vm) == [("killed", "SIGTERM, before the guest had enabled ACPI")]
    assert done.returncode == 0
    assert "not started again: it was asked to stop" in done.stderr
    assert asked(bsd) == ["--destroy"]
    assert bsd.vms() == []


def test_a_bhyve_that_somebody_else_has_killed_is_no_orderly_end(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("boot")
    process = running(vm)
    os.kill(vm.record["pid"], signal.SIGTERM)
    assert vm.finish(process).returncode == 4
    assert ended(vm) == [("killed", "SIGTERM")]
    assert bsd.vms() == []


def test_vm_stop_presses_the_power_button(vm: Vm, bsd: Kernel) -> None:
    process = running(vm)
    said = says(vm, "vm_stop", "vm")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("vm: guest powered off (exit status 1) after ")
    assert vm.finish(process).returncode == 0
    assert asked(bsd) == ["--destroy"]


def test_force_takes_the_power_away(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("deaf")
    process = running(vm)
    said = says(vm, "vm_stop", "--force", "vm")
    assert said.stdout.startswith("vm: guest powered off (exit status 1), forced, after ")
    assert vm.finish(process).returncode == 0
    assert asked(bsd) == ["--force-poweroff", "--destroy"]


def test_a_guest_that_does_not_follow_its_power_button_loses_its_power_in_time(
    vm: Vm, bsd: Kernel
) -> None:
    bsd.plan("deaf")
    process = running(vm)
    said = says(vm, "vm_stop", "--timeout", "1", "vm")
    assert "forced" in said.stdout
    assert "forcing the guest: it did not power off within 1 s" in vm.finish(process).stderr
    assert asked(bsd) == ["--force-poweroff", "--destroy"]


def test_a_bhyve_that_is_stuck_is_killed_and_its_vm_is_destroyed(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("dead")
    process = running(vm)
    assert says(vm, "vm_stop", "--force", "--no-wait", "vm").returncode == 0
    vm.wait_for(lambda: "--force-poweroff" in asked(bsd))
    process.terminate()  # asked once more, it waits no longer
    assert vm.finish(process).returncode == 0
    assert ended(vm) == [("killed", "SIGKILL")]
    assert asked(bsd) == ["--force-poweroff", "--destroy"]
    assert bsd.vms() == []


def test_a_vm_that_was_left_in_the_kernel_is_used_again(vm: Vm, bsd: Kernel) -> None:
    bsd.write("vm", {"memory": 256 << 20, "wired": False})
    describe(vm, 'mem = "256M"\n')
    bsd.plan("1")
    assert vm.run().returncode == 0
    assert [call[0] for call in bsd.calls()] == ["bhyve", "bhyvectl"]


def test_a_vm_of_another_size_that_was_left_takes_force(vm: Vm, bsd: Kernel) -> None:
    bsd.write("vm", {"memory": 1 << 40, "wired": False})
    done = vm.run()
    assert done.returncode == 4
    assert "  log: Unable to setup memory (22)\n" in done.stderr
    assert "its VM in the kernel has another size; make it anew: vm-run --force vm" in done.stderr
    bsd.write("vm", {"memory": 1 << 40, "wired": False})
    bsd.plan("1")
    before = len(bsd.calls())
    assert vm.run("--force").returncode == 0
    assert [call[0] for call in bsd.calls()[before:]] == ["bhyvectl", "bhyve", "bhyvectl"]


def by_itself(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> tuple[Vm, Kernel]:
    """A VM in the kernel whose name nobody else has: all of this host's processes are looked at."""
    alone = Vm(vm.folder, f"vm-{os.getpid()}")
    (vm.folder / "rom.fd").touch()
    describe(alone)
    bsd = freebsd.install(alone, monkeypatch)
    bsd.write(alone.name, {"memory": 1 << 30, "wired": False})
    return alone, bsd


@contextmanager
def another_tool(vm: Vm) -> Generator[int]:
    """A process that shows itself as bhyve does, by its number."""
    need("pgrep")
    shown = f"bhyve: {vm.name}"
    other = subprocess.Popen([shown], executable="/bin/cat", stdin=subprocess.PIPE)
    try:
        yield other.pid
    finally:
        other.communicate()


@pytest.mark.parametrize("words", [(), ("--force",)])
def test_a_guest_that_another_tool_runs_is_left_alone(
    vm: Vm, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    alone, bsd = by_itself(vm, monkeypatch)
    with another_tool(alone) as pid:
        done = alone.run(*words)
    assert done.returncode == 75
    assert f"{alone.name} is already running (pid {pid}), and no vm-run" in done.stderr
    assert bsd.calls() == []
    assert bsd.vms() == [alone.name]


def test_what_a_crash_left_in_the_kernel_and_another_tool_runs_by_now_is_left_alone(
    vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, bsd = by_itself(vm, monkeypatch)
    folder = alone.state
    folder.mkdir(parents=True, mode=0o700)
    (folder / "state.json").write_text('{"pid": 0}')
    traces.write(str(folder), Traces(name=alone.name, way="root", reusable=False))
    with another_tool(alone) as pid:
        said = says(alone, "vm_stop", alone.name)
    left = f"cannot be removed: the VM {alone.name} in the kernel: pid {pid} runs it"
    assert said.stdout == f"{alone.name}: is not running; {left}\n"
    assert bsd.calls() == []
    assert bsd.vms() == [alone.name]


PASSWORD = "geheim"


def console(vm: Vm) -> Path:
    """The socket of a virtio console that is described."""
    path = vm.folder / "agent.sock"
    describe(vm, f'[[emulations]]\ndevice = "virtio-console"\nports = ["{path}"]\n')
    return path


def test_sockets_that_bhyve_never_removes_are_not_in_the_way_of_a_reboot(
    vm: Vm, bsd: Kernel
) -> None:
    path = console(vm)
    bsd.plan("0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "poweroff"]
    assert not path.exists()


def test_a_socket_that_a_crash_has_left_is_removed_before_the_start(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    process = running(vm)
    pid = vm.record["pid"]
    vm.kill(process)
    os.kill(pid, signal.SIGKILL)
    vm.wait_for(lambda: not bsd.runs("vm"))
    assert path.exists()
    bsd.plan("1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert not path.exists()
    assert bsd.vms() == []


def test_threat_b30_a_socket_that_is_another_program_s_by_now_is_left(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    process = running(vm)
    path.unlink()
    other = listening(path)
    process.terminate()
    assert vm.finish(process).returncode == 0
    assert path.exists()
    other.close()


def test_threat_b30_a_file_where_a_socket_was_is_left(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    process = running(vm)
    path.unlink()
    path.write_text("mine")
    process.terminate()
    assert vm.finish(process).returncode == 0
    assert path.read_text() == "mine"


def test_what_a_crash_left_in_the_kernel_is_removed_by_vm_stop(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    process = running(vm)
    pid = vm.record["pid"]
    vm.kill(process)
    os.kill(pid, signal.SIGKILL)
    vm.wait_for(lambda: not bsd.runs("vm"))
    said = says(vm, "vm_stop", "vm")
    assert said.stdout == "vm: is not running; what a crash left is removed\n"
    assert bsd.vms() == []
    assert not path.exists()


def test_a_guest_whose_vm_run_was_killed_is_taken_over(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    first = running(vm)
    pid = vm.record["pid"]
    vm.kill(first)
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    assert vm.events("recovered")[0]["pid"] == pid
    assert vm.record["supervisor"] == second.pid
    second.terminate()
    done = vm.finish(second)
    assert done.returncode == 0, done.stderr
    assert f"vm: took over pid {pid}, target default\n" in done.stderr
    assert asked(bsd) == ["--destroy"]
    assert bsd.vms() == []
    assert not path.exists()


def test_a_lock_that_no_child_inherits_lasts_as_long_as_vm_run(vm: Vm, bsd: Kernel) -> None:
    lock = str(vm.confdir / ".vm.lock")
    bsd.plan("0")
    first = running(vm)  # after a reboot, so that a lock was handed to two starts, if it was
    assert is_locked(lock)
    assert vm.run().returncode == 75
    assert is_locked(lock)
    vm.kill(first)
    assert not is_locked(lock)
    done = vm.run()
    assert done.returncode == 75
    assert "unsupervised" in done.stderr
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    assert is_locked(lock)
    second.terminate()
    assert vm.finish(second).returncode == 0
    assert not Path(lock).exists()


def test_a_guest_without_a_vm_run_is_ended_by_vm_stop(vm: Vm, bsd: Kernel) -> None:
    path = console(vm)
    vm.kill(running(vm))
    said = says(vm, "vm_stop", "vm")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("vm: guest was killed after ")
    assert asked(bsd) == ["--destroy"]
    assert not path.exists()


def test_a_guest_in_the_background_has_its_pid_files(vm: Vm, bsd: Kernel) -> None:
    pids = vm.folder / "pid", vm.folder / "supervisor"
    started = vm.run("--detach", "-p", str(pids[0]), "-P", str(pids[1]))
    assert started.returncode == 0, started.stderr
    vm.wait_for(lambda: (bsd.read("vm") or {}).get("waits"))
    assert int(pids[0].read_text()) == bsd.runs("vm")
    assert int(pids[1].read_text()) == vm.record["supervisor"]
    assert says(vm, "vm_stop", "vm").returncode == 0
    assert not any(path.exists() for path in pids)
    assert bsd.vms() == []


def test_vm_list_shows_what_runs_on_bhyve(vm: Vm, bsd: Kernel) -> None:
    process = running(vm)
    (row,) = json.loads(says(vm, "vm_list", "--json").stdout)["vms"]
    assert (row["name"], row["state"], row["hypervisor"]) == ("vm", "running", "bhyve")
    process.terminate()
    vm.finish(process)


def test_a_vm_that_cannot_be_destroyed_is_told(vm: Vm, bsd: Kernel) -> None:
    (bsd.folder / "bin" / "bhyvectl").write_text("#!/bin/sh\nexit 1\n")
    bsd.plan("1", "1")
    left = "cannot be removed: the VM vm in the kernel: bhyvectl could not destroy it"
    done = vm.run()
    assert done.returncode == 0
    assert f"vm: {left}\n" in done.stderr
    done = vm.run("--panic-on-failed-cleanup")
    assert done.returncode == 70
    assert done.stderr.count(left) == 1


def test_a_vm_that_vm_stop_cannot_destroy_is_told_too(vm: Vm, bsd: Kernel) -> None:
    vm.kill(running(vm))
    (bsd.folder / "bin" / "bhyvectl").write_text("#!/bin/sh\nexit 1\n")
    said = says(vm, "vm_stop", "vm")
    assert "cannot be removed: the VM vm in the kernel" in said.stdout + said.stderr
    assert bsd.vms() == ["vm"]


def test_a_state_folder_that_cannot_be_written_to_is_no_bug(vm: Vm, bsd: Kernel) -> None:
    describe(vm, f'[graphic]\nport = 5999\npassword = "{PASSWORD}"\n')
    (vm.state / "secret.conf").mkdir(parents=True)
    for folder in (vm.state, vm.state.parent):
        folder.chmod(0o700)
    done = vm.run()
    assert done.returncode == 74
    assert f"vm-run: {vm.state}/secret.conf: File exists\n" in done.stderr
    assert bsd.calls("bhyve") == []


def test_a_guest_of_which_no_record_can_be_kept_is_ended_at_once(vm: Vm, bsd: Kernel) -> None:
    (vm.state / "pid").mkdir(parents=True)
    for folder in (vm.state, vm.state.parent):
        folder.chmod(0o700)
    done = vm.run()
    assert done.returncode == 74
    assert f"vm-run: {vm.state}: cannot be written to: Is a directory\n" in done.stderr
    assert vm.events("started") == []
    assert bsd.vms() == []
    assert not (vm.state / "state.json").exists()


def test_arguments_behind_two_hyphens_stand_before_the_name(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("1")
    vm.run("--", "-x", "-o", "a=b")
    assert bsd.calls("bhyve")[0][-4:] == ["-x", "-o", "a=b", "vm"]


def test_events_have_a_time_and_a_vm(vm: Vm, bsd: Kernel) -> None:
    bsd.plan("1")
    vm.run()
    for line in vm.events_file.read_text().splitlines():
        event = json.loads(line)
        assert event["vm"] == "vm"
        assert event["time"] > 1e9


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    assert signal.getsignal(signal.SIGTERM) is not before
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.take() == ["SIGHUP"]
    assert signals.take() == []
    signals.close()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_vnc_password_is_in_a_file_that_goes_with_the_guest(vm: Vm, bsd: Kernel) -> None:
    describe(vm, f'[graphic]\nport = 5999\npassword = "{PASSWORD}"\n')
    process = running(vm)
    file = vm.state / "secret.conf"
    (call,) = bsd.calls("bhyve")
    assert call[call.index("-k") + 1] == str(file)
    assert PASSWORD not in " ".join(call)
    assert PASSWORD in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    process.terminate()
    vm.finish(process)
    assert not file.exists()


def test_a_reboot_writes_the_password_anew(vm: Vm, bsd: Kernel) -> None:
    describe(vm, f'[graphic]\nport = 5999\npassword = "{PASSWORD}"\n')
    bsd.plan("0", "1")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert [outcome for outcome, _ in ended(vm)] == ["reboot", "poweroff"]


def test_a_socket_left_where_nobody_checks_is_removed_too(vm: Vm, bsd: Kernel) -> None:
    leftover(console(vm))
    bsd.plan("1")
    done = vm.run("--no-requirement-check")
    assert done.returncode == 0, done.stderr
