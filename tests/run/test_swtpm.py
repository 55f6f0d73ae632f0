"""swtpm itself: started with what it needs, tied to a hypervisor, one for each TPM's state."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lacking import need
from tests.run.tpm_given import DEFINE, RANDOM, READ, VALUE, WRITE, result, runs
from tests.vm import Vm
from vm_run import program, swtpm
from vm_run.program import Descriptors
from vm_spec.fault import VmError
from vm_spec.machine import HypervisorName, Machine, Tpm
from vm_spec.types import FilePath, VmName
from vm_state.process import Process


class Host:
    """State folders, and hypervisors that do nothing but hold what they are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holding: list[Descriptors] = []

    def machine(self, home: str = "vm.tpm", hypervisor: str = "bhyve") -> Machine:
        return Machine(
            name=VmName("vm"),
            hypervisor=HypervisorName(hypervisor),
            tpm=Tpm(path=FilePath(f"{self.folder}/{home}")),
        )

    def state(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir(exist_ok=True)
        return made

    def start(self, name: str = "vm", **how: str) -> int:
        """Starts an swtpm and returns its process id."""
        held = Descriptors()
        self.holding.append(held)
        swtpm.start(self.machine(**how), str(self.state(name)), held)
        signed: dict[str, Any] = json.loads((self.state(name) / swtpm.LINK).read_text())
        return int(signed["pid"])

    def let_go(self) -> None:
        """The hypervisors end."""
        for held in self.holding:
            held.close()
        self.holding = []

    def close(self) -> None:
        self.let_go()
        for link in self.folder.glob(f"*/{swtpm.LINK}"):
            swtpm.end(str(link.parent))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    need("swtpm")
    made = Host(tmp_path)
    yield made
    made.close()


def ended(pid: int) -> int | None:
    """How a child of ours ended, which is waited for."""
    process = Process(pid, is_child=True)
    waiting = select.poll()
    waiting.register(process.fd, select.POLLIN)
    assert waiting.poll(30_000), "it goes on"
    code = process.wait()
    process.close()
    return code


def inheritable(fd: int) -> bool:
    """Whether whoever started the tests has left a descriptor open for all of their children."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def asked(state: Path, *commands: bytes) -> list[bytes]:
    """What a TPM answers to somebody who connects as bhyve does."""
    with socket.socket(socket.AF_UNIX) as bhyve:
        bhyve.connect(str(state / "swtpm.sock"))
        answers: list[bytes] = []
        for command in commands:
            bhyve.sendall(command)
            answers.append(bhyve.recv(4096))
        return answers


def test_it_can_be_connected_to_at_once_and_its_state_is_its_users_alone(host: Host) -> None:
    host.start()
    assert [result(answer) for answer in asked(host.state("vm"), RANDOM)] == [0]
    home = host.folder / "vm.tpm"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "tpm2-00.permall").stat().st_mode & 0o777 == 0o600


def test_it_ends_with_its_hypervisor_that_was_connected(host: Host) -> None:
    pid = host.start()
    asked(host.state("vm"), RANDOM)
    assert ended(pid) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="F_SETSIG is Linux's")
@pytest.mark.parametrize("hypervisor", ["qemu", "bhyve"])
def test_it_ends_with_a_hypervisor_that_never_connected(host: Host, hypervisor: str) -> None:
    pid = host.start(hypervisor=hypervisor)
    assert runs(pid)
    host.let_go()
    assert ended(pid) in (0, -signal.SIGTERM)  # by itself, or before it was listening to signals


def test_it_has_what_it_needs_and_no_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPM_PATH", str(host.folder / "elsewhere"))
    before = len(os.listdir("/proc/self/fd"))
    pid = host.start()
    asked_first = host.state("vm")
    with socket.socket(socket.AF_UNIX) as bhyve:
        bhyve.connect(str(asked_first / "swtpm.sock"))
        bhyve.sendall(RANDOM)
        assert result(bhyve.recv(4096)) == 0
        opened = {
            int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")
        }
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    log = str(asked_first / "hypervisor.log")
    assert [opened[fd] for fd in (0, 1, 2)] == ["/dev/null", log, log]
    assert opened[3].startswith("socket:")
    assert opened[4].startswith("pipe:")
    assert opened[5] == str(host.folder / "vm.tpm" / "vm-run.lock")
    own = {fd for fd in opened if fd > 5 and not inheritable(fd)}
    assert len(own) <= 5  # a connection, its own lock, two ends to wake itself up
    assert max(own) < 12  # what we open is moved far above
    assert environment == b"LANG=C.UTF-8\0"
    assert len(os.listdir("/proc/self/fd")) == before + 1  # what the hypervisor is to have
    assert list(host.holding[0].fds) == [swtpm.LIFELINE_FD]


def test_what_a_terminal_sends_to_all_does_not_end_it(host: Host) -> None:
    pid = host.start()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    assert result(asked(host.state("vm"), RANDOM)[0]) == 0


def test_the_next_one_finds_what_the_guest_has_kept_though_the_last_still_ran(host: Host) -> None:
    first = host.start()
    with socket.socket(socket.AF_UNIX) as bhyve:  # it holds the first one up
        bhyve.connect(str(host.state("vm") / "swtpm.sock"))
        for command in (DEFINE, WRITE):
            bhyve.sendall(command)
            assert result(bhyve.recv(4096)) == 0
        second = host.start()
    assert second != first
    with pytest.raises(ChildProcessError):  # no zombie either
        os.waitpid(first, 0)
    answer = asked(host.state("vm"), READ)[0]
    assert result(answer) == 0
    assert VALUE in answer


def test_state_that_is_there_is_kept(host: Host) -> None:
    home = host.folder / "vm.tpm"
    home.mkdir(mode=0o750)
    (home / "note").write_text("mine")
    host.start()
    asked(host.state("vm"), DEFINE, WRITE)
    assert (home / "note").read_text() == "mine"
    assert home.stat().st_mode & 0o777 == 0o750


def test_two_vms_cannot_have_one_tpm(host: Host) -> None:
    first = host.start("web")
    with pytest.raises(VmError) as caught:
        host.start("mail")
    home = host.folder / "vm.tpm"
    assert str(caught.value) == (
        f"tpm.path: {home} is the TPM of web, which is running\n"
        "  hint: stop that VM, or set another path for this one"
    )
    assert caught.value.status == 75
    assert runs(first)
    swtpm.end(str(host.state("mail")))
    assert runs(first)


@pytest.mark.parametrize(
    ("changes", "held"),
    [({"host": "far"}, True), ({"started_at": 1}, True), ({"started_at": 1}, False)],
)
def test_a_process_that_has_the_number_of_another_swtpm_is_left_alone(
    host: Host, tmp_path: Path, changes: dict[str, Any], held: bool
) -> None:
    """Of one on another host, or of one that has ended."""
    home, state = tmp_path / "vm.tpm", host.state("vm")
    home.mkdir()
    path = home / "vm-run.lock"
    with (
        path.open("w") as lock,
        subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) as other,
    ):
        swtpm.sign(lock.fileno(), other.pid, str(state))
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        busy = pytest.raises(VmError, match="is the TPM of vm, which is running")
        try:
            with busy if held else contextlib.nullcontext():
                host.start()
            assert other.poll() is None
        finally:
            other.kill()


def test_a_place_whose_file_system_has_no_locks_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(VmError, match="No locks available") as caught:
        host.start()
    assert caught.value.status == 74
    assert os.listdir("/proc/self/fd") == before


def test_a_full_disk_is_a_fault_and_leaves_no_swtpm(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def sign(_fd: int, pid: int, _folder: str) -> None:
        pids.append(pid)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(swtpm, "sign", sign)
    with pytest.raises(VmError, match="No space left on device") as caught:
        host.start()
    assert caught.value.status == 74
    assert ended(pids[0]) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("text", ["[" * 4000, '{"pid": "1"}', "\0"])
def test_a_lock_with_something_else_in_it_is_nobodys(host: Host, text: str) -> None:
    home = host.folder / "vm.tpm"
    home.mkdir()
    (home / "vm-run.lock").write_text(text)
    assert runs(host.start())


def test_one_that_does_not_end_is_killed(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "bin" / "swtpm"
    deaf.parent.mkdir()
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    deaf.write_text(f"#!/bin/sh\ntrap '' TERM\necho deaf >{ready}\nexec sleep 1000\n")
    deaf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{deaf.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(swtpm, "_TIMEOUT_S", 0.2)
    pid = host.start()
    assert ready.read_text() == "deaf\n"
    swtpm.end(str(host.state("vm")))
    assert not runs(pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_an_end_that_was_seen_to_is_not_seen_to_again(host: Host) -> None:
    pid = host.start()
    state = str(host.state("vm"))
    swtpm.end(state)
    assert not runs(pid)
    assert (host.folder / "vm.tpm" / "vm-run.lock").read_text() == ""
    swtpm.end(state)
    swtpm.end(str(host.state("never started")))


def test_a_missing_swtpm_is_named_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    host = Host(tmp_path)
    with pytest.raises(VmError) as caught:
        host.start()
    assert str(caught.value) == (
        "tpm: swtpm, which emulates the guest's TPM, is not installed\n"
        "  hint: Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
    )
    assert caught.value.status == 69
    assert not (tmp_path / "vm.tpm").exists()


@pytest.mark.parametrize(
    ("home", "problem", "status"),
    [
        ("a,b", "a,b has a comma, which swtpm cannot take", 65),
        ("not/there", "not/there: No such file or directory", 74),
        ("file", "file: File exists", 74),
    ],
)
def test_a_place_that_cannot_be_used_is_named(
    host: Host, home: str, problem: str, status: int
) -> None:
    (host.folder / "file").write_text("")
    with pytest.raises(VmError) as caught:
        host.start(home=home)
    assert caught.value.faults[0].path == ("tpm", "path")
    assert caught.value.faults[0].problem == f"{host.folder}/{problem}"
    assert caught.value.status == status


def test_an_swtpm_that_cannot_be_started_leaves_nothing_open_and_no_lock(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "swtpm"
    broken.parent.mkdir()
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(broken.parent))
        with pytest.raises(VmError, match="swtpm cannot be started") as caught:
            host.start()
    assert caught.value.status == 69
    assert os.listdir("/proc/self/fd") == before
    assert runs(host.start())


def test_the_hypervisor_holds_the_lifeline(host: Host) -> None:
    """As both hypervisors are started: with what is theirs, and nothing else."""
    pid = host.start()
    held = host.holding.pop()
    fake = "import sys; print(sys.stdin.readline(), file=open(sys.argv[1], 'w'), end='')"
    read, write = os.pipe2(os.O_CLOEXEC)
    held.add(read, 0)
    os.close(read)
    hypervisor = program.start([sys.executable, "-c", fake, str(host.folder / "said")], held)
    held.close()
    assert runs(pid)
    os.write(write, b"the guest powers off\n")
    os.close(write)
    assert ended(hypervisor) == 0
    assert ended(pid) in (0, -signal.SIGTERM)
    assert (host.folder / "said").read_text() == "the guest powers off\n"


@pytest.mark.parametrize(("more", "loaded"), [("", False), ("[tpm]\n", True)])
def test_a_vm_without_a_tpm_loads_nothing_of_it(vm: Vm, more: str, loaded: bool) -> None:
    need("swtpm")
    vm.describe(f'hypervisor = "qemu"\n{more}')
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vm_run", vm.name],
        cwd=vm.folder, env=vm.environment() | {"QEMU_BIN": "/bin/true"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    names = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    mine = {"vm_run.swtpm"}
    assert "vm_run.launch" in names
    assert names & mine == (mine if loaded else set())
