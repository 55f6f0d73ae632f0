"""The parts of vm-console: keys, history, typing, ports; and what it says without a guest."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.home import Home
from tests.person import Person
from vm_console.__main__ import main
from vm_console.attach import parse_escape
from vm_console.connection import Connection
from vm_console.log import Tail, remove_queries
from vm_spec import VmError
from vm_state import statedir
from vm_state.lock import Lock, lock_path
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import write_record


@pytest.mark.parametrize(
    ("text", "byte", "shown"),
    [
        ("^]", b"\x1d", "Ctrl-]"),
        ("^a", b"\x01", "Ctrl-A"),
        ("^@", b"\0", "Ctrl-@"),
        ("~", b"~", "~"),
        ("^", b"^", "^"),
        ("\x1d", b"\x1d", "Ctrl-]"),
        ("none", b"", ""),
    ],
)
def test_the_key_that_leaves(text: str, byte: bytes, shown: str) -> None:
    assert parse_escape(text) == (byte, shown)


@pytest.mark.parametrize("text", ["", "^é", "é", "ab", "^1", "NONE"])
def test_what_is_no_key_is_64(text: str) -> None:
    with pytest.raises(VmError, match="is not a key") as caught:
        parse_escape(text)
    assert caught.value.status == 64


@pytest.mark.parametrize(
    "question",
    [b"\x1b[6n", b"\x1b[c", b"\x1b[>0c", b"\x1b[?25$p", b"\x1bZ", b"\x1b]11;?\x07",
     b"\x1b]10;?\x1b\\", b"\x1bP+q544e\x1b\\", b"\x05"],
)  # fmt: skip
def test_what_a_guest_asked_of_a_terminal_long_ago_is_not_asked_again(question: bytes) -> None:
    assert remove_queries(b"/ # " + question + b"ls") == b"/ # ls"


@pytest.mark.parametrize(
    "kept", [b"\x1b[31mred\x1b[0m", b"\x1b[2J\x1b[H", b"\x1b]0;title\x07", b"[6n", "é".encode()]
)
def test_what_a_guest_shows_is_kept(kept: bytes) -> None:
    assert remove_queries(kept) == kept


def all_of(tail: Tail) -> bytes:
    text = b""
    while chunk := tail.read()[0]:
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


def finish(bursts: Connection, until: Callable[[], bool]) -> None:
    while not until():
        poll = select.poll()
        fd = bursts.register(poll)
        assert fd >= 0
        ready = dict(poll.poll(10_000))
        assert ready
        bursts.exchange(ready[fd])


def test_each_burst_is_a_connection_that_ends_when_all_of_it_was_read(port: Port) -> None:
    first, second = (
        Connection(str(port.path), pytest.fail, bursts=True),
        Connection(str(port.path), pytest.fail, bursts=True),
    )
    first.send(b"a" * 100_000)
    second.send(b"b")
    thread = port.serves(2)
    finish(first, lambda: first.is_idle)
    finish(second, lambda: second.is_idle)
    thread.join(10)
    assert port.clients == [b"a" * 100_000, b"b"]


def test_what_is_typed_while_a_burst_ends_is_the_next_one(port: Port) -> None:
    bursts = Connection(str(port.path), pytest.fail, bursts=True)
    bursts.send(b"one")
    finish(bursts, lambda: not bursts.pending)
    bursts.send(b"two")
    thread = port.serves(2)
    finish(bursts, lambda: bursts.is_idle)
    thread.join(10)
    assert port.clients == [b"one", b"two"]


def test_input_for_a_guest_that_is_not_there_is_lost_and_reported_once(tmp_path: Path) -> None:
    losses: list[str] = []
    connection = Connection(str(tmp_path / "com1.sock"), lambda: losses.append("lost"), bursts=True)
    for _ in range(2):
        connection.send(b"x")
        assert connection.is_idle
    assert losses == ["lost"]


def running(pid: int, *ports: dict[str, str]) -> None:
    write_record(
        statedir.make("vm"),
        {"pid": pid, "started_at": started_at(pid), "boot_id": boot_id(),
         "consoles": list(ports)},
    )  # fmt: skip


def test_a_null_modem_is_read_and_typed_to(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    master, slave = pty.openpty()  # the nearest thing here to nmdm(4)
    tty.setraw(slave)
    running(
        sleeper.pid,
        {"name": "com1", "kind": "nmdm", "log": "", "to": os.ttyname(slave)},
    )
    person = Person(home.vm, "vm_console", "vm")
    try:
        person.reads(b"Ctrl-] detaches")
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
    home: Home, capsys: pytest.CaptureFixture[str], sleeper: subprocess.Popen[bytes]
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
    running(sleeper.pid)
    assert said(capsys, "vm")[0] == 66
    two = [{"name": name, "kind": "virtio", "log": "", "to": "/no"} for name in ("a", "b")]
    running(sleeper.pid, *two)
    assert said(capsys, "vm") == (
        64, "vm-console: vm has several consoles\n  hint: name one: a, b\n",
    )  # fmt: skip
    assert said(capsys, "vm", "b") == (
        74, "vm-console: /no cannot be opened: No such file or directory\n",
    )  # fmt: skip


def test_a_vm_on_another_host_is_75(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.vm.describe("")
    path = lock_path(str(home.vm.file))
    taken = Lock.take(path, "vm")
    Path(path).write_text('{"host": "far", "pid": 7, "boot_id": "x"}')
    status, err = said(capsys, "vm")
    taken.release()
    assert (status, err) == (
        75, "vm-console: vm runs on far (pid 7)\n  hint: on far, run: vm-console vm\n",
    )  # fmt: skip


def test_a_reader_that_has_enough_is_no_bug(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    log = Path(statedir.make("vm")) / "console.log"
    log.write_bytes(b"y\n" * 200_000)
    running(sleeper.pid, {"name": "com1", "kind": "stdio", "log": str(log), "to": ""})
    script = f"{sys.executable} -m vm_console.__main__ vm </dev/null | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}"], env=home.vm.environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "y\n141\n"
    assert "Traceback" not in done.stderr
