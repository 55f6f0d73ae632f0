"""What happens to a guest and to what is around it, with hypervisors that are scripts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, command
from tests.run.fakes import freebsd
from tests.run.fakes.kernel import Kernel
from tests.vm import LIMIT_S, Vm
from vm_state import statedir
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import read_record, write_record


@pytest.fixture
def bhyve(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A FreeBSD with a VM for a bhyve that does what is planned."""
    (vm.folder / "rom.fd").touch()
    vm.describe(f'hypervisor = "bhyve"\nbootrom = "{vm.folder}/rom.fd"\nstop_timeout = 20\n')
    return freebsd.install(vm, monkeypatch)


def test_a_guest_that_was_restarted_is_stopped_like_the_first(vm: Vm, bhyve: Kernel) -> None:
    bhyve.plan("0", "0", "wait")
    process = vm.start()
    freebsd.until_it_waits(vm)
    process.terminate()
    done = vm.finish(process)
    assert [event["by"] for event in vm.events("stopping")] == ["SIGTERM"]
    assert process.returncode == 0, done.stderr


@pytest.mark.usefixtures("bhyve")
def test_a_script_that_is_missing_is_a_note_and_the_guest_goes_on(vm: Vm) -> None:
    with vm.file.open("a") as file:
        file.write('post_start_script = "/no/such/script"\n')
    process = vm.start()
    freebsd.until_it_waits(vm)
    process.terminate()
    done = vm.finish(process)
    assert "vm: post_start_script: /no/such/script: No such file or directory\n" in done.stderr
    assert process.returncode == 0


def test_a_script_ends_with_its_guest(vm: Vm, bhyve: Kernel) -> None:
    bhyve.plan("1")
    with vm.file.open("a") as file:
        file.write('post_start_script = "sleep 1000"\n')
    done = vm.finish(vm.start())
    assert done.returncode == 0, done.stderr


def test_a_hypervisor_that_fails_has_the_end_of_its_log_shown(home: Home) -> None:
    home.program("fake-qemu", "#!/bin/sh\nseq 20 >&2\nprintf '\\033[31mbad\\n' >&2\nexit 1\n")
    home.vm.describe("")
    said = home.says("vm")
    assert said.status == 4
    *_, sentence = [line for line in said.err.splitlines() if line.startswith("vm: guest")]
    assert sentence.startswith("vm: guest could not go on: the hypervisor failed (exit status 1)")
    logged = [line for line in said.err.splitlines() if line.startswith("  log: ")]
    assert logged == [*(f"  log: {number}" for number in range(12, 21)), r"  log: \x1b[31mbad"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, 40])
def test_a_hypervisor_that_crashes_is_an_error_with_the_signals_name(
    home: Home, number: int
) -> None:
    home.program("fake-qemu", f"#!/bin/sh\nkill -{int(number)} $$\n")
    home.vm.describe("")
    said = home.says("vm")
    assert said.status == 4
    name = "SIGSEGV" if number == signal.SIGSEGV else "signal 40"
    assert f"the hypervisor failed ({name})" in said.err


def test_streams_that_are_closed_are_no_bug(home: Home) -> None:
    home.vm.describe('com1 = "stdio"\n')
    import sys

    script = '"$@" <&- >&-; echo $? >&2; exec "$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "vm_run", "vm"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.endswith("\n0\n")
    assert "guest powered off" in done.stderr


@pytest.fixture
def unsupervised(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a guest whose supervisor is gone."""
    home.vm.describe('[targets.two]\nmem = "1G"\n')
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    record = {
        "pid": process.pid,
        "started_at": started_at(process.pid),
        "boot_id": boot_id(),
        "hypervisor": "qemu",
        "target": "two",
    }
    write_record(statedir.make("vm"), record)
    yield process
    process.kill()
    process.wait()


def test_a_guest_that_cannot_be_taken_over_now_is_left_to_be_taken_over_later(
    home: Home, unsupervised: subprocess.Popen[bytes]
) -> None:
    said = home.says("vm", "--recover")  # nobody listens at its monitor
    assert said.status == 75, said.err
    assert read_record(str(home.vm.state))["pid"] == unsupervised.pid
    assert unsupervised.poll() is None


def test_a_guest_whose_description_is_gone_is_supervised_and_not_restarted(
    vm: Vm, bhyve: Kernel
) -> None:
    bhyve.plan("wait")
    with vm.file.open("a") as file:
        file.write('reboot_on = ["killed"]\n')
    first = vm.start()
    freebsd.until_it_waits(vm)
    vm.kill(first)
    vm.file.unlink()
    second = vm.start("--recover")
    vm.wait_for(lambda: vm.events("recovered"))
    os.kill(vm.record["pid"], signal.SIGKILL)
    done = vm.finish(second)
    assert f"{vm.file}: cannot be read: No such file or directory; the guest is" in done.stderr
    assert "guest was killed" in done.stderr
    assert "not started again: nothing restarts it" in done.stderr
    assert bhyve.vms() == []


def test_events_that_cannot_be_written_are_refused_before_a_guest_starts(
    vm: Vm, home: Home, tmp_path: Path
) -> None:
    vm.describe("")
    events = tmp_path / "no" / "events"
    done = command(vm, "vm", "--events", str(events))
    assert done.returncode == 69
    assert f"{events}: No such file or directory" in done.stderr
