"""The client of QMP, against a server that is a socket of our own."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm import LIMIT_S
from vm_spec.fault import VmError
from vm_state.qmp import Qmp

GREETING = b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n'


class Server:
    """The other end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.settimeout(LIMIT_S)
        self._threads: list[threading.Thread] = []

    def says(self, *messages: object) -> None:
        """Sends messages, each a line."""
        self.end.sendall(b"".join(json.dumps(m).encode() + b"\r\n" for m in messages))

    def hears(self) -> dict[str, Any]:
        """The next command."""
        command: dict[str, Any] = json.loads(self.end.recv(65536))
        return command

    def meanwhile(self, act: Callable[[], None]) -> None:
        """Acts while the client waits."""
        thread = threading.Thread(target=act)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """Goes away."""
        for thread in self._threads:
            thread.join(LIMIT_S)
        self.end.close()


@pytest.fixture
def pair() -> Iterator[tuple[Qmp, Server]]:
    ours, theirs = socket.socketpair()
    qmp, server = Qmp(ours), Server(theirs)
    yield qmp, server
    server.close()
    qmp.close()


def event(name: str) -> dict[str, Any]:
    return {"event": name, "data": {}, "timestamp": {}}


def names(qmp: Qmp) -> list[str]:
    return [told["event"] for told in qmp.events()]


def test_an_event_is_whole_however_it_was_split(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair
    line = json.dumps(event("RESUME")).encode() + b"\r\n"
    for at in range(len(line)):
        assert names(qmp) == []
        server.end.sendall(line[at : at + 1])
    assert names(qmp) == ["RESUME"]
    server.end.sendall(line * 3 + line[:5])
    assert names(qmp) == ["RESUME"] * 3
    server.end.sendall(line[5:])
    assert names(qmp) == ["RESUME"]


def test_events_around_an_answer_are_kept_in_order(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair

    def answer() -> None:
        asked = server.hears()
        server.says(event("STOP"), {"return": {"status": "paused"}, "id": asked["id"]})
        server.says(event("RESUME"))

    server.meanwhile(answer)
    assert qmp.execute("query-status") == {"status": "paused"}
    server.close()
    assert names(qmp) == ["STOP", "RESUME"]


def test_an_answer_to_what_was_only_told_is_nobody_elses(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair
    qmp.send("system_powerdown")
    assert server.hears() == {"execute": "system_powerdown"}
    server.end.sendall(GREETING)
    server.says({"return": {}}, {"error": {"class": "GenericError", "desc": "late"}})

    def answer() -> None:
        asked = server.hears()
        assert asked["arguments"] == {"value": 1}
        server.says({"return": {}}, {"return": "this one", "id": asked["id"]})

    server.meanwhile(answer)
    assert qmp.execute("balloon", value=1) == "this one"
    assert names(qmp) == []


def test_a_refusal_is_told_in_qemus_own_words(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair

    def answer() -> None:
        asked = server.hears()
        server.says({"error": {"class": "CommandNotFound", "desc": "no such"}, "id": asked["id"]})

    server.meanwhile(answer)
    with pytest.raises(VmError, match="QEMU refused nonsense: no such") as caught:
        qmp.execute("nonsense")
    assert caught.value.status == 70


def test_the_last_events_come_before_the_end(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair
    server.says(event("SHUTDOWN"))
    server.close()
    assert names(qmp) == ["SHUTDOWN"]
    with pytest.raises(EOFError):
        qmp.events()
    with pytest.raises(OSError, match=r"closed the connection|Broken pipe"):
        qmp.execute("query-status")


@pytest.mark.parametrize(
    "line", [b"x" * (3 << 20), b"{\n", b"[1]\n", b"\xff\n", b"[" * 9999 + b"\n"]
)
def test_a_server_that_speaks_no_qmp_is_one_that_has_gone(
    pair: tuple[Qmp, Server], line: bytes
) -> None:
    qmp, server = pair

    def flood() -> None:
        try:
            server.end.sendall(line)
        except OSError:
            pass

    server.meanwhile(flood)
    with pytest.raises(EOFError):
        while select.select([qmp.socket], [], [], LIMIT_S)[0]:
            qmp.events()
    qmp.close()


def test_no_answer_in_time_is_an_error_even_while_events_come(pair: tuple[Qmp, Server]) -> None:
    qmp, server = pair
    stop = threading.Event()

    def chatter() -> None:
        while not stop.wait(0.02):
            server.says(event("RTC_CHANGE"))

    server.meanwhile(chatter)
    with pytest.raises(TimeoutError):
        qmp.execute("query-status", timeout_s=0.3)
    stop.set()
    assert "RTC_CHANGE" in names(qmp)


REGISTERS = "CPU#0\nRIP=0 RFL={flags:08x} [-------] HLT={halted}\n"


@pytest.mark.parametrize(
    ("processors", "halted"),
    [
        ([(0x2, 1)], True),
        ([(0x202, 1)], False),
        ([(0x2, 0)], False),
        ([(0x2, 1), (0x202, 1)], False),
        ([(0x2, 1), (0x2, 0)], False),
        ([(0x2, 1), (0x46, 1)], True),
        ([], False),
    ],
)
def test_a_halted_guest_has_no_processor_that_can_wake(
    pair: tuple[Qmp, Server], processors: list[tuple[int, int]], halted: bool
) -> None:
    qmp, server = pair
    shown = "".join(REGISTERS.format(flags=flags, halted=hlt) for flags, hlt in processors)

    def answer() -> None:
        asked = server.hears()
        assert asked["arguments"] == {"command-line": "info registers -a"}
        server.says({"return": shown, "id": asked["id"]})

    server.meanwhile(answer)
    assert qmp.is_halted() is halted


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    path = str(tmp_path / "qmp.sock")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
        made.listen()
        yield path, made


def refusal(path: str, timeout_s: float = 5) -> str:
    with pytest.raises(VmError) as caught:
        Qmp.connect(path, timeout_s)
    assert caught.value.status == 75
    return caught.value.faults[0].problem


def test_a_connection_is_past_its_greeting(listener: tuple[str, socket.socket]) -> None:
    path, accepting = listener

    def serve() -> None:
        server = Server(accepting.accept()[0])
        server.end.sendall(GREETING)
        asked = server.hears()
        assert asked["execute"] == "qmp_capabilities"
        server.says({"return": {}, "id": asked["id"]}, event("RESUME"))
        server.end.close()

    thread = threading.Thread(target=serve)
    thread.start()
    qmp = Qmp.connect(path)
    thread.join(LIMIT_S)
    assert names(qmp) == ["RESUME"]
    qmp.close()


def test_a_monitor_that_does_not_answer_is_told_as_that(
    listener: tuple[str, socket.socket], tmp_path: Path
) -> None:
    path, accepting = listener
    assert refusal(path, 0.1) == "the monitor does not answer: timed out"
    accepting.accept()[0].close()  # the one that gave up

    def hang_up() -> None:
        end, _ = accepting.accept()
        end.recv(100)
        end.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    assert refusal(path).startswith("the monitor does not answer: it has closed the connection")
    thread.join(LIMIT_S)
    gone = refusal(str(tmp_path / "gone"))
    assert gone == "the monitor does not answer: No such file or directory"
