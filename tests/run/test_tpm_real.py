"""Real guests with a TPM: what they keep in it is there again, and swtpm never outlives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lacking import need
from tests.run.tpm_given import DEFINE, EXTEND_PCR, READ, READ_PCR, VALUE, WRITE, result, runs
from tests.vm import Vm
from vm_state.process import Process

pytestmark = pytest.mark.real
UNTOUCHED = bytes(32)  # a PCR, after each start


@pytest.fixture(autouse=True)
def programs() -> None:
    need("qemu-system-x86_64")
    need("swtpm")


def line(do: str, *commands: bytes) -> str:
    words = ",".join(command.hex() for command in commands)
    return f'cmdline = "console=ttyS0 quiet vmman.do={do} vmman.tpm={words}"\n'


def describe(vm: Vm, guest: Path, text: str) -> None:
    vm.describe(
        f'mem = "192M"\ncom1 = "socket"\nkernel = "{guest}/vmlinuz"\n'
        f'initrd = "{guest}/initrd.img"\n{text}'
    )


def answers(vm: Vm) -> list[bytes]:
    """What the TPM has answered since the last start of vm-run, each a success."""
    said = [one for one in vm.console.splitlines() if one.startswith("guest: tpm answers ")]
    found = [bytes.fromhex(one.rpartition(" ")[2]) for one in said]
    assert [result(answer) for answer in found] == [0] * len(found), said
    return found


def swtpm_of(vm: Vm) -> int:
    """The process id of a running VM's swtpm."""
    signed = json.loads((vm.state / "swtpm.lock").read_text())
    assert runs(signed["pid"])
    return int(signed["pid"])


def waiting(vm: Vm, guest: Path, *words: str) -> subprocess.Popen[str]:
    """A guest that runs until it is stopped."""
    describe(vm, guest, line("wait", READ_PCR) + "[tpm]\n")
    process = vm.start(*words)
    vm.until("guest: ready")
    assert "guest: tpm version 2\n" in vm.console
    return process


def kill_hypervisor(vm: Vm) -> None:
    hypervisor = Process(vm.record["pid"], is_child=False)
    hypervisor.send(signal.SIGKILL)
    hypervisor.close()


@pytest.mark.slow
def test_what_a_guest_keeps_in_its_tpm_survives_a_reboot_and_a_new_vm_run(
    vm: Vm, guest: Path
) -> None:
    again = line("poweroff", READ, READ_PCR)
    describe(
        vm, guest,
        line("reboot", DEFINE, WRITE, EXTEND_PCR, READ_PCR)
        + 'next_target = "again"\n[tpm]\n[targets.again]\n' + again,
    )  # fmt: skip
    assert vm.run().returncode == 0
    *_, extended, kept, pcr = answers(vm)
    assert not extended.endswith(UNTOUCHED)
    assert VALUE in kept
    assert pcr.endswith(UNTOUCHED)  # another boot, and the TPM has seen it
    assert "guest: tpm version 2\n" in vm.console

    assert vm.run("--target", "again").returncode == 0
    kept, pcr = answers(vm)
    assert VALUE in kept
    assert pcr.endswith(UNTOUCHED)
    home = vm.confdir / "vm.tpm"
    assert home.stat().st_mode & 0o777 == 0o700
    assert not (vm.state / "swtpm.sock").exists()
    assert not (vm.state / "swtpm.lock").is_symlink()


def test_swtpm_ends_with_a_guest_that_is_forced(vm: Vm, guest: Path) -> None:
    process = waiting(vm, guest)
    swtpm = swtpm_of(vm)
    os.kill(swtpm, signal.SIGINT)  # as Ctrl-C on a terminal does to all
    stopped = subprocess.run(
        [sys.executable, "-m", "vm_stop", "--force", vm.name],
        cwd=vm.folder, env=vm.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (stopped.returncode, stopped.stderr) == (0, "vm: forcing it off\n")
    vm.finish(process)
    vm.wait_for(lambda: not runs(swtpm))


def test_swtpm_outlives_a_killed_vm_run_and_ends_with_the_killed_qemu(vm: Vm, guest: Path) -> None:
    vm.kill(waiting(vm, guest))
    swtpm = swtpm_of(vm)
    recovered = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    assert swtpm_of(vm) == swtpm
    vm.kill(recovered)
    kill_hypervisor(vm)
    vm.wait_for(lambda: not runs(swtpm))
    (vm.state / "console.log").unlink()
    again = waiting(vm, guest)
    assert swtpm_of(vm) != swtpm
    again.send_signal(signal.SIGTERM)
    assert vm.finish(again).returncode == 0


def test_a_new_vm_run_by_force_has_a_new_swtpm(vm: Vm, guest: Path) -> None:
    vm.kill(waiting(vm, guest))
    first = swtpm_of(vm)
    vm.events_file.unlink()
    forced = vm.start("--force")
    vm.wait_for(lambda: vm.events("running"))
    assert not runs(first)
    assert swtpm_of(vm) != first
    vm.kill(forced)


def test_swtpm_ends_with_a_qemu_that_refuses_its_arguments(vm: Vm) -> None:
    vm.describe('[tpm]\n[qemu]\nargs = ["-no-such-option"]\n')
    done = vm.run()
    assert done.returncode != 0
    assert "-no-such-option: invalid option" in done.stderr
    home = vm.confdir / "vm.tpm"
    signed = (home / "vm-run.lock").read_text()
    vm.wait_for(lambda: not signed or not runs(json.loads(signed)["pid"]))


def test_two_vms_that_run_do_not_share_a_tpm(vm: Vm, guest: Path) -> None:
    process = waiting(vm, guest)
    other = Vm(vm.folder, "other")
    other.describe('[tpm]\npath = "vm.tpm"\n')
    done = other.run()
    assert done.returncode == 75
    assert "vm.tpm is the TPM of vm, which is running\n" in done.stderr
    process.send_signal(signal.SIGTERM)
    assert vm.finish(process).returncode == 0


@pytest.mark.parametrize("interface", ["crb", "tis"])
def test_a_guest_finds_either_interface(vm: Vm, guest: Path, interface: str) -> None:
    describe(vm, guest, line("poweroff", READ_PCR) + f'[tpm]\ninterface = "{interface}"\n')
    assert vm.run().returncode == 0
    assert "guest: tpm version 2\n" in vm.console
    assert len(answers(vm)) == 1


def test_qemu_asks_the_device_of_a_tpm_that_is_passed_through(vm: Vm) -> None:
    vm.describe('[tpm]\ntype = "passthru"\npath = "/dev/null"\n')
    done = vm.run("--no-requirement-check")
    assert done.returncode != 0
    assert "'/dev/null' is not a TPM device" in done.stderr
