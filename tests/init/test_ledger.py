"""The ledger: what is written, what is believed of it, and who waits for whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from vm_init.record import Record, alias

from vm_init.errors import InitError
from vm_init.ledger import Ledger, everything, lock

if TYPE_CHECKING:
    from pathlib import Path

NONCE = "0123456789abcdef"
TAP = Record("tap", "vm-a", nonce=NONCE, target="br0", tag=alias(NONCE, 1501, "web"))
NODE = Record("node", "/dev/x/y", number=7, target="1501", former="0:0:600")
PCI = Record("pci", "0000:01:00.0", number=3, target="1501", former="- 0:0:600")
MACVTAP = Record(
    "macvtap",
    "vm-m",
    nonce=NONCE,
    number=1 << 20,
    target="eth0",
    mac="02:00:00:00:00:01",
    tag=alias(NONCE, 1501, "web"),
)

HOLDER = """
import sys
from vm_init.ledger import lock
with lock(sys.argv[1], 5):
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
    Ledger.open(root, 1501, "web").intend(TAP)
    with open(page(root)) as file:
        content = json.load(file)
    with open(page(root), "w") as file:
        json.dump(content | changed, file)


def refused(root: str) -> None:
    """Refuses to read the ledger, says 78, and keeps it."""
    before = os.lstat(page(root))
    for act in (lambda: Ledger.open(root, 1501, "web"), lambda: list(everything(root))):
        with pytest.raises(InitError) as told:
            act()
        assert told.value.status == os.EX_CONFIG
    assert os.lstat(page(root)).st_ino == before.st_ino


def test_what_is_intended_done_and_forgotten_is_read_again(root: str) -> None:
    ledger = Ledger.open(root, 1501, "web")
    assert ledger.records == ()
    ledger.job = "4711"
    ledger.intend(TAP)
    ledger.intend(NODE, PCI, MACVTAP)
    assert Ledger.open(root, 1501, "web").records == (TAP, NODE, PCI, MACVTAP)
    ledger.done(TAP._replace(number=9))
    again = Ledger.open(root, 1501, "web")
    assert again.records[0] == TAP._replace(number=9, done=True)
    assert again.job == "4711"
    again.forget(PCI, NODE, MACVTAP)
    (book,) = everything(root)
    assert (book.uid, book.vm) == (1501, "web")
    assert book.records == (TAP._replace(number=9, done=True),)
    again.forget(TAP)
    assert os.listdir(root) == []
    assert list(everything(root)) == []


def test_nothing_is_made_by_looking(root: str) -> None:
    assert Ledger.open(root, 1501, "web").records == ()
    assert list(everything(root)) == []
    assert not os.path.exists(root)


def test_files_and_folders_are_roots_alone(root: str) -> None:
    Ledger.open(root, 1501, "web").intend(TAP)
    with lock(root, 1):
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

    def renamed(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        done.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    Ledger.open(root, 1501, "web").intend(TAP)
    assert done == ["file", "rename", "folder", "folder"]


def test_one_thing_is_recorded_once(root: str) -> None:
    ledger = Ledger.open(root, 1501, "web")
    ledger.intend(TAP)
    with pytest.raises(InitError):
        ledger.intend(TAP)


def test_a_leftover_of_a_kill_is_in_nobodys_way(root: str) -> None:
    Ledger.open(root, 1501, "web").intend(TAP)
    with open(f"{root}/1501/.web.json", "w") as file:
        file.write("{")
    ledger = Ledger.open(root, 1501, "web")
    assert [book.records for book in everything(root)] == [(TAP,)]
    ledger.forget(TAP)
    assert os.listdir(root) == []


def test_a_ledger_of_another_boot_is_empty_and_overwritten(root: str) -> None:
    written(root, boot="00000000-0000-0000-0000-000000000000")
    ledger = Ledger.open(root, 1501, "web")
    assert ledger.records == ()
    assert list(everything(root)) == []
    ledger.intend(NODE)
    assert Ledger.open(root, 1501, "web").records == (NODE,)


def test_threat_68_vms_are_told_apart_by_their_whole_name_and_user(root: str) -> None:
    for uid, vm in ((1501, "vm1"), (1501, "vm10"), (1502, "vm1"), (15, "vm1")):
        Ledger.open(root, uid, vm).intend(TAP._replace(tag=alias(NONCE, uid, vm)))
    ledger = Ledger.open(root, 1501, "vm1")
    ledger.forget(*ledger.records)
    left = {(book.uid, book.vm) for book in everything(root)}
    assert left == {(1501, "vm10"), (1502, "vm1"), (15, "vm1")}


@pytest.mark.parametrize("vm", ["", ".", "..", "bob/vm1", "../1502/vm1", "a\n", "a\0", "é", "-x"])
def test_threat_68_a_name_that_no_vm_has_is_refused(root: str, vm: str) -> None:
    with pytest.raises(InitError):
        Ledger.open(root, 1501, vm)
    assert not os.path.exists(root)


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
    {"boot": 1},
    {"job": None},
    {"job": "a b"},
    {"records": {}},
    {"records": [1]},
    {"more": 1},
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
    TAP._replace(nonce="0123456789ABCDEF"),
    TAP._replace(nonce=""),
    TAP._replace(number=-1),
    TAP._replace(number=1 << 31),
    TAP._replace(number=True),
    TAP._replace(done=cast("bool", 1)),
    TAP._replace(tag=""),
    TAP._replace(tag=alias(NONCE, 1502, "web")),
    TAP._replace(target="br0 "),
    TAP._replace(former="eth0"),
    MACVTAP._replace(target=""),
    MACVTAP._replace(mac="ff:ff:ff:ff:ff:ff"),
    NODE._replace(name="/etc/shadow"),
    NODE._replace(name="/dev/../etc/shadow"),
    NODE._replace(former="0:0"),
    NODE._replace(target="0"),
    NODE._replace(target="1502"),
    PCI._replace(former="../../x"),
    PCI._replace(name="01:00.0"),
]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_threat_72_a_record_of_another_form_is_refused(root: str, record: Record) -> None:
    written(root, records=[record._asdict()])
    refused(root)


def test_threat_72_a_thing_that_is_recorded_twice_is_refused(root: str) -> None:
    written(root, records=[TAP._asdict(), TAP._asdict()])
    refused(root)


def test_threat_72_what_could_not_be_read_again_is_not_written(root: str) -> None:
    with pytest.raises(InitError):
        Ledger.open(root, 1501, "web").intend(NODE._replace(name="/etc/shadow"))
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
        with pytest.raises(InitError) as told, lock(root, 0.2):
            pass
        assert told.value.status == os.EX_TEMPFAIL
        assert 0.15 < time.monotonic() - start < 5
        holder.communicate("\n", timeout=10)
    with lock(root, 0.2):
        pass


def test_threat_73_whoever_waits_is_woken_when_the_first_is_killed(root: str) -> None:
    with held(root) as holder:
        killer = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; time.sleep(0.3); os.kill({holder.pid}, 9)"]
        )
        with lock(root, 20):
            assert holder.wait(10) == -9
        killer.wait(10)


@pytest.mark.root
def test_threat_73_a_user_cannot_take_the_lock(root: str) -> None:
    with lock(root, 1):
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
    with pytest.raises(InitError) as told, lock(root, 1):
        pass
    assert told.value.status == os.EX_CONFIG
