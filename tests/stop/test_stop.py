"""vm-stop where nothing of QEMU runs: what is left over, who is a stranger, what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.home import Home, Said
from tests.run.fakes import freebsd
from tests.vm import LIMIT_S, Vm
from vm_state import statedir, stop_request
from vm_state.lock import Lock, holds, lock_path
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import write_record
from vm_stop.__main__ import main


class Person:
    """Who calls vm-stop in this process."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def stops(self, *words: str) -> Said:
        """What `vm-stop WORDS...` answers."""
        self._capsys.readouterr()
        status = main(list(words))
        out, err = self._capsys.readouterr()
        return Said(status, out, err)


@pytest.fixture
def person(home: Home, capsys: pytest.CaptureFixture[str]) -> Person:
    home.vm.describe("")
    return Person(home, capsys)


def record(pid: int, **changes: object) -> dict[str, object]:
    common = {"pid": pid, "started_at": started_at(pid), "boot_id": boot_id()}
    return common | {"hypervisor": "qemu", "target": "default"} | changes


def left(person: Person, pid: int, **changes: object) -> Path:
    """The state folder that a crash has left."""
    folder = statedir.make("vm")
    write_record(folder, record(pid, file=str(person.home.vm.file), **changes))
    for name in ("supervisor.sock", "console.log"):
        (person.home.vm.state / name).touch()
    return person.home.vm.state


def lock(person: Person, **holder: object) -> Path:
    """The lock that somebody has left beside the description."""
    path = Path(lock_path(str(person.home.vm.file)))
    here = {"host": os.uname().nodename, "pid": 1, "boot_id": boot_id()}
    path.write_text(json.dumps(here | holder))
    return path


def is_untouched(sleeper: subprocess.Popen[bytes]) -> bool:
    return sleeper.poll() is None


def test_a_vm_that_does_not_run_is_told_and_is_no_fault(person: Person) -> None:
    said = person.stops("vm")
    assert (said.status, said.out, said.err) == (0, "vm: is not running\n", "")
    said = person.stops("--all")
    assert (said.status, said.out) == (0, "no VM of yours runs on this host\n")


def test_a_vm_that_is_not_there_is_66_and_the_others_are_stopped_all_the_same(
    person: Person,
) -> None:
    said = person.stops("wm", "vm", "vm")
    assert said.status == 66
    assert said.out == "vm: is not running\n"
    assert said.err == (
        f"wm: there is no VM wm in {person.home.folder}\n  hint: did you mean vm?\n"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "one of the arguments NAME --all is required"),
        (["--all", "vm"], "argument NAME: not allowed with argument --all"),
        (["--timeout", "5", "--force", "vm"], "argument -f/--force: not allowed with"),
        (["--timeout", "-1", "vm"], "argument --timeout: must be a whole number of seconds"),
        (["--timeout", "99999", "vm"], "argument --timeout: must be a whole number of seconds"),
        (["--now", "vm"], "unrecognized arguments: --now"),
        (["../vm"], "a VM's name"),
        ([""], "a VM's name"),
    ],
)
def test_64_for_a_wrong_command_line(person: Person, words: list[str], problem: str) -> None:
    said = person.stops(*words)
    assert said.status == 64
    assert problem in said.err


def test_what_a_crash_left_is_removed_but_for_the_logs(person: Person) -> None:
    folder = left(person, 1 << 22)
    beside = lock(person, pid=1 << 22)
    said = person.stops("vm")
    assert (said.status, said.out) == (
        0, "vm: is not running; what a crash left is removed\n",
    )  # fmt: skip
    assert [entry.name for entry in folder.iterdir()] == ["console.log"]
    assert not beside.exists()
    assert person.stops("vm").out == "vm: is not running\n"


def test_a_lock_from_before_this_hosts_start_is_removed(person: Person) -> None:
    beside = lock(person, boot_id="another", pid=os.getpid())
    assert person.stops("vm").out == "vm: is not running; what a crash left is removed\n"
    assert not beside.exists()


def test_threat_b32_a_process_with_the_number_of_the_hypervisor_is_left_alone(
    person: Person, sleeper: subprocess.Popen[bytes]
) -> None:
    left(person, sleeper.pid, started_at=started_at(sleeper.pid) - 1)
    said = person.stops("--force", "vm")
    assert (said.status, said.out) == (0, "vm: is not running; what a crash left is removed\n")
    left(person, sleeper.pid, boot_id="another")
    assert person.stops("--force", "vm").status == 0
    assert is_untouched(sleeper)


def test_threat_b32_a_process_with_the_number_of_the_vm_run_is_left_alone(
    person: Person, sleeper: subprocess.Popen[bytes]
) -> None:
    left(person, 1 << 22, supervisor=sleeper.pid)
    held = Lock.take(f"{person.home.vm.state}/lock", "vm")
    try:
        held.write(sleeper.pid)  # the number that it names is a stranger's by now
        said = person.stops("--force", "vm")
    finally:
        held.release()
    assert said.status == 75
    assert f"an unknown process (pid {sleeper.pid}?) has locked" in said.err
    assert is_untouched(sleeper)


