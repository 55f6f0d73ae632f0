"""A person at a terminal: what happens to it, and what its keys do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.person import Person
from tests.vm import Vm

pytestmark = pytest.mark.real

Sits = Callable[[], Person]


@pytest.fixture
def sits(vm: Vm) -> Iterator[Sits]:
    """Somebody starts the VM at a terminal; whoever is left there is taken away."""
    there: list[Person] = []

    def sit() -> Person:
        there.append(Person(vm, "vm_run", vm.name, "--events", str(vm.events_file)))
        return there[-1]

    yield sit
    for person in there:
        person.goes()


def test_a_terminal_is_as_before_even_if_the_hypervisor_is_killed(
    vm: Vm, guest: Path, sits: Sits
) -> None:
    vm.direct(guest, "wait")
    person = sits()
    person.reads(b"guest: ready")
    assert person.settings() != person.before  # the console took it
    os.kill(vm.record["pid"], signal.SIGKILL)
    person.reads(b"guest was killed (SIGKILL)")
    after = person.settings()
    assert person.leaves() == 4
    assert after == person.before


def test_ctrl_c_at_a_guests_console_is_the_guests(vm: Vm, guest: Path, sits: Sits) -> None:
    vm.direct(guest, "shell")
    person = sits()
    person.reads(b"guest: ready")
    person.types(b"stty -isig; echo now-$((40+2)); dd bs=1 count=1 2>/dev/null | od -An -tx1\r")
    person.reads(b"now-42")
    person.types(b"\x03\r")
    person.reads(b" 03")
    assert not vm.events("stopping")
    person.types(b"exit\r")
    assert person.leaves() == 0


def test_ctrl_c_beside_a_guest_presses_its_power_button(vm: Vm, guest: Path, sits: Sits) -> None:
    vm.direct(guest, "wait", "")
    vm.file.write_text(vm.file.read_text().replace('com1 = "stdio"', 'com1 = "socket"'))
    person = sits()
    vm.until("guest: ready")
    person.types(b"\x03")
    assert person.leaves() == 0, person.seen
    assert [event["by"] for event in vm.events("stopping")] == ["SIGINT"]
    assert [event["outcome"] for event in vm.events("ended")] == ["poweroff"]
    assert b"a second signal kills the guest" in person.seen


def test_a_terminal_that_goes_away_presses_the_power_button(
    vm: Vm, guest: Path, sits: Sits
) -> None:
    vm.direct(guest, "wait")
    person = sits()
    person.reads(b"guest: ready")
    supervisor = vm.record["supervisor"]
    os.close(person.terminal)
    person.terminal = os.open(os.devnull, os.O_RDONLY)
    vm.wait_for(lambda: vm.events("finished"))
    assert [event["by"] for event in vm.events("stopping")] == ["SIGHUP"]
    assert [event["outcome"] for event in vm.events("ended")] == ["poweroff"]
    assert os.waitpid(supervisor, 0)[1] == 0
    person.pid = 0
