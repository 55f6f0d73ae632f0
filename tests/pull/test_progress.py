"""What a person sees of a pull: a bar on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.pull.server import Reply, serve
from tests.pull.whole import DISK, HOUSE, Puller, virtualbox_box
from vm_pull.progress import Bar, Lines, Silence, counted, progress

MIB = 1 << 20


def test_without_a_terminal_there_are_lines_and_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=False) as shown:
        assert isinstance(shown, Lines)
        shown.begin("fetching x", 400 * MIB)
        for block in counted([bytes(MIB)] * 200, shown):
            assert len(block) == MIB
        shown.say("decoding \x1b[31mdisk")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "vm-pull: fetching x, 400 MiB"
    assert [line.split()[1:3] for line in lines[1:-1]] == [
        [str(tenth), "%"] for tenth in (10, 20, 30, 40, 50)
    ]
    assert lines[-1] == r"vm-pull: decoding \x1b[31mdisk"


def test_a_total_that_nobody_knows_is_counted_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Lines()
    shown.begin("fetching x", 0)
    shown.advance(40 * MIB)
    assert capsys.readouterr().err == "vm-pull: fetching x\nvm-pull:   40 MiB\n"


def test_quiet_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as shown:
        assert isinstance(shown, Silence)
        shown.begin("x", 1)
        shown.advance(1)
        shown.say("x")
    assert capsys.readouterr() == ("", "")


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open("w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
    shown = Lines()
    shown.say("nobody hears it")
    assert closed.closed


def test_a_bar_begins_anew_for_each_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with Bar() as shown:
        shown.advance(1)  # before there is anything to count
        shown.begin("first", 10)
        shown.begin("second", 20)
        shown.advance(20)
        (task,) = shown._rich.tasks  # pyright: ignore[reportPrivateUsage]
        assert (task.description, task.completed, task.total) == ("second", 20, 20)


def on_a_terminal(user: Puller, held: threading.Event) -> str:
    """What a terminal of 100 columns gets to see of a pull that is held for a moment."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vm_pull", "user/box"],
        env=env | user.environment, cwd=user.folder,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the last one has closed it
            break
        if b"/s" in seen:
            held.set()
    os.close(ours)
    assert process.wait(60) == 0, seen.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_a_terminal_gets_one_bar_with_rate_and_what_is_done(tmp_path: Path) -> None:
    with serve() as server:
        user = Puller(tmp_path, server)
        box = virtualbox_box(os.urandom(2 * MIB) + DISK)
        user.offer(box, "virtualbox")
        held = threading.Event()
        reply = Reply(200, box, {"ETag": '"x"'}, drip=len(box) // 2, gate=held)
        server.at("/files/a.box", reply)
        seen = on_a_terminal(user, held)
    assert re.search(r"from http://127\.0\.0\.1:\d+/files/a\.box", seen)
    assert "fetching user/box 1.0" in seen
    assert re.search(r"[0-9.]+ [KM]?i?B/s", seen)
    assert "vm-pull: decoding box-disk001.vmdk" in seen
    assert "next: vm-run box --detach" in seen