def test_threat_b32_only_who_has_locked_the_file_holds_it(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    path = str(tmp_path / "lock")
    held = Lock.take(path, "vm")
    assert holds(os.getpid(), path)
    assert not holds(sleeper.pid, path)
    assert not holds(1, path)
    assert not holds(1 << 22, path)
    held.release()
    with open(path, "w"):  # open, and not locked
        assert not holds(os.getpid(), path)


@pytest.mark.parametrize("held", [True, False])
def test_a_vm_of_another_host_is_75_and_its_lock_stays(person: Person, held: bool) -> None:
    beside = Path(lock_path(str(person.home.vm.file)))
    there = {"host": "far", "pid": 77, "boot_id": "another"}
    if held:
        taken = Lock.take(str(beside), "vm")
        beside.write_text(json.dumps(there))
    else:
        taken = None
        lock(person, **there)
    said = person.stops("vm")
    assert said.status == 75
    if taken:
        assert said.err == "vm: is already running on far (pid 77)\n  hint: stop it on far\n"
        assert beside.exists()
        taken.release()
    else:
        assert said.err.startswith("vm: was started on far (pid 77) and never ended there\n")
        assert json.loads(beside.read_text())["host"] == "far"


def test_a_vm_whose_state_is_somewhere_else_is_75(person: Person) -> None:
    taken = Lock.take(lock_path(str(person.home.vm.file)), "vm")
    said = person.stops("vm")
    taken.release()
    assert said.status == 75
    assert "in another XDG_RUNTIME_DIR" in said.err


def test_a_monitor_that_does_not_answer_takes_force(
    person: Person, sleeper: subprocess.Popen[bytes]
) -> None:
    left(person, sleeper.pid)  # here it is the hypervisor
    said = person.stops("vm")
    assert said.status == 75
    assert "the monitor does not answer" in said.err
    assert "hint: kill it: vm-stop --force vm" in said.err
    assert is_untouched(sleeper)
    killer = subprocess.run(
        [sys.executable, "-m", "vm_stop", "--force", "vm"],
        env=person.home.vm.environment(), capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    assert killer.returncode == 0, killer.stderr
    assert sleeper.wait(LIMIT_S) == -9


@pytest.fixture
def bhyve(person: Person, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """A VM for a bhyve that waits for the power button."""
    vm = person.home.vm
    (vm.folder / "rom.fd").touch()
    vm.describe(f'hypervisor = "bhyve"\nbootrom = "{vm.folder}/rom.fd"\nstop_timeout = 20\n')
    freebsd.install(vm, monkeypatch)
    return vm


def started(vm: Vm) -> subprocess.Popen[str]:
    process = vm.start()
    freebsd.until_it_waits(vm)
    return process


def test_vm_run_does_the_work_and_says_how_it_ended(person: Person, bhyve: Vm) -> None:
    process = started(bhyve)
    said = person.stops("vm", "--timeout", "15")
    assert said.status == 0, said.err
    assert said.out.startswith("vm: guest powered off (exit status 1) after ")
    assert said.err == "vm: powering off; forced after 15 s\n"
    assert bhyve.finish(process).returncode == 0
    assert bhyve.events("stopping")[0]["by"] == "vm-stop"
    assert bhyve.events("stopping")[0]["timeout"] == 15


def test_a_bhyve_without_a_vm_run_gets_its_power_button_too(person: Person, bhyve: Vm) -> None:
    process = started(bhyve)
    bhyve.kill(process)
    said = person.stops("--all")
    assert said.status == 0, said.err
    assert said.err == "vm: powering off; forced after 20 s\n"
    assert said.out.startswith("vm: guest was killed after ")  # its exit status is not for us
    assert "state.json" not in os.listdir(bhyve.state)


def test_a_request_is_taken_once_and_nonsense_is_none(tmp_path: Path) -> None:
    stop_request.write(str(tmp_path), 5)
    assert stop_request.take(str(tmp_path)) == 5
    assert stop_request.take(str(tmp_path)) is None
    for text in ("", "[]", '{"timeout": "5"}', '{"timeout": true}', "{"):
        (tmp_path / "stop.json").write_text(text)
        assert stop_request.take(str(tmp_path)) is None
    stop_request.write(str(tmp_path), -3)
    assert stop_request.take(str(tmp_path)) == 0


def test_how_a_vm_ended_is_believed_of_its_own_vm_run_only(tmp_path: Path) -> None:
    ending = {"supervisor": 7, "said": "guest powered off"}
    (tmp_path / stop_request.ENDED).write_text(json.dumps(ending))
    assert stop_request.read_ending(str(tmp_path), 7) == "guest powered off"
    assert stop_request.read_ending(str(tmp_path), 8) == ""
    assert stop_request.read_ending(str(tmp_path / "no"), 7) == ""
