"""Real guests under real QEMU: how they end, what follows, and who may start them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.vm import Vm
from vm_state.process import started_at

pytestmark = pytest.mark.real

INSTALL = """
[disk.root]
path = "disk.img"
[targets.install]
next_target = "default"
[targets.install.cd.media]
device = "virtio-scsi"
path = "media.iso"
"""


def outcomes(vm: Vm) -> list[str]:
    return [event["outcome"] for event in vm.events("ended")]


def test_when_an_installer_reboots_then_the_next_boot_has_no_cd(vm: Vm, guest: Path) -> None:
    for image in ("disk.img", "media.iso"):
        shutil.copy(guest / image, vm.confdir)
    vm.describe('mem = "192M"\ncom1 = "stdio"\n' + INSTALL)
    done = vm.run("-t", "install")
    assert done.returncode == 0, done.stderr
    assert outcomes(vm) == ["reboot", "poweroff"]
    assert [event["target"] for event in vm.events("started")] == ["install", "default"]
    first, second = done.stdout.split("guest: hello")[1:]
    assert "guest: cd sr0: hello from the installation CD" in first
    assert "guest: cd none" in second
    assert "0000:00:03.0" in first  # the CD's controller, the second slot of the storage band
    assert "0000:00:03.0" not in second
    assert "guest: disk vda" in first
    assert "guest: disk vda" in second
    assert "0000:00:02.0" in second  # and the disk has not moved


@pytest.mark.parametrize(
    ("do", "outcome", "status"),
    [("poweroff", "poweroff", 0), ("reboot", "reboot", 0), ("panic", "triple-fault", 3)],
)
def test_each_end_of_a_guest_is_told_apart(
    vm: Vm, guest: Path, do: str, outcome: str, status: int
) -> None:
    vm.direct(guest, do)
    done = vm.run("--no-reboot")
    assert outcomes(vm) == [outcome]
    assert done.returncode == status
    assert "guest: ready" in done.stdout
    assert done.stdout.replace("\r", "") == vm.console.replace("\r", "")
    assert done.stderr.count("target default); not started again: ") == 1


def test_after_a_normal_end_nothing_is_left_but_logs(vm: Vm, guest: Path) -> None:
    ports = '[[emulations]]\ndevice = "virtio-console"\nports = ["port.sock"]\n'
    vm.direct(guest, "wait", ports)
    pids = [str(vm.folder / "hypervisor.pid"), str(vm.folder / "own.pid")]
    process = vm.start("-p", pids[0], "-P", pids[1])
    vm.until("guest: ready")
    seen = sorted(entry.name for entry in vm.state.iterdir())
    assert {"qmp.sock", "supervisor.sock", "pid", "state.json", "lock"} <= set(seen)
    process.terminate()  # the power button
    vm.finish(process)
    assert process.returncode == 0
    kept = sorted(entry.name for entry in vm.state.iterdir())
    assert kept == ["console.log", "ended.json", "hypervisor.log"]
    assert [entry.name for entry in vm.confdir.iterdir()] == ["vm.toml"]
    assert not any(Path(pid).exists() for pid in pids)


def test_pid_files_hold_both_processes(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "wait")
    process = vm.start("-p", str(vm.folder / "h"), "-P", str(vm.folder / "s"))
    vm.until("guest: ready")
    assert int((vm.folder / "s").read_text()) == process.pid
    hypervisor = int((vm.folder / "h").read_text())
    assert hypervisor == vm.record["pid"]
    assert Path(f"/proc/{hypervisor}/comm").read_text().startswith("qemu-system")
    process.terminate()
    vm.finish(process)


def test_sigterm_presses_the_power_button_and_a_guest_that_obeys_ends_orderly(
    vm: Vm, guest: Path
) -> None:
    vm.direct(guest, "wait")
    process = vm.start()
    vm.until("guest: ready")
    process.terminate()
    done = vm.finish(process)
    assert process.returncode == 0, done.stderr
    assert "guest: power button" in done.stdout
    assert outcomes(vm) == ["poweroff"]
    assert "not started again: it was asked to stop" in done.stderr
    assert not vm.events("forcing")


def test_a_guest_that_ignores_the_button_is_forced_after_its_timeout(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "stubborn", "stop_timeout = 1\n")
    process = vm.start()
    vm.until("guest: ready")
    process.terminate()
    done = vm.finish(process)
    assert process.returncode == 0, done.stderr
    assert outcomes(vm) == ["killed"]
    assert "it did not power off within 1 s" in done.stderr


def test_a_second_signal_forces_at_once(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "stubborn", "stop_timeout = 600\n")
    process = vm.start()
    vm.until("guest: ready")
    process.terminate()
    vm.wait_for(lambda: vm.events("stopping"))
    process.send_signal(signal.SIGINT)
    done = vm.finish(process)
    assert process.returncode == 0
    assert "forcing the guest: SIGINT again" in done.stderr


def test_a_halted_guest_is_known_for_one_when_it_is_asked_to_stop(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "halt")
    process = vm.start()
    vm.until("System halted")
    process.terminate()
    vm.finish(process)
    assert process.returncode == 0
    assert outcomes(vm) == ["halt"]


def test_a_hypervisor_killed_from_outside_is_told_as_killed(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "wait")
    process = vm.start()
    vm.until("guest: ready")
    os.kill(vm.record["pid"], signal.SIGKILL)
    done = vm.finish(process)
    assert process.returncode == 4
    assert outcomes(vm) == ["killed"]
    assert "guest was killed (SIGKILL)" in done.stderr


def test_a_supervisor_killed_hard_leaves_the_guest_and_recover_takes_it_over(
    vm: Vm, guest: Path
) -> None:
    vm.direct(guest, "wait", '[targets.two]\nnext_target = "default"\n')
    first = vm.start("-t", "two")
    vm.until("guest: ready")
    hypervisor = vm.record["pid"]
    vm.kill(first)
    os.kill(hypervisor, 0)  # still there
    refused = vm.run()
    assert refused.returncode == 75
    assert "vm-run --recover vm" in refused.stderr
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    assert vm.record["supervisor"] == second.pid
    assert vm.record["target"] == "two"
    second.terminate()
    done = vm.finish(second)
    assert second.returncode == 0, done.stderr
    assert outcomes(vm) == ["poweroff"]
    assert "target two" in done.stderr


def test_a_chain_of_targets_goes_on_after_a_recovery(vm: Vm, guest: Path) -> None:
    vm.direct(
        guest,
        "poweroff",
        '[targets.install]\nnext_target = "default"\n'
        'cmdline = "console=ttyS0 quiet vmman.do=wait"\nreboot_on = ["poweroff"]\n',
    )
    first = vm.start("-t", "install")
    vm.until("guest: ready")
    vm.kill(first)
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    press(vm)
    done = vm.finish(second)
    assert second.returncode == 0, done.stderr
    assert outcomes(vm) == ["poweroff", "poweroff"]
    assert [event["target"] for event in vm.events("ended")] == ["install", "default"]


def press(vm: Vm) -> None:
    """Presses the guest's power button through the socket that is there for other programs."""
    from vm_state.qmp import Qmp

    qmp = Qmp.connect(str(vm.state / "qmp.sock"))
    qmp.execute("system_powerdown")
    qmp.close()


