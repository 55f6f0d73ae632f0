"""The logs of consoles, which vm-run bounds, and the record of where the consoles are."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_console.log import Tail
from vm_run import logs
from vm_run.consoles import list_consoles
from vm_spec import Machine
from vm_spec.devices import ConsolePort, VirtioConsole
from vm_spec.frozen import replace
from vm_spec.machine import Com
from vm_spec.types import FilePath, Label, VmName
from vm_state.file_watch import FileWatch


def all_of(tail: Tail) -> bytes:
    output = b""
    while chunk := tail.read()[0]:
        output += chunk
    return output


def test_a_log_that_grows_too_big_gives_its_oldest_part_back_under_its_readers(
    tmp_path: Path,
) -> None:
    log = tmp_path / "console.log"
    lines = [b"%07d\n" % number for number in range(1 << 17)]  # a mebibyte
    log.write_bytes(b"".join(lines))
    early = Tail(str(log))
    early.read()
    assert not logs.cut(str(log), 2 << 20, 1 << 19)
    with log.open("ab") as writer:
        assert logs.cut(str(log), 1 << 19, 1 << 18)
        assert log.stat().st_blocks * 512 < 1 << 19
        writer.write(b"more\n")
    late = Tail(str(log))
    assert late.is_cut
    text = all_of(late)
    assert text.endswith(b"0131071\nmore\n")
    assert 200_000 < len(text) < 1 << 19
    assert text.split(b"\n")[0] + b"\n" in lines  # it begins with a line
    assert b"\0" not in all_of(early)
    late.close()
    early.close()


def test_a_log_that_is_a_link_is_not_cut(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_bytes(b"x" * (1 << 20))
    (tmp_path / "console.log").symlink_to(target)
    assert not logs.cut(str(tmp_path / "console.log"), 1 << 10, 1)
    assert target.stat().st_blocks * 512 >= 1 << 20


@pytest.fixture
def wakeup() -> Iterator[int]:
    """What becomes readable when a signal comes."""
    read, write = os.pipe2(os.O_NONBLOCK)
    former = signal.set_wakeup_fd(write)
    yield read
    signal.set_wakeup_fd(former)
    os.close(read)
    os.close(write)


def test_growth_is_told_once_each_time_it_is_asked_for(tmp_path: Path, wakeup: int) -> None:
    log = tmp_path / "console.log"
    log.touch()
    told: list[int] = []
    growth = FileWatch(str(log), lambda: told.append(1))
    for times in (1, 2):
        growth.arm()
        with log.open("ab") as file:
            file.write(b"x")
            file.flush()
            assert select.select([wakeup], [], [], 10)[0]
            os.read(wakeup, 99)
            file.write(b"y")
        assert len(told) == times
    growth.close()


def due(kept: logs.Logs) -> float | None:
    return kept.check_at


def test_the_supervisor_looks_at_logs_only_after_they_have_changed(
    tmp_path: Path, wakeup: int
) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * (1 << 20))
    kept = logs.Logs(str(tmp_path), most=1 << 19, kept=1 << 18)
    assert due(kept) is None
    with log.open("ab") as file:
        file.write(b"y")
    assert select.select([wakeup], [], [], 10)[0]
    at = due(kept)
    assert at is not None
    kept.act(at - 1)
    assert log.stat().st_blocks * 512 >= 1 << 20
    kept.act(at)
    assert log.stat().st_blocks * 512 < 1 << 19
    kept.close()


def machine(**coms: str) -> Machine:
    ports = VirtioConsole(
        label=Label("v"), ports=(ConsolePort(name=Label("agent"), path=FilePath("a.sock")),)
    )
    made = Machine(name=VmName("web"), emulations=(ports,))
    return replace(made, **{key: Com(com) for key, com in coms.items()})


@pytest.mark.parametrize(
    ("kind", "com", "attached", "expected"),
    [
        ("qemu", "socket", True, ("socket", "/s/console.log", "/s/com1.sock")),
        ("qemu", "stdio", True, ("stdio", "/s/console.log", "")),
        ("qemu", "stdio", False, ("socket", "/s/console.log", "/s/com1.sock")),
        ("qemu", "/dev/ttyS1", True, ("device", "/s/console.log", "")),
        ("bhyve", "socket", True, ("nmdm", "", "/dev/nmdm-web.1B")),
        ("bhyve", "nmdm", True, ("nmdm", "", "/dev/nmdm-web.1B")),
        ("bhyve", "stdio", False, ("nmdm", "", "/dev/nmdm-web.1B")),
        ("bhyve", "stdio", True, ("stdio", "", "")),
        ("bhyve", "/dev/nmdm7A", True, ("nmdm", "", "/dev/nmdm7B")),
        ("bhyve", "/dev/cuau0", True, ("device", "", "")),
    ],
)
def test_where_the_consoles_of_a_guest_are(
    kind: str, com: str, attached: bool, expected: tuple[str, str, str]
) -> None:
    serial, virtio = list_consoles(machine(com1=com), kind, "/s", attached=attached)
    assert (serial["kind"], serial["log"], serial["to"]) == expected
    assert (virtio["name"], virtio["to"]) == ("agent", f"{os.getcwd()}/a.sock")


def test_the_other_ports_have_logs_of_their_own() -> None:
    found = list_consoles(machine(com2="socket"), "qemu", "/s", attached=True)[0]
    assert found == {
        "name": "com2", "kind": "socket", "log": "/s/com2.log", "to": "/s/com2.sock",
    }  # fmt: skip
