"""What is kept of a running VM, and whom it believes (threats B30 and B32)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from vm_spec.fault import VmError
from vm_state import lock as locks
from vm_state import statedir
from vm_state.lock import Lock, is_locked, lock_path, read_owner
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import is_running, read_record, write_record

HERE = os.uname().nodename


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what runs, as a login makes it."""
    folder = tmp_path_factory.mktemp("r")  # a short name: sockets are made below it
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def refusal(path: Path, *, force: bool = False) -> VmError:
    with pytest.raises(VmError) as caught:
        Lock.take(str(path), "web", force=force)
    return caught.value


def test_a_second_taker_is_told_who_has_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".web.lock"
    lock = Lock.take(str(path), "web")
    error = refusal(path)
    assert error.status == 75
    assert str(error) == (
        f"web is already running on {HERE} (pid {os.getpid()})\n  hint: stop it: vm-stop web"
    )
    assert is_locked(str(path))
    lock.release()
    assert not path.exists()
    Lock.take(str(path), "web").release()


def test_force_does_not_take_a_lock_that_somebody_holds(tmp_path: Path) -> None:
    lock = Lock.take(str(tmp_path / "lock"), "web")
    assert refusal(tmp_path / "lock", force=True).status == 75
    lock.release()


def test_a_lock_lasts_as_long_as_a_child_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock.take(str(path), "web")
    child = subprocess.Popen(["sleep", "1000"], pass_fds=[lock.fd], stdin=subprocess.DEVNULL)
    lock.write(2**22 + 1)  # as if a supervisor that has ended had written it
    os.close(lock.fd)
    try:
        error = refusal(path)
        assert "its guest runs on; take it over: vm-run --recover web" in str(error)
    finally:
        child.kill()
        child.wait()
    assert not is_locked(str(path))
    Lock.take(str(path), "web").release()


def test_hosts_that_know_no_boot_are_told_apart_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FreeBSD has no boot's id that is read without root: none is no proof of the same one."""
    monkeypatch.setattr(locks, "boot_id", str)
    path = tmp_path / ".web.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "boot_id": ""}))
    error = refusal(path)
    assert error.status == 75
    assert "was started on elsewhere (pid 7) and never ended there" in str(error)
    path.write_text(json.dumps({"host": HERE, "pid": 7, "boot_id": ""}))
    Lock.take(str(path), "web").release()


@pytest.mark.parametrize("host", [7, "", None, []])
def test_a_lock_without_a_host_s_name_is_taken(tmp_path: Path, host: object) -> None:
    path = tmp_path / ".web.lock"
    path.write_text(json.dumps({"host": host, "pid": 7}))
    Lock.take(str(path), "web").release()


@pytest.mark.parametrize(("system", "most"), [("Linux", 107), ("FreeBSD", 103)])
def test_a_state_folder_has_room_for_its_longest_socket(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, system: str, most: int
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((system, HERE, "", "", "")))
    name = "n" * (most - len(f"{runtime}/vm//supervisor.sock"))
    assert len(f"{statedir.make(name)}/supervisor.sock") == most
    with pytest.raises(VmError, match="is too long a path for sockets"):
        statedir.make(f"{name}n")


def test_a_lock_that_another_host_left_is_taken_by_force_only(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "boot_id": "x"}))
    error = refusal(path)
    assert error.status == 75
    assert str(error) == (
        "web was started on elsewhere (pid 7) and never ended there\n"
        "  hint: if elsewhere is really down: vm-run --force web"
    )
    assert json.loads(path.read_text())["host"] == "elsewhere"
    lock = Lock.take(str(path), "web", force=True)
    assert read_owner(str(path)) == {
        "host": HERE, "pid": os.getpid(), "boot_id": boot_id()
    }  # fmt: skip
    lock.release()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"7", b"{", b"[" * 4000, b'{"pid": ' + b"9" * 4000 + b"}"]
)
def test_a_lock_with_any_content_can_be_taken_and_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    lock = Lock.take(str(path), "web")
    assert read_owner(str(path))["pid"] == os.getpid()
    path.write_bytes(content)
    assert refusal(path).status == 75
    lock.release()


def test_a_symlink_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "lock"
    path.symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        Lock.take(str(path), "web")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not is_locked(str(path))
    assert read_owner(str(path)) == {}


def test_a_lock_lies_beside_its_description() -> None:
    assert lock_path("/vm/web.toml") == "/vm/.web.lock"
    assert lock_path("web.toml") == "./.web.lock"


def test_a_lock_is_rewritten_without_a_moment_of_emptiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock.take(str(tmp_path / "lock"), "web")
    seen: list[int] = []
    truncate = os.ftruncate

    def noted(fd: int, size: int) -> None:
        seen.append(size)
        truncate(fd, size)

    monkeypatch.setattr(os, "ftruncate", noted)
    lock.write(1)
    assert min(seen) > 0
    assert read_owner(str(tmp_path / "lock"))["pid"] == 1
    lock.release()


