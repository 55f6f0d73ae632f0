"""The ledger: what is written, what is believed of it, and who waits for whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from vm_init.errors import InitError
from vm_init.ledger import Ledger, Record, list_ledgers, lock

if TYPE_CHECKING:
    from pathlib import Path

NONCE = "0123456789abcdef"
TAG = f"vmman:1501:{NONCE}"
TAP = Record("tap", "vm-a", 7, "br0", tag=TAG)
NODE = Record("node", "/dev/input/event3", 7, former="0:0:600")
PCI = Record("pci", "0000:01:00.0", 3, former="- 0:0:600")
MACVTAP = Record("macvtap", "vm-m", 1 << 20, "eth0", mac="02:00:00:00:00:01", tag=TAG)

HOLDER = """
import sys
from vm_init.ledger import lock
with lock(5, sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "vmman")


def page(root: str, uid: int = 1501, vm: str = "web") -> str:
    return f"{root}/{uid}/{vm}.json"


def written(root: str, **changed: Any) -> None:
    """A ledger of one tap, whose file then has these fields changed."""
    Ledger(1501, "web", root).write([TAP])
    with open(page(root)) as file:
        content = json.load(file)
    with open(page(root), "w") as file:
        json.dump(content | changed, file)


def refused(root: str) -> None:
    """Refuses to read the ledger, says 78, and keeps it."""
    before = os.lstat(page(root))
    with pytest.raises(InitError) as told:
        Ledger(1501, "web", root)
    assert told.value.status == os.EX_CONFIG
    assert all(isinstance(one, InitError) for one in list_ledgers(root))
    assert os.lstat(page(root)).st_ino == before.st_ino


def books(root: str) -> list[Ledger]:
    return [one for one in list_ledgers(root) if isinstance(one, Ledger)]


def test_what_is_written_is_read_again(root: str) -> None:
    ledger = Ledger(1501, "web", root)
    assert ledger.records == []
    ledger.jobs = ["4711"]
    ledger.write([TAP, NODE, PCI, MACVTAP])
    again = Ledger(1501, "web", root)
    assert (again.records, again.jobs) == ([TAP, NODE, PCI, MACVTAP], ["4711"])
    (book,) = books(root)
    assert (book.uid, book.vm, book.records) == (1501, "web", again.records)
    again.write([])
    assert os.listdir(root) == []
    assert books(root) == []


def test_nothing_is_made_by_looking(root: str) -> None:
    assert Ledger(1501, "web", root).records == []
    assert books(root) == []
    assert not os.path.exists(root)


def test_files_and_folders_are_roots_alone(root: str) -> None:
    Ledger(1501, "web", root).write([TAP])
    with lock(1, root):
        modes = [os.stat(path).st_mode & 0o777 for path in (root, f"{root}/1501")]
        assert modes == [0o700, 0o700]
        assert os.stat(page(root)).st_mode & 0o777 == 0o600
        assert os.stat(f"{root}/lock").st_mode & 0o777 == 0o600


