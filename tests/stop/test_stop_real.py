"""vm-stop at real guests: the power button, force, guests without a vm-run, impatient people."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.person import Person
from tests.vm import LIMIT_S, Vm
from vm_state.process import started_at

pytestmark = pytest.mark.real


def started_stop(vm: Vm, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vm_stop", *words],
        cwd=vm.folder, env=vm.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stop(vm: Vm, *words: str) -> subprocess.CompletedProcess[str]:
    """What `vm-stop WORDS...` says."""
    process = started_stop(vm, *words)
    out, err = process.communicate(timeout=LIMIT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def booted(vm: Vm, guest: Path, do: str, *words: str) -> subprocess.Popen[str]:
    vm.direct(guest, do)
    vm.file.write_text(vm.file.read_text().replace('com1 = "stdio"', 'com1 = "socket"'))
    process = vm.start(*words)
    vm.until("guest: ready")
    return process


@pytest.fixture
def other(vm: Vm) -> Iterator[Vm]:
    """A second VM beside the first."""
    made = Vm(vm.folder, "other")
    yield made
    made.close()


def test_all_are_stopped_at_once_each_in_its_way(vm: Vm, other: Vm, guest: Path) -> None:
    willing, stubborn = booted(vm, guest, "wait"), booted(other, guest, "stubborn")
    done = stop(vm, "--all", "--timeout", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    vms = {each["name"]: each for each in json.loads(done.stdout)["vms"]}
    assert {name: each["state"] for name, each in vms.items()} == {
        "vm": "stopped", "other": "stopped",
    }  # fmt: skip
    assert vms["vm"]["said"].startswith("guest powered off after ")
    assert vms["other"]["said"].startswith("guest was killed, forced, after ")
    for name in vms:
        assert f"{name}: powering off; forced after 3 s\n" in done.stderr
    for each, process in ((vm, willing), (other, stubborn)):
        assert each.finish(process).returncode == 0
        assert f"{each.name}: {vms[each.name]['said']}\n" in each.finish_all()  # vm-run's words
    assert [event["by"] for event in vm.events("stopping")] == ["vm-stop"]
    assert [event["timeout"] for event in other.events("stopping")] == [3]
    again = stop(vm, "vm", "other")
    assert (again.returncode, again.stdout) == (0, "vm: is not running\nother: is not running\n")


def test_asking_twice_forces_nothing_and_ctrl_c_only_ends_the_waiting(vm: Vm, guest: Path) -> None:
    process = booted(vm, guest, "stubborn")
    waiting = started_stop(vm, "vm")
    vm.wait_for(lambda: vm.events("stopping"))
    second = stop(vm, "vm", "--no-wait")
    assert (second.returncode, second.stdout) == (0, "vm: is powering off\n")
    longer = stop(vm, "vm", "--no-wait", "--timeout", "300")
    assert longer.stderr == "vm: powering off; forced after 300 s\n"
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 130
    assert err.endswith("vm: is still powering off\n")
    assert process.poll() is None
    assert not vm.events("forcing")
    done = stop(vm, "--force", "vm")
    assert done.returncode == 0
    assert "guest was killed, forced, after" in done.stdout
    assert [event["why"] for event in vm.events("forcing")] == ["vm-stop --force"]
    vm.finish(process)


def test_a_guest_without_a_vm_run_is_still_at_its_console_and_is_stopped(
    vm: Vm, guest: Path
) -> None:
    process = booted(vm, guest, "shell")
    vm.until("built-in shell")
    person = Person(vm, "vm_console", "vm")
    try:
        person.reads(b"built-in shell")
        vm.kill(process)
        person.types(b"echo still-$((2+2))\r")
        person.reads(b"still-4")
        done = stop(vm, "vm", "--timeout", "300")
        assert (done.returncode, done.stdout[:27]) == (0, "vm: guest powered off after")
        assert done.stderr == "vm: powering off; forced after 300 s\n"
        person.reads(b"vm: guest powered off after")
        assert person.leaves() == 0
    finally:
        person.goes()
    left = {entry.name for entry in vm.state.iterdir()}
    assert left == {"console.log", "ended.json", "hypervisor.log"}
    assert [entry.name for entry in vm.confdir.iterdir()] == ["vm.toml"]


def test_a_vm_run_that_is_killed_while_it_stops_is_replaced(vm: Vm, guest: Path) -> None:
    process = booted(vm, guest, "stubborn")
    pid = vm.record["pid"]
    waiting = started_stop(vm, "vm", "--timeout", "4")
    vm.wait_for(lambda: vm.events("stopping"))
    vm.kill(process)
    out, err = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 0
    assert "its vm-run was killed; its guest still runs" in err
    assert out.startswith("vm: guest was killed, forced, after ")
    assert started_at(pid) == 0