def test_state_is_for_its_user_alone(runtime: Path) -> None:
    folder = Path(statedir.make("web"))
    assert folder == runtime / "vm" / "web"
    assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (0o700,) * 2
    assert statedir.make("web") == str(folder)  # there already
    assert statedir.names() == ["web"]


def test_a_runtime_folder_that_is_gone_is_made_anew(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "1000"))
    assert Path(statedir.make("web")).is_dir()
    assert statedir.fallback_note() == ""


def test_a_runtime_directory_that_cannot_be_made_is_passed_over_by_everybody(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on nodes of a cluster, where a job has the variable and no login made the directory."""
    name = f"test{os.getpid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "a" / "b"))
    made = Path(statedir.make(name))
    made.rmdir()
    assert str(made) == statedir.directory(name) == f"/tmp/vm-{os.getuid()}/vm/{name}"
    assert statedir.fallback_note() == (
        f"XDG_RUNTIME_DIR={runtime}/a/b does not exist; using /tmp/vm-{os.getuid()}"
    )


def test_a_runtime_directory_that_is_not_ours_to_write_to_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime / "run").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "run"))
    with pytest.raises(VmError, match="only you can write to") as caught:
        statedir.make("web")
    assert caught.value.status == 77


def test_without_a_runtime_folder_there_is_one_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert statedir.directory("web") == f"/tmp/vm-{os.getuid()}/vm/web"


@pytest.mark.parametrize("level", ["", "vm", "vm/web"])
@pytest.mark.parametrize("trick", ["symlink", "group", "everybody", "file"])
def test_a_folder_that_others_could_have_made_is_refused(
    runtime: Path, tmp_path: Path, level: str, trick: str
) -> None:
    statedir.make("web")
    place = runtime / level
    if trick in ("group", "everybody"):
        place.chmod(0o720 if trick == "group" else 0o702)
    else:
        place.rename(tmp_path / "moved")
        place.touch() if trick == "file" else place.symlink_to(tmp_path / "moved")
    with pytest.raises(VmError) as caught:
        statedir.make("web")
    assert caught.value.status == 77
    assert str(caught.value) == (
        f"{str(place).rstrip('/')} is not a directory that only you can write to\n"
        f"  hint: check it: ls -ld {str(place).rstrip('/')}"
    )


def test_a_folder_of_somebody_else_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statedir.make("web")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(VmError, match="only you can write to"):
        statedir.make("web")
    assert statedir.names() == []


def test_a_folder_too_deep_for_sockets_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / ("x" * 90)))
    with pytest.raises(VmError, match="too long a path for sockets") as caught:
        statedir.make("web")
    assert caught.value.status == 69
    assert not list(runtime.iterdir())


def record(pid: int) -> dict[str, object]:
    return {"pid": pid, "started_at": started_at(pid), "boot_id": boot_id()}


def test_a_hypervisor_lives_while_its_process_does(sleeper: subprocess.Popen[bytes]) -> None:
    kept = record(sleeper.pid)
    assert is_running(kept)
    sleeper.kill()
    select_until_dead(sleeper)
    assert not is_running(kept)  # even as a zombie that nobody has asked


def select_until_dead(sleeper: subprocess.Popen[bytes]) -> None:
    import select

    fd = os.pidfd_open(sleeper.pid)
    select.select([fd], [], [], 10)
    os.close(fd)


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": 1},
        {"started_at": 0},
        {"started_at": None},
        {"boot_id": "another start of this host"},
        {"boot_id": None},
        {"pid": None},
        {"pid": "1"},
        {"pid": -1},
        {"pid": 0},
        {"pid": 10**30},
        {"pid": True},
    ],
)
def test_a_process_that_merely_has_the_number_is_a_stranger(
    sleeper: subprocess.Popen[bytes], changes: dict[str, object]
) -> None:
    assert not is_running(record(sleeper.pid) | changes)
    assert not is_running({})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(str(tmp_path), {"pid": 7, "argv": ["ä"]})
    assert read_record(str(tmp_path)) == {"pid": 7, "argv": ["ä"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_record_that_is_none_is_empty(tmp_path: Path, content: bytes) -> None:
    assert read_record(str(tmp_path)) == {}
    (tmp_path / "state.json").write_bytes(content)
    assert read_record(str(tmp_path)) == {}


def test_what_is_no_lock_is_not_locked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", ".", "fifo"):
        assert not is_locked(str(tmp_path / name))
        assert read_owner(str(tmp_path / name)) == {}