def test_of_two_starts_at_once_one_wins_and_the_other_names_it(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "wait")
    starts = [vm.start(), vm.start()]
    vm.wait_for(lambda: any(process.poll() is not None for process in starts))
    loser, winner = sorted(starts, key=lambda process: process.poll() is None)
    done = vm.finish(loser)
    assert loser.returncode == 75
    assert f"(pid {winner.pid})" in done.stderr
    assert os.uname().nodename in done.stderr
    vm.until("guest: ready")
    winner.terminate()
    vm.finish(winner)
    assert winner.returncode == 0


def test_force_ends_a_guest_that_was_left_behind(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "wait")
    first = vm.start()
    vm.until("guest: ready")
    left = vm.record["pid"]
    vm.kill(first)
    second = vm.start("--force")
    vm.wait_for(lambda: len(vm.events("running")) == 2)
    assert started_at(left) == 0
    second.terminate()
    vm.finish(second)
    assert second.returncode == 0


def test_a_guest_that_reboots_for_ever_is_stopped_by_its_limit(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "reboot", "reboot_limit = 2\n")
    done = vm.run()
    assert outcomes(vm) == ["reboot"] * 3
    assert "restarted 2 times within a minute (reboot_limit)" in done.stderr


def test_reboot_count_and_reboot_on_are_for_the_command_line_too(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "poweroff")
    done = vm.run("--reboot-on", "1,0", "--reboot-count", "1")
    assert done.returncode == 0
    assert outcomes(vm) == ["poweroff", "poweroff"]
    assert "restarted 1 times, as --reboot-count allows" in done.stderr


