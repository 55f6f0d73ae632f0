"""A person at a terminal: what happens to it, and what its keys do."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.vm import Vm

pytestmark = pytest.mark.real


class Person:
    """Somebody who types `vm-run NAME` at a terminal of their own."""

    def __init__(self, vm: Vm, *words: str) -> None:
        self.vm = vm
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(vm.folder)
            argv = [sys.executable, "-m", "vm_run", vm.name, "--events", str(vm.events_file)]
            os.execve(sys.executable, [*argv, *words], vm.environment())  # noqa: S606
        self.seen = b""

    def settings(self) -> list[object]:
        """The terminal's settings, as stty shows them."""
        return termios.tcgetattr(self.terminal)

    def reads(self, what: bytes, timeout_s: float = 60) -> None:
        """Waits until a text has come."""
        deadline = time.monotonic() + timeout_s
        while what not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, self.seen
            self.seen += os.read(self.terminal, 65536)

    def types(self, keys: bytes) -> None:
        """Types."""
        os.write(self.terminal, keys)

    def leaves(self) -> int:
        """Reads to the end; the exit status."""
        try:
            while chunk := os.read(self.terminal, 65536):
                self.seen += chunk
        except OSError:
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return status


@pytest.fixture
def people(vm: Vm) -> Iterator[list[Person]]:
    """Those who are at terminals; whoever is left is taken away."""
    there: list[Person] = []
    yield there
    for person in there:
        if person.pid:
            os.kill(person.pid, signal.SIGKILL)
            os.waitpid(person.pid, 0)
        os.close(person.terminal)


def test_a_terminal_is_as_before_even_if_the_hypervisor_is_killed(
    vm: Vm, guest: Path, people: list[Person]
) -> None:
    vm.direct(guest, "wait")
    person = Person(vm)
    people.append(person)
    before = person.settings()
    person.reads(b"guest: ready")
    assert person.settings() != before  # the console took it
    os.kill(vm.record["pid"], signal.SIGKILL)
    person.reads(b"guest was killed (SIGKILL)")
    after = person.settings()
    assert person.leaves() == 4
    assert after == before


def test_ctrl_c_at_a_guests_console_is_the_guests(
    vm: Vm, guest: Path, people: list[Person]
) -> None:
    vm.direct(guest, "shell")
    person = Person(vm)
    people.append(person)
    person.reads(b"guest: ready")
    person.types(b"stty -isig; echo now-$((40+2)); dd bs=1 count=1 2>/dev/null | od -An -tx1\r")
    person.reads(b"now-42")
    person.types(b"\x03\r")
    person.reads(b" 03")
    assert not vm.events("stopping")
    person.types(b"exit\r")
    assert person.leaves() == 0


def test_ctrl_c_beside_a_guest_presses_its_power_button(
    vm: Vm, guest: Path, people: list[Person]
) -> None:
    vm.direct(guest, "wait", "")
    vm.file.write_text(vm.file.read_text().replace('com1 = "stdio"', 'com1 = "socket"'))
    person = Person(vm)
    people.append(person)
    vm.until("guest: ready")
    person.types(b"\x03")
    assert person.leaves() == 0, person.seen
    assert [event["by"] for event in vm.events("stopping")] == ["SIGINT"]
    assert [event["outcome"] for event in vm.events("ended")] == ["poweroff"]
    assert b"a second signal forces" in person.seen


def test_a_terminal_that_goes_away_presses_the_power_button(
    vm: Vm, guest: Path, people: list[Person]
) -> None:
    vm.direct(guest, "wait")
    person = Person(vm)
    people.append(person)
    person.reads(b"guest: ready")
    supervisor = vm.record["supervisor"]
    os.close(person.terminal)
    person.terminal = os.open(os.devnull, os.O_RDONLY)
    vm.wait_for(lambda: vm.events("finished"))
    assert [event["by"] for event in vm.events("stopping")] == ["SIGHUP"]
    assert [event["outcome"] for event in vm.events("ended")] == ["poweroff"]
    assert os.waitpid(supervisor, 0)[1] == 0
    person.pid = 0
