"""Pulls that are interrupted, killed, crowded out or doubled: nothing half, nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pull import boxes, virtualbox
from tests.pull.server import File, Reply, Seen, serve
from tests.pull.whole import DISK, HOUSE, Puller, libvirt_box, qcow2, sha256, virtualbox_box

END_S = 60
MIB = 1 << 20


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Puller]:
    with serve() as server:
        yield Puller(tmp_path, server)


class Held:
    """A box of which a part comes, and the rest when a test says so."""

    def __init__(self, user: Puller, box: bytes, part: int) -> None:
        self.came = threading.Event()
        self.gate = threading.Event()
        self.reply = Reply(200, box, {"ETag": '"x"'}, drip=part, gate=self.gate)
        user.offer(box)
        user.server.at("/files/a.box", self._answer)

    def _answer(self, _: Seen) -> Reply:
        self.came.set()
        return self.reply


def room_with_a_disk(user: Puller) -> Path:
    """Waits until a pull writes a disk, and gives it."""
    room = user.vms / ".box.pull"
    deadline = threading.Event()
    for _ in range(END_S * 50):
        if (room / "disk0").exists():
            return room / "disk0"
        deadline.wait(0.02)
    raise AssertionError(user.said())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kind", ["virtualbox", "libvirt"])
def test_threat_b21_interrupted_while_it_fetches_it_leaves_nothing(
    user: Puller, number: signal.Signals, kind: str
) -> None:
    big = boxes.boot_disk(4 * MIB, os.urandom(4096))
    disk = os.urandom(2 * MIB) + big
    box = virtualbox_box(disk) if kind == "virtualbox" else libvirt_box(qcow2(user.folder, disk))
    held = Held(user, box, len(box) - 4096)
    process = user.start("user/box")
    room_with_a_disk(user)
    process.send_signal(number)
    assert process.wait(END_S) == 130, user.said()
    held.gate.set()
    assert user.names() == []
    assert "Traceback" not in user.said()


LOST = """
import os, select, signal, sys, weakref
from vm_pull import __main__ as command

class Thing: pass

set_timer = signal.setitimer
def set_slowly(which, *seconds):
    set_timer(which, *seconds)
    if seconds[0]:
        select.select([], [], [], 5 * seconds[0])  # a busy machine: the timer is faster than us

if sys.argv[2:]:
    signal.setitimer = set_slowly

def pulls(argv):
    thing = Thing()
    kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.Signals[argv[0]]))
    del thing
    select.select([], [], [], 20)
    return 0

