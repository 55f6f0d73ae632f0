"""Where a pull works, what it places, and what is swept when it dies."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vm_pull import room as rooms
from vm_pull.room import Room, sweep
from vm_spec.fault import VmError

HOUSE = Path(__file__).parents[2]


def fill(room: Room, **files: str) -> None:
    for name, text in files.items():
        Path(room.path, name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_room_is_gone_with_all_that_is_in_it(tmp_path: Path) -> None:
    with Room.enter(str(tmp_path / "vm"), "web") as room:
        fill(room, disk0="half")
        assert Path(room.path).stat().st_mode & 0o777 == 0o700
    assert names(tmp_path / "vm") == []


def test_files_get_their_names_and_nothing_else_stays(tmp_path: Path) -> None:
    with Room.enter(str(tmp_path), "web") as room:
        fill(room, disk0="disk", card="text", other="left")
        room.place([("disk0", "web.img"), ("card", "web.toml")], force=False)
    assert names(tmp_path) == ["web.img", "web.toml"]
    assert (tmp_path / "web.img").read_text() == "disk"


def test_threat_b20_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text("mine")
    with Room.enter(str(tmp_path), "web") as room:
        fill(room, disk0="disk", card="text")
        with pytest.raises(VmError, match=r"web\.toml exists already") as caught:
            room.place([("disk0", "web.img"), ("card", "web.toml")], force=False)
    assert caught.value.status == 73
    assert names(tmp_path) == ["web.toml"]
    assert (tmp_path / "web.toml").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_threat_b20_a_link_in_the_way_is_never_followed(tmp_path: Path, force: bool) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "web.img").symlink_to(canary)
    with Room.enter(str(tmp_path / "vm"), "web") as room:
        fill(room, disk0="disk")
        if force:
            room.place([("disk0", "web.img")], force=True)
        else:
            with pytest.raises(VmError):
                room.place([("disk0", "web.img")], force=False)
    assert canary.read_text() == "secret"
    assert (tmp_path / "vm" / "web.img").is_symlink() is not force


def test_force_replaces(tmp_path: Path) -> None:
    (tmp_path / "web.img").write_text("old")
    with Room.enter(str(tmp_path), "web") as room:
        fill(room, disk0="new")
        room.place([("disk0", "web.img")], force=True)
    assert (tmp_path / "web.img").read_text() == "new"


def test_a_file_system_without_links_is_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "web.toml").write_text("mine")
    with Room.enter(str(tmp_path), "web") as room:
        fill(room, disk0="disk", card="text")
        with pytest.raises(VmError, match="exists already"):
            room.place([("disk0", "web.img"), ("card", "web.toml")], force=False)
    assert names(tmp_path) == ["web.toml"]
    with Room.enter(str(tmp_path), "two") as room:
        fill(room, disk0="disk")
        room.place([("disk0", "two.img")], force=False)
    assert names(tmp_path) == ["two.img", "web.toml"]


def test_threat_b20_the_second_of_two_pulls_of_one_name_is_told_so(tmp_path: Path) -> None:
    with (
        Room.enter(str(tmp_path), "web") as first,
        pytest.raises(VmError, match="another vm-pull is making web") as caught,
    ):
        fill(first, disk0="still here")
        Room.enter(str(tmp_path), "web")
    assert caught.value.status == 75


def test_pulls_of_two_names_do_not_disturb_each_other(tmp_path: Path) -> None:
    with Room.enter(str(tmp_path), "one") as one:
        fill(one, disk0="one")
        with Room.enter(str(tmp_path), "two") as two:
            assert Path(one.path, "disk0").read_text() == "one"
            fill(two, disk0="two")
            two.place([("disk0", "two.img")], force=False)
        one.place([("disk0", "one.img")], force=False)
    assert names(tmp_path) == ["one.img", "two.img"]


def die(folder: Path, code: str) -> None:
    """Runs some lines with a room in hand, and kills that process hard at its end."""
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom vm_pull import room as rooms\n"
        f"room = rooms.Room.enter({str(folder)!r}, 'web')\n{code}\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(HOUSE)}, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL


def test_threat_b21_what_a_dead_pull_left_is_swept_by_the_next(tmp_path: Path) -> None:
    die(tmp_path, "Path(room.path, 'disk0').write_text('half')")
    assert names(tmp_path) == [".web.pull"]
    with Room.enter(str(tmp_path), "other"):
        assert names(tmp_path) == [".other.pull"]


WHOLE = ["web-0.img", "web-1.img", "web.toml"]
COUNT = "real = rooms._move\ncount = [0]\n"
NTH = """
def move(*words, **more):
    if count[0] == {n}:
        os.kill(os.getpid(), 9)
    count[0] += 1
    real(*words, **more)
rooms._move = move
for name in ('disk0', 'disk1', 'card'):
    Path(room.path, name).write_text(name)
room.place([('disk0', 'web-0.img'), ('disk1', 'web-1.img'), ('card', 'web.toml')], force=False)
"""


@pytest.mark.parametrize("placed", [0, 1, 2, 3])
def test_threat_b21_killed_while_placing_it_is_all_or_nothing(tmp_path: Path, placed: int) -> None:
    die(tmp_path, COUNT + NTH.format(n=placed))
    assert sweep(str(tmp_path)) == [".web.pull"]
    assert names(tmp_path) == (WHOLE if placed == 3 else [])


def test_threat_b21_a_sweep_touches_nothing_that_only_has_the_name(tmp_path: Path) -> None:
    (tmp_path / ".notes.pull").write_text("a file of the user's")
    (tmp_path / ".mine.pull").mkdir(0o755)
    (tmp_path / ".mine.pull" / "lock").write_text("")
    (tmp_path / ".empty.pull").mkdir(0o700)
    (tmp_path / "web-0.img").write_text("somebody's own")
    die(tmp_path, "Path(room.path, 'placed').write_text('web-0.img\\n../x\\nweb.toml\\n')")
    assert sweep(str(tmp_path)) == [".web.pull"]
    assert names(tmp_path) == [".empty.pull", ".mine.pull", ".notes.pull", "web-0.img"]


def test_a_folder_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VmError, match="cannot be made") as caught:
        Room.enter(str(tmp_path / "file" / "vm"), "web")
    assert caught.value.status == 74


def test_a_file_system_without_locks_is_a_fault_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(fd: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(rooms, "take", take)
    with pytest.raises(VmError, match="No locks available") as caught:
        Room.enter(str(tmp_path), "web")
    assert caught.value.status == 74
    assert os.listdir("/proc/self/fd") == before