def test_each_write_is_synced_before_and_after_it_is_put_in_place(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        fsync(fd)

    def renamed(source: str, target: str) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    Ledger(1501, "web", root).write([TAP])
    assert done == ["file", "rename", "folder", "folder"]


def test_a_leftover_of_a_kill_is_in_nobodys_way(root: str) -> None:
    Ledger(1501, "web", root).write([TAP])
    with open(f"{root}/1501/.web.json", "w") as file:
        file.write("{")
    ledger = Ledger(1501, "web", root)
    assert [book.records for book in books(root)] == [[TAP]]
    ledger.write([])
    assert os.listdir(root) == []


def test_a_ledger_of_another_boot_is_empty_and_overwritten(root: str) -> None:
    written(root, boot="00000000-0000-0000-0000-000000000000")
    ledger = Ledger(1501, "web", root)
    assert ledger.records == []
    assert books(root) == []
    ledger.write([NODE])
    assert Ledger(1501, "web", root).records == [NODE]


def test_threat_68_vms_are_told_apart_by_their_whole_name_and_user(root: str) -> None:
    for uid, vm in ((1501, "vm1"), (1501, "vm10"), (1502, "vm1"), (15, "vm1")):
        Ledger(uid, vm, root).write([TAP._replace(tag=f"vmman:{uid}:{NONCE}")])
    Ledger(1501, "vm1", root).write([])
    left = {(book.uid, book.vm) for book in books(root)}
    assert left == {(1501, "vm10"), (1502, "vm1"), (15, "vm1")}


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", "[" * 100_000, '{"version": 1}', " " * (1 << 19), "\xff"]
)
def test_threat_72_what_is_no_ledger_is_refused_and_kept(root: str, text: str) -> None:
    written(root)
    with open(page(root), "w") as file:
        file.write(text)
    refused(root)


FIELDS: list[dict[str, Any]] = [
    {"version": 2},
    {"version": True},
    {"version": 1.0},
    {"uid": 1502},
    {"uid": "1501"},
    {"vm": "web2"},
    {"job": None},
    {"job": "a/b"},
    {"records": {}},
    {"records": [1]},
]


@pytest.mark.parametrize("changed", FIELDS, ids=str)
def test_threat_72_a_field_of_another_form_is_refused(root: str, changed: dict[str, Any]) -> None:
    written(root, **changed)
    refused(root)


RECORDS = [
    TAP._replace(name="../eth0"),
    TAP._replace(name="all"),
    TAP._replace(name="vm-a\n"),
    TAP._replace(kind="link"),
    TAP._replace(number=-1),
    TAP._replace(number=1 << 63),
    TAP._replace(number=True),
    TAP._replace(tag=""),
    TAP._replace(tag=f"vmman:1502:{NONCE}"),
    TAP._replace(tag="vmman:1501:0123456789ABCDEF"),
    TAP._replace(target="br0 "),
    TAP._replace(former="eth0"),
    MACVTAP._replace(target=""),
    MACVTAP._replace(mac="ff:ff:ff:ff:ff:ff"),
    NODE._replace(name="/etc/shadow"),
    NODE._replace(name="/dev/../etc/shadow"),
    NODE._replace(former="0:0"),
    PCI._replace(former="../../x"),
    PCI._replace(name="01:00.0"),
]


def table(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record._asdict().items() if key != "more"}


def test_unknown_keys_are_kept(root: str) -> None:
    written(root, later=1, records=[table(TAP) | {"later": 2}])
    ledger = Ledger(1501, "web", root)
    ledger.write([*ledger.records, NODE])
    with open(page(root)) as file:
        content = json.load(file)
    assert content["later"] == 1
    assert [record.get("later") for record in content["records"]] == [2, None]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_threat_72_a_record_of_another_form_is_refused(root: str, record: Record) -> None:
    written(root, records=[table(record)])
    refused(root)


def test_threat_72_a_thing_that_is_recorded_twice_is_refused(root: str) -> None:
    written(root, records=[table(TAP), table(TAP)])
    refused(root)


def test_threat_72_what_could_not_be_read_again_is_not_written(root: str) -> None:
    with pytest.raises(ValueError, match=None):
        Ledger(1501, "web", root).write([NODE._replace(name="/etc/shadow")])
    assert not os.path.exists(root)


def test_threat_72_a_symlink_a_fifo_and_a_readable_file_are_refused(root: str) -> None:
    written(root)
    os.chmod(page(root), 0o640)
    refused(root)
    os.chmod(page(root), 0o600)
    os.rename(page(root), f"{root}/there")
    os.symlink(f"{root}/there", page(root))
    refused(root)
    os.unlink(page(root))
    os.mkfifo(page(root), 0o600)
    refused(root)


@pytest.mark.parametrize("folder", ["", "/1501"])
def test_threat_72_a_folder_that_others_can_enter_is_refused(root: str, folder: str) -> None:
    written(root)
    os.chmod(root + folder, 0o755)  # noqa: S103  # what is tested
    refused(root)


def test_threat_72_a_folder_that_is_a_symlink_is_refused(root: str) -> None:
    written(root)
    os.rename(f"{root}/1501", f"{root}/elsewhere")
    os.symlink(f"{root}/elsewhere", f"{root}/1501")
    refused(root)


@pytest.mark.root
@pytest.mark.parametrize("path", ["", "/1501", "/1501/web.json"])
def test_threat_72_what_a_user_owns_is_refused(root: str, path: str) -> None:
    written(root)
    os.chown(root + path, 1501, -1)
    refused(root)


def held(root: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    argv = [sys.executable, "-B", "-c", HOLDER, root]
    holder = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def test_threat_73_whoever_comes_second_waits_and_gives_up_in_time(root: str) -> None:
    with held(root) as holder:
        start = time.monotonic()
        with pytest.raises(InitError) as told, lock(0.2, root):
            pass
        assert told.value.status == os.EX_TEMPFAIL
        assert 0.15 < time.monotonic() - start < 5
        holder.communicate("\n", timeout=10)
    with lock(0.2, root):
        pass


def test_threat_73_whoever_waits_is_woken_when_the_first_is_killed(root: str) -> None:
    with held(root) as holder:
        killer = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; time.sleep(0.3); os.kill({holder.pid}, 9)"]
        )
        with lock(20, root):
            assert holder.wait(10) == -9
        killer.wait(10)


@pytest.mark.root
def test_threat_73_a_user_cannot_take_the_lock(root: str) -> None:
    with lock(1, root):
        pass
    os.chmod(os.path.dirname(root), 0o711)  # noqa: S103  # the way to it is open
    code = f"import os; os.setuid(1501); os.open({root + '/lock'!r}, os.O_RDONLY)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )
    assert "PermissionError" in done.stderr


def test_threat_73_a_lock_that_is_a_symlink_is_refused(root: str) -> None:
    os.mkdir(root, 0o700)
    os.symlink("/dev/null", f"{root}/lock")
    with pytest.raises(OSError, match="symbolic"), lock(1, root):
        pass
