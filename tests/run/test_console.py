"""The parts of vm-console: keys, history, typing, ports; and what it says without a guest."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.run.home import Home
from tests.run.person import Person
from vm_console.__main__ import main
from vm_console.keys import escape
from vm_console.log import Tail, quiet
from vm_console.typing import Bursts
from vm_run import logs
from vm_run.record import consoles
from vm_spec import Machine, VmError
from vm_spec.devices import ConsolePort, VirtioConsole
from vm_spec.frozen import replace
from vm_spec.machine import Com
from vm_spec.types import FilePath, Label, VmName
from vm_state import statedir
from vm_state.file_watch import Growth
from vm_state.process import started_at


@pytest.mark.parametrize(
    ("text", "byte", "shown"),
    [
        ("^]", b"\x1d", "Ctrl-]"),
        ("^a", b"\x01", "Ctrl-A"),
        ("^@", b"\0", "Ctrl-@"),
        ("~", b"~", "~"),
        ("\x1d", b"\x1d", "Ctrl-]"),
        ("none", b"", ""),
    ],
)
def test_the_key_that_leaves(text: str, byte: bytes, shown: str) -> None:
    assert (escape(text).byte, escape(text).shown) == (byte, shown)


@pytest.mark.parametrize("text", ["", "^", "^é", "é", "ab", "^1", "NONE"])
def test_what_is_no_key_is_64(text: str) -> None:
    if text == "^":  # the character itself
        assert escape(text).byte == b"^"
        return
    with pytest.raises(VmError, match="is no key to leave by") as caught:
        escape(text)
    assert caught.value.status == 64


def test_what_stands_before_the_key_is_typed_and_what_follows_is_not() -> None:
    assert escape("^]").split(b"ab\x1dcd") == (b"ab", True)
    assert escape("^]").split(b"abcd") == (b"abcd", False)
    assert escape("none").split(b"a\x1d") == (b"a\x1d", False)


@pytest.mark.parametrize(
    "question",
    [b"\x1b[6n", b"\x1b[c", b"\x1b[>0c", b"\x1b[?25$p", b"\x1bZ", b"\x1b]11;?\x07",
     b"\x1b]10;?\x1b\\", b"\x1bP+q544e\x1b\\", b"\x05"],
)  # fmt: skip
def test_what_a_guest_asked_of_a_terminal_long_ago_is_not_asked_again(question: bytes) -> None:
    assert quiet(b"/ # " + question + b"ls") == b"/ # ls"


@pytest.mark.parametrize(
    "kept", [b"\x1b[31mred\x1b[0m", b"\x1b[2J\x1b[H", b"\x1b]0;title\x07", b"[6n", "é".encode()]
)
def test_what_a_guest_shows_is_kept(kept: bytes) -> None:
    assert quiet(kept) == kept


def all_of(tail: Tail) -> bytes:
    text = b""
    while chunk := tail.read():
        text += chunk
    return text


def test_a_log_is_read_from_its_beginning_and_as_it_grows(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"one\ntwo\n")
    tail = Tail(str(log))
    assert all_of(tail) == b"one\ntwo\n"
    with log.open("ab") as file:
        file.write(b"three")
    assert all_of(tail) == b"three"
    assert all_of(tail) == b""
    tail.close()


@pytest.mark.parametrize("end", [b"\n", b"$ "])
@pytest.mark.parametrize(("lines", "shown"), [(0, 0), (1, 1), (2, 2), (9, 3)])
def test_only_the_last_lines_are_shown_if_one_says_so(
    tmp_path: Path, lines: int, shown: int, end: bytes
) -> None:
    log = tmp_path / "console.log"
    every = [b"one\n", b"two\n", b"three" + end]
    log.write_bytes(b"".join(every))
    tail = Tail(str(log), lines)
    assert all_of(tail) == b"".join(every[3 - shown :])
    tail.close()


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
    growth = Growth(str(log), lambda: told.append(1))
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
    return kept.look_at


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


class Port:
    """A serial port's socket that takes one client at a time, as QEMU's does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.listener.settimeout(10)
        self.clients: list[bytes] = []

    def serves(self, clients: int) -> threading.Thread:
        """Takes so many clients, each to its end, and greets them."""

        def serve() -> None:
            for _ in range(clients):
                client, _ = self.listener.accept()
                with client, client.makefile("rb") as sent:
                    client.sendall(b"noise")
                    self.clients.append(sent.read())

        thread = threading.Thread(target=serve)
        thread.start()
        return thread


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path / "com1.sock")
    yield made
    made.listener.close()


def finish(bursts: Bursts, until: Callable[[], bool]) -> None:
    while not until():
        poll = select.poll()
        fd = bursts.register(poll)
        assert fd >= 0
        ready = dict(poll.poll(10_000))
        assert ready
        bursts.act(ready[fd])


