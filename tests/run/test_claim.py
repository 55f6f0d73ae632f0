"""A VM's place on this host: who may enter it, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.home import Home
from tests.vm import LIMIT_S
from vm_run.claim import Claim
from vm_run.options import Options
from vm_spec import VmError, load
from vm_spec.machine import Description
from vm_state import statedir
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import write_record


@pytest.fixture
def description(home: Home) -> Description:
    home.vm.describe("")
    return load(str(home.vm.file))


def enter(description: Description, options: Options | None = None) -> Claim:
    claim = Claim(description.name, description.file)
    try:
        claim.settle(options or Options())
    except VmError:
        claim.release()
        raise
    return claim


def left(home: Home, pid: int, **changes: object) -> Path:
    """The record of a guest whose supervisor is gone."""
    folder = statedir.make("vm")
    common = {"pid": pid, "started_at": started_at(pid), "boot_id": boot_id()}
    write_record(folder, common | changes)
    (home.vm.state / "supervisor.sock").touch()
    return home.vm.state


def test_one_at_a_time_and_nothing_but_logs_is_left(home: Home, description: Description) -> None:
    claim = enter(description)
    assert (home.folder / ".vm.lock").exists()
    with pytest.raises(VmError, match="vm is already running") as caught:
        enter(description)
    assert caught.value.status == 75
    (home.vm.state / "qmp.sock").touch()
    (home.vm.state / "console.log").touch()
    claim.clean()
    claim.release()
    assert [entry.name for entry in home.vm.state.iterdir()] == ["console.log"]
    assert [entry.name for entry in home.folder.iterdir()] == ["vm.toml"]


def test_a_folder_that_cannot_be_written_to_is_no_hindrance_but_told(
    home: Home, description: Description
) -> None:
    (home.folder / ".vm.lock").mkdir()  # root may write to any folder
    claim = enter(description)
    assert " ".join(claim.notes) == (
        f"{home.folder}/.vm.lock: Is a directory; other hosts do not see that this VM runs"
    )
    with pytest.raises(VmError, match="vm is already running"):
        enter(description)
    claim.clean()
    claim.release()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to any folder")
def test_a_read_only_folder_is_told(home: Home, description: Description) -> None:
    home.folder.chmod(0o555)
    claim = enter(description)
    assert " ".join(claim.notes).startswith(
        f"{home.folder}/.vm.lock: Permission denied; other hosts"
    )
    claim.clean()
    claim.release()
    home.folder.chmod(0o755)


def test_a_lock_of_our_own_that_cannot_be_made_is_told(
    home: Home, description: Description
) -> None:
    Path(statedir.make("vm"), "lock").mkdir()
    with pytest.raises(VmError, match="vm/lock: Is a directory") as caught:
        enter(description)
    assert caught.value.status == 69


def test_another_hosts_lock_is_refused_unless_forced(home: Home, description: Description) -> None:
    lock = home.folder / ".vm.lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    with pytest.raises(VmError, match="was started on elsewhere"):
        enter(description)
    claim = enter(description, Options(force=True))
    claim.clean()
    claim.release()
    assert not lock.exists()


def test_a_living_guest_is_recovered_or_forced_and_never_started_again(
    home: Home, description: Description, sleeper: subprocess.Popen[bytes]
) -> None:
    left(home, sleeper.pid)
    with pytest.raises(VmError, match="unsupervised") as caught:
        enter(description)
    assert caught.value.status == 75
    claim = enter(description, Options(recover=True))
    assert claim.record["pid"] == sleeper.pid
    claim.release()
    assert sleeper.poll() is None
    enter(description, Options(force=True)).release()
    assert sleeper.wait(LIMIT_S) == -9


def test_a_number_that_is_a_strangers_now_is_never_killed(
    home: Home, description: Description, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = left(home, sleeper.pid, started_at=1)
    claim = enter(description, Options(force=True))
    assert sleeper.poll() is None
    assert {entry.name for entry in folder.iterdir()} == {"lock"}  # its leftovers are swept
    for record in ({"pid": sleeper.pid, "started_at": 1, "boot_id": boot_id()}, {"pid": 2**22 - 1}):
        claim.record = record
        with pytest.raises(VmError, match="no guest to recover"):
            claim.open_hypervisor()
    claim.clean()
    claim.release()
    with pytest.raises(VmError, match="no guest to recover") as caught:
        enter(description, Options(recover=True))
    assert caught.value.status == 69


@pytest.mark.parametrize("file", ["state.json", "pid"])
def test_a_record_that_cannot_be_written_is_no_bug(
    home: Home, description: Description, file: str
) -> None:
    claim = enter(description)
    (home.vm.state / file).mkdir()
    with pytest.raises(VmError, match="cannot be written to: Is a directory") as caught:
        claim.write({"pid": 7})
    assert caught.value.status == 74
    claim.clean()
    claim.release()


def test_what_a_guest_that_was_taken_over_leaves_is_removed_too(
    home: Home, description: Description, sleeper: subprocess.Popen[bytes]
) -> None:
    lock = home.folder / ".vm.lock"
    lock.write_text(json.dumps({"host": os.uname().nodename, "pid": 1}))
    left(home, sleeper.pid)
    claim = enter(description, Options(recover=True))
    assert claim.lock is None
    claim.clean()
    claim.release()
    assert not lock.exists()