def test_detach_returns_once_the_guest_runs_and_its_console_is_a_socket(
    vm: Vm, guest: Path
) -> None:
    vm.direct(guest, "wait")
    done = vm.run("--detach")
    assert done.returncode == 0
    assert "vm runs in the background" in done.stdout
    vm.until("guest: ready")
    assert (vm.state / "com1.sock").is_socket()
    supervisor = vm.record["supervisor"]
    assert os.getsid(supervisor) != os.getsid(0)
    os.kill(supervisor, signal.SIGTERM)
    vm.wait_for(lambda: not (vm.state / "lock").exists())
    assert "guest: power button" in vm.console


def test_a_detached_start_that_fails_says_why(vm: Vm) -> None:
    vm.describe('[disk.root]\npath = "missing.img"\n')
    done = vm.run("--detach")
    assert done.returncode == 69
    assert "missing.img: No such file or directory" in done.stderr


def test_when_qemu_refuses_to_start_then_its_own_words_are_shown(vm: Vm) -> None:
    vm.describe('[qemu]\nargs = ["-device", "no-such-device"]\n')
    done = vm.run()
    assert done.returncode == 4
    assert "'no-such-device' is not a valid device model name" in done.stderr


def test_a_post_start_script_runs_beside_the_guest(vm: Vm, guest: Path) -> None:
    script = vm.folder / "script"
    script.write_text(f'#!/bin/sh\nprintf "%s %s" "$VM" "$VM_TARGET" > {vm.folder}/seen\n')
    script.chmod(0o755)
    vm.direct(guest, "poweroff", f'post_start_script = "{script}"\n')
    assert vm.run().returncode == 0
    assert (vm.folder / "seen").read_text() == "vm default"


def test_a_uefi_guest_boots_with_variables_of_its_own(vm: Vm, guest: Path) -> None:
    shutil.copy(guest / "disk.img", vm.confdir)
    vm.describe('mem = "256M"\ncom1 = "stdio"\nbootrom = "uefi"\n[disk.root]\npath = "disk.img"\n')
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert "guest: ready" in done.stdout
    assert (vm.confdir / "vm.vars.fd").stat().st_size > 100_000


def test_a_forwarded_port_reaches_the_guest(vm: Vm, guest: Path) -> None:
    import socket
    from urllib.request import urlopen

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vm.direct(guest, "net", f'[net.lan]\nforward = ["{port}:80"]\n')
    process = vm.start()
    vm.until("guest: net up")
    with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        assert answer.read() == b"hello from the guest\n"
    taken = Vm(vm.folder, "other")
    taken.direct(guest, "wait", f'[net.lan]\nforward = ["{port}:80"]\n')
    refused = taken.run()
    assert refused.returncode == 69
    assert f"tcp port {port} of 127.0.0.1: Address already in use" in refused.stderr
    process.terminate()
    vm.finish(process)


def test_a_vnc_password_is_on_no_command_line(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "wait", '[graphic]\nport = 5917\npassword = "sesame"\n')
    process = vm.start()
    vm.until("guest: ready")
    commandline = Path(f"/proc/{vm.record['pid']}/cmdline").read_bytes()
    assert b"sesame" not in commandline
    assert "sesame" not in (vm.state / "state.json").read_text()
    shown = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    assert "127.0.0.1:5917" in shown
    process.terminate()
    vm.finish(process)


def test_events_are_json_lines_that_tell_the_whole_story(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "poweroff")
    vm.run()
    kinds = [json.loads(line)["event"] for line in vm.events_file.read_text().splitlines()]
    assert [kind for kind in kinds if kind != "note"] == ["started", "running", "ended", "finished"]


def test_a_guest_that_cannot_be_recorded_is_not_left_running(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "sleep")
    (vm.runtime / "vm").mkdir(mode=0o700)
    vm.state.mkdir(mode=0o700)
    (vm.state / "state.json").mkdir()  # nothing can be renamed over it
    done = vm.run()
    assert done.returncode == 74
    assert f"vm-run: {vm.state}: cannot be written to: " in done.stderr
    assert still_running(vm) == []


def still_running(vm: Vm) -> list[str]:
    """The processes that have this VM's state folder on their command lines."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    return [line.decode() for line in lines if os.fsencode(f"{vm.state}/") in line]


def readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False