def test_each_burst_is_a_connection_that_ends_when_all_of_it_was_read(port: Port) -> None:
    first, second = Bursts(str(port.path)), Bursts(str(port.path))
    first.type(b"a" * 100_000)
    second.type(b"b")
    thread = port.serves(2)
    finish(first, lambda: first.is_idle)
    finish(second, lambda: second.is_idle)
    thread.join(10)
    assert port.clients == [b"a" * 100_000, b"b"]


def test_what_is_typed_while_a_burst_ends_is_the_next_one(port: Port) -> None:
    bursts = Bursts(str(port.path))
    bursts.type(b"one")
    finish(bursts, lambda: not bursts.pending)
    bursts.type(b"two")
    thread = port.serves(2)
    finish(bursts, lambda: bursts.is_idle)
    thread.join(10)
    assert port.clients == [b"one", b"two"]


def test_keys_for_a_guest_that_is_not_there_are_lost_and_told_of(tmp_path: Path) -> None:
    bursts = Bursts(str(tmp_path / "com1.sock"))
    bursts.type(b"x")
    assert bursts.lost
    assert bursts.is_idle


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
    serial, virtio = consoles(machine(com1=com), kind, "/s", attached=attached)
    assert (serial["kind"], serial["log"], serial["to"]) == expected
    assert (virtio["name"], virtio["to"]) == ("agent", f"{os.getcwd()}/a.sock")


def test_the_other_ports_have_logs_of_their_own() -> None:
    found = consoles(machine(com2="socket"), "qemu", "/s", attached=True)[0]
    assert found == {
        "name": "com2", "kind": "socket", "log": "/s/com2.log", "to": "/s/com2.sock",
    }  # fmt: skip


@pytest.fixture
def guest_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a hypervisor."""
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def running(pid: int, *ports: dict[str, str]) -> None:
    statedir.write(
        statedir.make_folder("vm"),
        {"pid": pid, "started_at": started_at(pid), "boot_id": statedir.boot_id(),
         "consoles": list(ports)},
    )  # fmt: skip


def test_a_null_modem_is_read_and_typed_to(
    home: Home, guest_process: subprocess.Popen[bytes]
) -> None:
    master, slave = pty.openpty()  # the nearest thing here to nmdm(4)
    tty.setraw(slave)
    running(
        guest_process.pid,
        {"name": "com1", "kind": "nmdm", "log": "", "to": os.ttyname(slave)},
    )
    person = Person(home.vm, "vm_console", "vm")
    try:
        person.reads(b"Ctrl-] leaves")
        os.write(master, b"login: ")
        person.reads(b"login: ")
        person.types(b"root\r")
        assert select.select([master], [], [], 10)[0]
        assert os.read(master, 99) == b"root\r"
        person.types(b"\x1d")
        assert person.leaves() == 0
    finally:
        person.goes()
        os.close(master)
        os.close(slave)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    return main(list(words)), capsys.readouterr().err


def test_what_is_wrong_has_its_status(
    home: Home, capsys: pytest.CaptureFixture[str], guest_process: subprocess.Popen[bytes]
) -> None:
    home.vm.describe("")
    assert said(capsys) == (
        64, "vm-console: the name of a VM is missing\n  hint: vm-console --help\n",
    )  # fmt: skip
    assert said(capsys, "../vm")[0] == 64
    assert said(capsys, "-n", "x", "vm")[0] == 64
    assert said(capsys, "-e", "abc", "vm")[0] == 64
    assert said(capsys, "wm")[0] == 66
    assert said(capsys, "vm") == (
        69, "vm-console: vm is not running\n  hint: start it: vm-run --detach vm\n",
    )  # fmt: skip
    running(guest_process.pid)
    assert said(capsys, "vm")[0] == 66
    two = [{"name": name, "kind": "virtio", "log": "", "to": "/no"} for name in ("a", "b")]
    running(guest_process.pid, *two)
    assert said(capsys, "vm") == (
        64, "vm-console: vm has several consoles\n  hint: say which: a, b\n",
    )  # fmt: skip
    assert said(capsys, "vm", "b") == (
        74, "vm-console: /no cannot be opened: No such file or directory\n",
    )  # fmt: skip


def test_a_vm_on_another_host_is_75(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.vm.describe("")
    path = statedir.lock_path(str(home.vm.file))
    taken = statedir.Lock.take(path, "vm")
    Path(path).write_text('{"host": "far", "pid": 7, "boot_id": "x"}')
    status, err = said(capsys, "vm")
    taken.release()
    assert (status, err) == (
        75, "vm-console: vm runs on far (pid 7)\n  hint: there: vm-console vm\n",
    )  # fmt: skip


def test_a_reader_that_has_enough_is_no_bug(
    home: Home, guest_process: subprocess.Popen[bytes]
) -> None:
    log = Path(statedir.make_folder("vm")) / "console.log"
    log.write_bytes(b"y\n" * 200_000)
    running(guest_process.pid, {"name": "com1", "kind": "stdio", "log": str(log), "to": ""})
    script = f"{sys.executable} -m vm_console.__main__ vm </dev/null | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}"], env=home.vm.environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "y\n141\n"
    assert "Traceback" not in done.stderr