command._main = pulls
command.entry()
"""


@pytest.mark.parametrize("words", [["SIGINT"], ["SIGTERM"], ["SIGHUP"], ["SIGTERM", "busy"]])
def test_threat_b21_an_interrupt_that_python_drops_is_raised_again(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST, *words], cwd=HOUSE, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_threat_b21_killed_hard_it_leaves_what_the_next_sweeps(user: Puller) -> None:
    box = libvirt_box(qcow2(user.folder, os.urandom(2 * MIB) + DISK))
    held = Held(user, box, len(box) - 4096)
    process = user.start("user/box")
    room_with_a_disk(user)
    process.kill()
    process.wait(END_S)
    held.gate.set()
    assert user.names() == [".box.pull"]
    user.offer(libvirt_box(qcow2(user.folder, DISK)))
    assert user.start("user/box").wait(END_S) == 0, user.said()
    assert user.names() == ["box.qcow2", "box.toml"]


def test_threat_b20_two_at_once_of_one_name(user: Puller) -> None:
    box = virtualbox_box(os.urandom(2 * MIB) + DISK)
    held = Held(user, box, len(box) - 4096)
    first = user.start("user/box")
    room_with_a_disk(user)
    second = user.start("user/box")
    assert second.wait(END_S) == 75, user.said()
    assert "another vm-pull" in user.said()
    held.gate.set()
    assert first.wait(END_S) == 0
    assert user.names() == ["box.img", "box.toml"]


def test_many_at_once_of_other_names_get_ports_of_their_own(user: Puller) -> None:
    user.offer(virtualbox_box(DISK), "virtualbox")
    running = [user.start("user/box", "--name", f"vm{number}") for number in range(4)]
    assert [process.wait(END_S) for process in running] == [0] * 4
    texts = [(user.vms / f"vm{number}.toml").read_text() for number in range(4)]
    ports = {line for text in texts for line in text.splitlines() if line.startswith("forward")}
    assert len(ports) == 4


def test_threat_b21_a_file_that_may_not_grow_is_a_fault(user: Puller) -> None:
    if shutil.which("prlimit") is None:
        pytest.fail("prlimit (util-linux) is missing")
    disk = os.urandom(4 * MIB)
    user.offer(virtualbox_box(disk), "virtualbox")
    process = user.start("user/box")
    assert process.wait(END_S) == 0
    with (user.folder / "said").open("w") as said:
        limited = subprocess.run(
            ["prlimit", f"--fsize={MIB}", *map(str, process.args), "--force"],  # type: ignore[arg-type]
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **user.environment},
            stdout=said, stderr=said, check=False, timeout=END_S,
        )  # fmt: skip
    assert limited.returncode in (69, 74), user.said()
    assert "Traceback" not in user.said()
    assert (user.vms / "box.img").read_bytes() == disk


@pytest.mark.root
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_threat_b21_a_full_disk_is_a_fault_and_leaves_nothing(user: Puller, form: str) -> None:
    user.offer(libvirt_box(qcow2(user.folder, os.urandom(8 * MIB))))
    user.vms.mkdir()
    script = (
        'mount -t tmpfs -o size=6m tmpfs "$1" && shift && "$@"; s=$?; ls -A "$VMCONF_DIR"; exit $s'
    )
    words = ["unshare", "-m", "sh", "-c", script, "sh", str(user.vms)]
    pull = [sys.executable, "-m", "vm_pull", "user/box", "--format", form]
    done = subprocess.run(
        [*words, *pull], check=False, timeout=END_S, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **user.environment},
    )  # fmt: skip
    assert done.returncode in (69, 74), done.stderr
    assert "space" in done.stderr or "free" in done.stderr
    assert done.stdout.split() == []


PEAK = """
import re, sys
from vm_pull.__main__ import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print(int(re.search(r"VmHWM:\\s+([0-9]+) kB", file.read())[1]) * 1024)
sys.exit(status)
"""


@pytest.mark.root
def test_a_streamed_box_takes_no_space_beside_its_result(user: Puller) -> None:
    disk = os.urandom(8 * MIB)
    user.offer(virtualbox_box(disk), "virtualbox")
    user.vms.mkdir()
    script = 'mount -t tmpfs -o size=9m tmpfs "$1"; shift; "$@" && sha256sum "$VMCONF_DIR/box.img"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", str(user.vms), sys.executable, "-m", "vm_pull",
         "user/box", "--quiet"], check=False, timeout=END_S, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **user.environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == sha256(disk)


def peak(user: Puller, *words: str) -> int:
    """Bytes that one pull has at most in memory."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words, "--quiet"], check=False, timeout=END_S,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **user.environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_disk(user: Puller) -> None:
    grain = os.urandom(65536)
    for name, size, count in (("small", 256 * MIB, 16), ("large", 64 << 30, 1600)):
        step = size // 65536 // count
        grains = [(number * step, grain) for number in range(count)]
        target = user.folder / f"{name}.vmdk"
        virtualbox.write(target, size, iter(grains))
        archive = boxes.packed(
            boxes.tar(
                boxes.file("box-disk001.vmdk", target.read_bytes()),
                boxes.file("box.ovf", ovf()),
                boxes.file("metadata.json", b'{"provider": "virtualbox"}'),
            ),
            "gzip",
        )
        user.server.at(f"/{name}.box", File(archive))
    url = user.server.url
    small, large = (peak(user, f"{url}/{name}.box") for name in ("small", "large"))
    assert (user.vms / "large.img").stat().st_size == 64 << 30
    assert large < small + 16 * MIB
    assert large < 96 * MIB, large


def ovf() -> bytes:
    from tests.pull import ovfs

    return ovfs.ovf()
