"""Screenshots and viewers, with a fake monitor; the page's needs; what each mistake gets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.home import Home
from tests.person import Person
from tests.vm import HOUSE, Vm
from vm_console.__main__ import main
from vm_console.screen import hand_to_qemu, save, take_screenshot, vnc_address
from vm_spec import VmError
from vm_state.platform import boot_id
from vm_state.process import started_at

Says = Callable[..., tuple[int, str]]
Runs = Callable[..., None]
LIMITED = """
import resource, signal, sys
from vm_console.screen import save
from vm_spec import VmError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save(bytes(1 << 20), sys.argv[1])
except VmError as error:
    print(error)
"""


@pytest.fixture
def says(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Says:
    """What vm-console answers where websockify and noVNC seem to be installed."""
    home.vm.describe("")
    home.program("websockify")
    (home.bin / "vnc.html").touch()
    monkeypatch.setenv("NOVNC_DIR", str(home.bin))

    def say(*words: str) -> tuple[int, str]:
        status = main(list(words))
        return status, capsys.readouterr().err

    return say


@pytest.fixture
def runs(home: Home) -> Iterator[Runs]:
    """Makes this process look like a VM's hypervisor, as long as nobody would end it for that."""
    file = home.vm.state / "state.json"

    def run(**record: object) -> None:
        pid = os.getpid()
        own = {"pid": pid, "started_at": started_at(pid), "boot_id": boot_id()}
        home.vm.state.mkdir(parents=True, mode=0o700)
        file.write_text(json.dumps(own | record))

    yield run
    file.unlink(missing_ok=True)


# --- the file ------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_a_link_to_it_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "shot.png", tmp_path / "link.png"
    file.write_bytes(b"old")
    link.symlink_to(file)
    with file.open("rb") as reader:
        save(b"new", str(link))
        assert (reader.read(), file.read_bytes()) == (b"old", b"new")
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.png", "shot.png"]


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(VmError, match="exists and is not a regular file") as caught:
            save(b"new", str(tmp_path / name))
        assert caught.value.status == 69
    assert (tmp_path / "fifo").is_fifo()


