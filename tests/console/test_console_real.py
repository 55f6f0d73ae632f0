"""vm-console at real guests: people at terminals, scripts, restarts, ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.person import Person
from tests.vm import Vm

pytestmark = pytest.mark.real

LEAVE = b"\x1d"
At = Callable[..., Person]


def console(vm: Vm, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What a script gets from vm-console."""
    return subprocess.run(
        [sys.executable, "-m", "vm_console", *words],
        cwd=vm.folder, env=vm.environment(), input=typed,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def described(vm: Vm, guest: Path, do: str, more: str = "", com1: str = "socket") -> None:
    vm.direct(guest, do, more)
    vm.file.write_text(vm.file.read_text().replace('com1 = "stdio"', f'com1 = "{com1}"'))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Iterator[Vm]:
    """A guest with a shell on com1 and a virtio port, for all who are at its console."""
    vm = Vm(tmp_path_factory.mktemp("v"))
    ports = '[[emulations]]\ndevice = "virtio-console"\nports = { agent = "agent.sock" }\n'
    described(vm, guest, "shell", ports)
    vm.start()
    vm.until("built-in shell")
    yield vm
    vm.close()


@pytest.fixture
def at() -> Iterator[At]:
    """Brings people to consoles; whoever is left is taken away."""
    there: list[Person] = []

    def come(vm: Vm, *words: str) -> Person:
        there.append(Person(vm, "vm_console", *words))
        return there[-1]

    yield come
    for person in there:
        person.goes()


def test_a_person_sees_what_was_types_and_leaves_the_guest_running(shell: Vm, at: At) -> None:
    person = at(shell, shell.name)
    person.reads(b"vm com1: Ctrl-] detaches; the guest goes on")
    person.reads(b"guest: ready")
    person.types(b"echo one-$((40+2))\r")
    person.reads(b"one-42")
    assert person.settings() != person.before
    person.types(b"echo two-$((40+3))\r" + LEAVE)
    person.reads(b"vm: detached; the guest goes on")
    after = person.settings()
    assert person.leaves() == 0
    assert after == person.before
    shell.until("two-43")  # what was typed before the key came to the guest


def test_two_people_read_and_type_at_one_console(shell: Vm, at: At) -> None:
    first, second = at(shell, shell.name), at(shell, "-n", "1", shell.name, "com1")
    first.reads(b"guest: ready")
    second.reads(b"detaches")
    first.types(b"echo from-$((1+1))\r")
    for person in (first, second):
        person.reads(b"from-2")
    assert b"guest: ready" not in second.seen
    second.types(b"echo also-$((1+2))\r")
    for person in (first, second):
        person.reads(b"also-3")
        person.types(LEAVE)
        assert person.leaves() == 0


def test_a_long_text_comes_whole(shell: Vm) -> None:
    lines = b"".join(b"%064d\r" % number for number in range(150))
    done = console(shell, shell.name, "-n", "0", typed=b"wc -c <<X\r" + lines + b"X\r")
    assert done.returncode == 0, done.stderr
    shell.until(f"\n{150 * 65}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_as_it_was(shell: Vm, at: At, number: signal.Signals) -> None:
    person = at(shell, shell.name)
    person.reads(b"guest: ready")
    os.kill(person.pid, number)
    person.reads(f"vm: ended by {number.name}; the guest goes on".encode())
    after = person.settings()
    assert person.leaves() == 128 + number
    assert after == person.before


def test_a_terminal_that_goes_away_ends_the_visit_and_not_the_guest(shell: Vm, at: At) -> None:
    person = at(shell, shell.name)
    person.reads(b"guest: ready")
    os.close(person.terminal)
    person.terminal = os.open(os.devnull, os.O_RDONLY)
    _, status = os.waitpid(person.pid, 0)
    person.pid = 0
    assert os.waitstatus_to_exitcode(status) in (0, 128 + signal.SIGHUP)
    assert b"guest: ready" in console(shell, shell.name).stdout


def test_another_key_leaves_if_one_says_so(shell: Vm, at: At) -> None:
    person = at(shell, "-e", "^a", "-n", "0", shell.name)
    person.reads(b"Ctrl-A detaches")
    person.types(b"echo \x1d-$((5+5))\r")
    person.reads(b"-10")
    person.types(b"\x01")
    assert person.leaves() == 0


def test_a_script_gets_the_history_as_it_was_written(shell: Vm) -> None:
    done = console(shell, shell.name)
    assert done.returncode == 0
    kept = (shell.state / "console.log").read_bytes()
    assert kept.startswith(done.stdout)
    assert b"guest: ready" in done.stdout
    assert done.stderr == b"vm: the input has ended; the guest goes on\n"


def test_another_program_at_the_port_is_told_of(shell: Vm, at: At) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(shell.state / "com1.sock"))
        other.sendall(b"echo other-$((3+3))\r")
        shell.until("other-6")
        person = at(shell, "-n", "0", shell.name)
        person.reads(b"another program is connected")
        person.types(b"echo later-$((3+4))\r")
        other.sendall(b"echo other-$((4+4))\r")
        person.reads(b"other-8")
    person.reads(b"later-7")
    person.types(LEAVE)
    assert person.leaves() == 0


def test_a_virtio_port_is_reached_by_its_name_by_one_at_a_time(shell: Vm, at: At) -> None:
    person = at(shell, shell.name, "agent")
    person.reads(b"vm agent: Ctrl-] detaches")
    console(
        shell,
        shell.name,
        typed=b"for p in /dev/vport*p1; do head -n 1 $p; echo to-$((7+7)) >$p; done\r",
    )
    person.types(b"in-the-port\n")
    shell.until("in-the-port")
    person.reads(b"to-14")
    late = console(shell, shell.name, "agent")
    assert late.returncode == 75
    assert b"another program is connected to" in late.stderr
    person.types(LEAVE)
    assert person.leaves() == 0


def test_a_port_that_is_not_there_is_named_beside_those_that_are(shell: Vm) -> None:
    done = console(shell, shell.name, "com3")
    assert done.returncode == 66
    assert done.stderr == b"vm-console: vm has no console com3\n  hint: it has com1, agent\n"


def test_a_visit_lasts_through_a_restart_and_ends_with_the_vm(vm: Vm, guest: Path, at: At) -> None:
    described(vm, guest, "shell")
    process = vm.start()
    vm.until("built-in shell")
    person = at(vm, vm.name)
    person.reads(b"built-in shell")
    person.types(b"reboot -f\r")
    person.reads(b"built-in shell", 60)
    person.types(b"exit\r")
    person.reads(b"vm: guest powered off after ")
    after = person.settings()
    assert person.leaves() == 0
    assert after == person.before
    assert vm.finish(process).returncode == 0
    done = console(vm, vm.name)
    assert done.returncode == 69
    assert b"vm-console: vm is not running\n  hint: start it: vm-run --detach vm" in done.stderr


def test_a_console_on_vm_runs_terminal_is_to_look_only(vm: Vm, guest: Path, at: At) -> None:
    described(vm, guest, "wait", com1="stdio")
    process = vm.start()
    vm.until("guest: ready")
    person = at(vm, vm.name)
    person.reads(b"read-only: the console is the terminal of its vm-run")
    person.reads(b"guest: ready")
    process.terminate()
    person.reads(b"guest: power button")
    person.reads(b"vm: guest powered off after ")
    assert person.leaves() == 0
    vm.finish(process)
