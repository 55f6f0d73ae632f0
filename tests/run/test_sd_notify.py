"""What a service manager hears of a VM: a stand-in listens as systemd does, to a real guest."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import command
from tests.vm import LIMIT_S, Vm
from vm_run.sd_notify import message, to_manager


class Listener:
    """A service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.heard: list[str] = []

    def until(self, what: str, timeout_s: float = LIMIT_S) -> None:
        """Waits until a line has come."""
        deadline = time.monotonic() + timeout_s
        while what not in self.lines:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            self.heard.append(self.socket.recv(8192).decode())

    @property
    def lines(self) -> list[str]:
        """Every line so far."""
        return [line for text in self.heard for line in text.split("\n")]

    def drain(self) -> None:
        """Takes what has come."""
        self.socket.setblocking(False)
        while True:
            try:
                self.heard.append(self.socket.recv(8192).decode())
            except BlockingIOError:
                return


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def service(vm: Vm, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """A VM whose vm-run is started by that manager."""
    environment = vm.environment() | {"NOTIFY_SOCKET": listener.address}
    monkeypatch.setattr(vm, "environment", lambda: environment)
    return vm


@pytest.mark.real
def test_a_manager_hears_when_a_guest_runs_and_when_it_is_asked_to_stop(
    service: Vm, guest: Path, listener: Listener
) -> None:
    service.direct(guest, "wait", "stop_timeout = 600\n")
    started = service.start()
    listener.until("READY=1")
    assert listener.lines[0].startswith("STATUS=starting, target default, pid ")
    service.until("guest: ready")
    started.terminate()
    listener.until("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=630000000" in listener.lines  # stop_timeout, and what forcing takes
    assert service.finish(started).returncode == 0
    listener.drain()
    assert listener.lines[-1] == "STATUS=guest powered off: it was asked to stop"
    assert listener.lines.count("READY=1") == 1


@pytest.mark.real
def test_the_console_of_a_service_is_one_to_connect_to(
    service: Vm, guest: Path, listener: Listener
) -> None:
    service.direct(guest, "wait")
    started = service.start()
    listener.until("READY=1")
    assert (service.state / "com1.sock").is_socket()
    environment = Path(f"/proc/{service.record['pid']}/environ").read_text().split("\0")
    assert not [line for line in environment if line.startswith("NOTIFY_SOCKET=")]
    service.until("guest: ready")
    started.terminate()
    assert service.finish(started).returncode == 0


def test_a_vm_that_cannot_be_started_is_never_ready(vm: Vm, listener: Listener) -> None:
    vm.describe('[disk.root]\npath = "gone.img"\n')
    done = command(vm, "vm", NOTIFY_SOCKET=listener.address)
    assert done.returncode == 69
    listener.drain()
    assert listener.heard == []


def test_a_manager_may_have_an_abstract_address(tmp_path: Path) -> None:
    listener = Listener(f"@vmman-test-{tmp_path}")
    to_manager(listener.address)({"event": "running"})
    listener.drain()
    listener.socket.close()
    assert listener.heard == ["READY=1\nSTATUS=running"]


def test_a_manager_that_is_gone_is_no_reason_to_leave_a_guest(
    tmp_path: Path, listener: Listener
) -> None:
    listener.socket.close()
    to_manager(listener.address)({"event": "running"})
    to_manager(str(tmp_path / "nothing"))({"event": "running"})
    (tmp_path / "file").touch()
    to_manager(str(tmp_path / "file"))({"event": "running"})
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"event": "recovered", "pid": 7, "target": "default"},
         "READY=1\nSTATUS=took over pid 7, target default"),
        ({"event": "restarting", "outcome": "reboot", "target": "two"},
         "STATUS=guest rebooted; starting again: target two"),
        ({"event": "forcing", "why": "SIGTERM again"},
         "STATUS=forcing the guest: SIGTERM again"),
        ({"event": "ended", "outcome": "reboot", "target": "two", "detail": ""}, ""),
        ({"event": "note", "text": "a repair"}, ""),
    ],
)  # fmt: skip
def test_each_event_has_its_words(event: dict[str, object], told: str) -> None:
    assert message(event) == told


def test_a_text_from_outside_is_no_further_line() -> None:
    told = message({"event": "finished", "outcome": "poweroff", "why": "a\nREADY=1", "status": 0})
    assert "\n" not in told


def test_who_is_told_nothing_loads_nothing(vm: Vm) -> None:
    vm.describe('[disk.root]\npath = "gone.img"\n')
    done = command(vm, "vm", PYTHONVERBOSE="1")
    assert "vm_run.session" in done.stderr
    assert "vm_run.sd_notify" not in done.stderr