def test_a_missing_directory_and_a_full_disk_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="No such file or directory") as caught:
        save(b"new", str(tmp_path / "not" / "shot.png"))
    assert caught.value.status == 69
    old = tmp_path / "shot.png"
    old.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED, str(old)],
        cwd=HOUSE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{old}: File too large\n"
    assert old.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["shot.png"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("summary", [None, {}, {"vnc": ""}, {"vnc": "a:b"}])
@pytest.mark.parametrize("words", [("vm", "--screenshot", "shot.png"), ("--web", "vm")])
def test_a_bhyve_without_a_screen_is_66(
    says: Says, runs: Runs, summary: object, words: tuple[str, ...]
) -> None:
    runs(hypervisor="bhyve", outline=summary)
    status, err = says(*words)
    assert (status, err.partition("\n")[0]) == (66, "vm-console: vm has no screen")


def test_on_bhyve_a_screenshot_names_the_port_for_a_viewer(says: Says, runs: Runs) -> None:
    runs(hypervisor="bhyve", outline={"vnc": "0.0.0.0:5901"})
    assert says("vm", "--screenshot", "shot.png") == (
        69,
        "vm-console: bhyve takes no screenshots\n  hint: connect a VNC viewer: 127.0.0.1:5901\n",
    )


@pytest.mark.parametrize(
    ("vnc", "address"),
    [("127.0.0.1:5900", "127.0.0.1:5900"), ("[::]:5900", "[::1]:5900"), ("h:5900", "h:5900")],
)
def test_a_viewer_of_bhyve_connects_to_its_vnc_port(vnc: str, address: str) -> None:
    assert vnc_address({"hypervisor": "bhyve", "outline": {"vnc": vnc}}) == address
    assert vnc_address({"hypervisor": "qemu", "outline": {"vnc": vnc}}) == ""


def test_a_monitor_that_is_in_use_is_75(says: Says, runs: Runs) -> None:
    runs(hypervisor="qemu")
    status, err = says("vm", "--screenshot", "shot.png")
    assert status == 75
    assert "qmp.sock: the monitor does not answer" in err


@pytest.mark.parametrize("words", [("--web",), ("--screenshot", "a")])
def test_only_a_running_vm_has_a_screen(says: Says, words: tuple[str, ...]) -> None:
    status, err = says(*words, "vm")
    assert (status, err.partition("\n")[0]) == (69, "vm-console: vm is not running")
    assert says(*words, "no-such-vm")[0] == 66
    assert says(*words, "../vm")[0] == 64


@pytest.mark.parametrize("words", [("vm", "com1"), ("vm", "-n", "3"), ("vm", "-f")])
@pytest.mark.parametrize("mode", [("--web",), ("--screenshot", "a")])
def test_options_of_a_serial_port_do_not_go_with_the_screen(
    says: Says, mode: tuple[str, ...], words: tuple[str, ...]
) -> None:
    status, err = says(*mode, *words)
    assert status == 64
    assert err.startswith("vm-console: --web and --screenshot show the screen: ")


def test_a_terminal_gets_no_image(vm: Vm) -> None:
    person = Person(vm, "vm_console", "vm", "--screenshot", "-")
    person.reads(b"vm-console: a terminal cannot show a PNG image\r\n  hint: name a file")
    assert person.leaves() == 64
    person.goes()


@pytest.mark.parametrize(
    ("path", "novnc", "problem"),
    [
        ("/nonexistent", "", "websockify is not installed"),
        ("{bin}", "/nonexistent", "noVNC is not in /nonexistent"),
    ],
)
def test_what_the_page_needs_is_named_with_its_package(
    home: Home, says: Says, runs: Runs, monkeypatch: pytest.MonkeyPatch,
    path: str, novnc: str, problem: str,
) -> None:  # fmt: skip
    runs(hypervisor="qemu")
    monkeypatch.setenv("PATH", path.format(bin=home.bin))
    monkeypatch.setenv("NOVNC_DIR", novnc)
    status, err = says("--web", "vm")
    assert (status, err.partition("\n")[0]) == (69, f"vm-console: {problem}")
    assert "sudo apt install novnc" in err


# --- QEMU's monitor ------------------------------------------------------------------------------


class Monitor:
    """A monitor that answers each command as it was told, on one connection."""

    def __init__(self, path: Path, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        with client, client.makefile("rw") as lines:
            lines.write('{"QMP": {}}\n')
            lines.flush()
            decoder = json.JSONDecoder()
            while chunk := client.recv(4096).decode():
                question, _ = decoder.raw_decode(chunk)
                self.asked.append(question["execute"])
                found: Any = self.answers.get(question["execute"].replace("-", "_"), {"return": {}})
                if callable(found):
                    found = found(question["arguments"])
                lines.write(json.dumps({"id": question["id"], **found}) + "\n")
                lines.flush()

    def close(self) -> None:
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def monitor(home: Home, runs: Runs) -> Iterator[Callable[..., Monitor]]:
    """A VM of QEMU's whose monitor answers so."""
    made: list[Monitor] = []

    def answer(**answers: object) -> Monitor:
        runs(hypervisor="qemu")
        made.append(Monitor(home.vm.state / "qmp.sock", answers))
        return made[-1]

    yield answer
    for each in made:
        each.close()


def drawn(content: bytes) -> Callable[[dict[str, str]], object]:
    """What QEMU does that writes this image."""

    def draw(arguments: dict[str, str]) -> object:
        assert arguments["format"] == "png"
        Path(arguments["filename"]).write_bytes(content)
        return {"return": {}}

    return draw


def error(text: str) -> dict[str, object]:
    return {"error": {"class": "GenericError", "desc": text}}


def test_a_screenshot_comes_through_a_file_that_does_not_stay(
    home: Home, monitor: Callable[..., Monitor]
) -> None:
    monitor(screendump=drawn(b"an image"))
    assert take_screenshot("vm") == b"an image"
    assert {each.name for each in home.vm.state.iterdir()} == {"qmp.sock", "state.json"}


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (error("There is no console to take a screendump from"), 66, "vm has no screen"),
        (error("No space left"), 69, "QEMU refused screendump: No space left"),
        ({"return": {}}, 69, "the screen of vm: No such file or directory"),
    ],
)
def test_a_qemu_that_takes_no_screenshot_is_reported(
    home: Home, says: Says, monitor: Callable[..., Monitor], answer: object, status: int,
    problem: str,
) -> None:  # fmt: skip
    monitor(screendump=answer)
    told, err = says("vm", "--screenshot", "shot.png")
    assert (told, err.partition("\n")[0]) == (status, f"vm-console: {problem}")
    assert {each.name for each in home.vm.state.iterdir()} == {"qmp.sock", "state.json"}


@pytest.mark.parametrize("answer", [{"return": []}, error("no such command")])
def test_a_qemu_without_vnc_has_no_page(
    says: Says, monitor: Callable[..., Monitor], answer: object
) -> None:
    monitor(query_vnc_servers=answer)
    status, err = says("--web", "vm")
    assert (status, err.partition("\n")[0]) == (66, "vm-console: vm has no screen")


@pytest.mark.parametrize("refused", ["getfd", "add_client"])
def test_a_viewer_that_qemu_refuses_is_closed(
    monitor: Callable[..., Monitor], refused: str
) -> None:
    made = monitor(**{refused: error("no")})
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            hand_to_qemu("vm", theirs)
        assert ours.recv(1) == b""
    assert made.asked[-1] == refused
