"""Pictures of screens: what is read, what is written, and what is said where there is none."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.run.home import Home, command
from tests.run.person import Person
from tests.run.pixels import decoded
from tests.run.qemu_given import said
from tests.run.vm import Vm
from vm_console.picture import Picture, from_ppm, png
from vm_console.rfb import look
from vm_console.screen import reach
from vm_console.screenshot import save, take
from vm_run.wiring import Wiring
from vm_spec import VmError
from vm_spec.devices import Graphic
from vm_spec.machine import Qemu
from vm_spec.types import Label
from vm_state import statedir
from vm_state.process import started_at

RED, GREEN, BLUE, GREY = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\x80\x80\x80"
FLAG = Picture(width=2, height=2, rgb=RED + GREEN + BLUE + GREY)
LITTLE = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)  # bhyve's, QEMU's
BIG = struct.pack(">BBBBHHHBBB3x", 32, 24, 1, 1, 255, 255, 255, 16, 8, 0)


@given(st.integers(1, 40), st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_picture_comes_back_from_its_png_file(width: int, height: int, chance: Random) -> None:
    rgb = chance.randbytes(width * height * 3)
    picture = Picture(width=width, height=height, rgb=rgb)
    assert decoded(png(picture)) == picture
    assert from_ppm(b"P6\n%d %d\n255\n" % (width, height) + rgb) == picture


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P5\n2 2\n255\n" + FLAG.rgb,
        b"P6\n2 2\n255\n" + FLAG.rgb[1:],
        b"P6\n2 2\n255\n" + FLAG.rgb + b"\0",
        b"P6\n2 2\n65535\n" + FLAG.rgb,
        b"P6\n0 0\n255\n",
        b"P6\n99999 99999\n255\n",
    ],
)
def test_what_is_no_picture_is_not_taken_for_one(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no PPM picture|is not a whole picture of"):
        from_ppm(content)


# --- where it is written -------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_a_link_to_it_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "shot.png", tmp_path / "link.png"
    file.write_bytes(b"old")
    link.symlink_to(file)
    with file.open("rb") as reader:
        save(b"new", str(link))
        assert (reader.read(), file.read_bytes()) == (b"old", b"new")
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.png", "shot.png"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(VmError, match="is there and is no file") as caught:
            save(b"new", str(tmp_path / name))
        assert caught.value.status == 69
    assert (tmp_path / "fifo").is_fifo()


def test_a_folder_that_is_missing_and_a_disk_that_is_full_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="No such file or directory") as caught:
        save(b"new", str(tmp_path / "not" / "shot.png"))
    assert caught.value.status == 69
    old = tmp_path / "shot.png"
    old.write_bytes(b"old")
    full = f"import resource as r\nr.setrlimit(r.RLIMIT_FSIZE, (4096, 4096))\n{CALL}"
    done = subprocess.run(
        [sys.executable, "-B", "-c", full, str(old)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{old}: File too large\n"
    assert old.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["shot.png"]


CALL = """
import signal, sys
from vm_console.screenshot import save
from vm_run.wiring import Wiring
from vm_spec import VmError
from vm_spec.devices import Graphic
from vm_spec.machine import Qemu
from vm_spec.types import Label
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save(bytes(1 << 20), sys.argv[1])
except VmError as error:
    print(error)
"""


# --- VNC -----------------------------------------------------------------------------------------


class Server:
    """A VNC server that says what it was told to say, whatever it hears."""

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        with client:
            client.settimeout(10)
            try:
                client.sendall(self.says)
                client.shutdown(socket.SHUT_WR)
                while chunk := client.recv(4096):
                    self.heard += chunk
            except OSError:  # the viewer has seen enough
                pass

    def close(self) -> None:
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def server() -> Iterator[Callable[[bytes], Server]]:
    made: list[Server] = []

    def serve(says: bytes) -> Server:
        made.append(Server(says))
        return made[-1]

    yield serve
    for each in made:
        each.close()


def rectangle(left: int, top: int, width: int, height: int, pixels: bytes, kind: int = 0) -> bytes:
    return struct.pack(">HHHHi", left, top, width, height, kind) + pixels


def update(*rectangles: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


def bgrx(rgb: bytes) -> bytes:
    return b"".join(rgb[at : at + 3][::-1] + b"\0" for at in range(0, len(rgb), 3))


def xrgb(rgb: bytes) -> bytes:
    return b"".join(b"\0" + rgb[at : at + 3] for at in range(0, len(rgb), 3))


def hello(form: bytes = LITTLE, size: tuple[int, int] = (2, 2), security: bytes = b"\1\1") -> bytes:
    name = struct.pack(">I", 5) + b"bhyve"
    return b"RFB 003.008\n" + security + bytes(4) + struct.pack(">HH", *size) + form + name


WHOLE = update(rectangle(0, 0, 2, 2, bgrx(FLAG.rgb)))
BELL = b"\2"
CLIPBOARD = b"\3\0\0\0" + struct.pack(">I", 3) + b"cut"
COLOURS = b"\1\0" + struct.pack(">HH", 0, 1) + bytes(6)
COLUMNS = (
    update(rectangle(1, 0, 1, 2, bgrx(GREEN + GREY)))
    + BELL
    + update(rectangle(0, 0, 1, 1, bgrx(RED)), rectangle(0, 1, 1, 1, bgrx(BLUE)))
)


def seen(port: int) -> Picture:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        return look(client)


@pytest.mark.parametrize(
    "says",
    [
        hello() + WHOLE,
        hello() + BELL + CLIPBOARD + COLOURS + WHOLE,
        hello() + COLUMNS,
        hello(BIG) + update(rectangle(0, 0, 2, 2, xrgb(FLAG.rgb))),
        hello(security=b"\2\2\1") + WHOLE,
    ],
    ids=["whole", "between other messages", "in pieces", "big endian", "a choice of security"],
)
def test_a_vnc_server_is_looked_at(server: Callable[[bytes], Server], says: bytes) -> None:
    there = server(says)
    assert seen(there.port) == FLAG
    there.close()
    shared, raw, everything = b"\1", b"\2\0\0\1" + bytes(4), b"\3\0" + bytes(4) + b"\0\2\0\2"
    assert there.heard == b"RFB 003.008\n\1" + shared + raw + everything


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        (b"HTTP/1.1 200", "its VNC server sends no RFB"),
        (hello(security=b"\1\2"), "its VNC server wants a password"),
        (hello(security=b"\0"), "its VNC server refuses"),
        (hello(size=(0, 9)), "its VNC server sends a screen of 0 by 9"),
        (hello(size=(65535, 65535)), "its VNC server sends a screen of 65535 by 65535"),
        (hello(LITTLE.replace(b"\x20", b"\x08")), "its VNC server sends pixels that are not 8"),
        (hello() + update(rectangle(1, 0, 2, 2, b"")), "its VNC server sends a rectangle"),
        (hello() + update(rectangle(0, 0, 2, 2, b"", 7)), "a rectangle of encoding 7"),
        (hello() + b"\x09", "its VNC server sends a message 9"),
    ],
)
def test_a_strange_vnc_server_is_told_of(
    server: Callable[[bytes], Server], says: bytes, problem: str
) -> None:
    with pytest.raises(VmError, match=problem) as caught:
        seen(server(says).port)
    assert caught.value.status == 69


def test_a_vnc_server_that_goes_away_is_an_error_of_input(
    server: Callable[[bytes], Server],
) -> None:
    with pytest.raises(ConnectionResetError, match="has closed the connection"):
        seen(server((hello() + WHOLE)[:-1]).port)


# --- VMs -----------------------------------------------------------------------------------------


@pytest.fixture
def runs(home: Home) -> Iterator[Callable[..., None]]:
    """Makes this process look like a VM's hypervisor, as long as nobody would end it for that."""
    file = home.vm.state / "state.json"

    def run(**record: object) -> None:
        pid = os.getpid()
        own = {"pid": pid, "started_at": started_at(pid), "boot_id": statedir.boot_id()}
        home.vm.state.mkdir(parents=True, mode=0o700)
        file.write_text(json.dumps(own | record))

    yield run
    file.unlink(missing_ok=True)


def test_the_screen_of_bhyve_is_seen_through_its_vnc_port(
    runs: Callable[..., None], server: Callable[[bytes], Server]
) -> None:
    there = server(hello() + WHOLE)
    runs(hypervisor="bhyve", outline={"vnc": f"0.0.0.0:{there.port}"})
    assert decoded(take("vm")) == FLAG


def test_a_bhyve_that_does_not_answer_is_told_of(home: Home, runs: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    runs(hypervisor="bhyve", outline={"vnc": f"127.0.0.1:{port}"})
    told = home.says("vm", "--screenshot", "shot.png")
    assert (told.status, told.out) == (75, "")
    assert told.err == "vm-run: the screen of vm does not answer: Connection refused\n"


@pytest.mark.parametrize("outline", [None, {}, {"vnc": ""}, {"vnc": "a:b"}])
def test_a_bhyve_without_a_screen_is_told_so(
    home: Home, runs: Callable[..., None], outline: object
) -> None:
    runs(hypervisor="bhyve", outline=outline)
    told = home.says("vm", "--screenshot", "shot.png")
    assert (told.status, told.err.partition("\n")[0]) == (66, "vm-run: vm has no screen")


def test_a_monitor_that_somebody_else_has_is_told_of(home: Home, runs: Callable[..., None]) -> None:
    runs(hypervisor="qemu")
    told = home.says("vm", "--screenshot", "shot.png")
    assert told.status == 75
    assert "qmp.sock: the monitor does not answer" in told.err


def test_only_what_runs_has_a_screen(home: Home) -> None:
    home.vm.describe("")
    told = home.says("vm", "--screenshot", "shot.png")
    assert (told.status, told.err.partition("\n")[0]) == (69, "vm-run: vm is not running")
    told = home.says("web", "--screenshot", "shot.png")
    assert (told.status, told.out) == (66, "")


@pytest.mark.parametrize(
    "words", [("--screenshot", "a"), ("-c", "vm.toml", "--screenshot", "a"),
              ("vm", "--screenshot", "a", "--", "-x")],
)  # fmt: skip
def test_a_screenshot_wants_a_name_and_nothing_else(home: Home, words: tuple[str, ...]) -> None:
    told = home.says(*words)
    problem = "vm-run: --screenshot is of a VM that runs: say its name\n"
    missing = "vm-run: the name of a VM is missing\n"
    assert told.status == 64
    assert told.err.startswith(problem) or told.err.startswith(missing)


def test_a_terminal_gets_no_picture(vm: Vm) -> None:
    person = Person(vm, "vm_run", "vm", "--screenshot", "-")
    person.reads(b"vm-run: a picture is nothing for a terminal\r\n  hint: name a file")
    assert person.leaves() == 64
    person.goes()
    assert command(vm, "vm", "--screenshot", "-").returncode == 66


# --- QEMU ----------------------------------------------------------------------------------------


class Monitor:
    """A monitor that answers each command as it was told, once per connection."""

    def __init__(self, path: Path, answers: dict[str, object]) -> None:
        self.answers = answers
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
                found = self.answers.get(question["execute"], {"return": {}})
                if callable(found):
                    found = found(question["arguments"])
                lines.write(json.dumps({"id": question["id"], **found}) + "\n")  # type: ignore[dict-item]
                lines.flush()

    def close(self) -> None:
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def monitor(home: Home, runs: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """A VM of QEMU's whose monitor answers so."""
    made: list[Monitor] = []

    def answer(**answers: object) -> None:
        runs(hypervisor="qemu")
        made.append(Monitor(home.vm.state / "qmp.sock", answers))

    yield answer
    for each in made:
        each.close()


def drawn(content: bytes) -> Callable[[dict[str, str]], object]:
    """What QEMU does that writes this picture."""

    def draw(arguments: dict[str, str]) -> object:
        Path(arguments["filename"]).write_bytes(content)
        return {"return": {}}

    return draw


def error(text: str) -> dict[str, object]:
    return {"error": {"class": "GenericError", "desc": text}}


def test_the_screen_of_qemu_comes_through_a_file_that_does_not_stay(
    home: Home, monitor: Callable[..., None]
) -> None:
    monitor(screendump=drawn(b"P6\n2 2\n255\n" + FLAG.rgb))
    assert decoded(take("vm")) == FLAG
    assert {each.name for each in home.vm.state.iterdir()} == {"qmp.sock", "state.json"}


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (error("There is no console to take a screendump from"), 66, "vm has no screen"),
        (error("No space left"), 69, "QEMU refused screendump: No space left"),
        ({"return": {}}, 69, "the screen of vm: No such file or directory"),
        (drawn(b"P6\n2 2\n255\n"), 69, "the screen of vm: is not a whole picture of 2 by 2"),
    ],
)
def test_a_qemu_that_gives_no_picture_is_told_of(
    home: Home, monitor: Callable[..., None], answer: object, status: int, problem: str
) -> None:
    monitor(screendump=answer)
    told = home.says("vm", "--screenshot", "shot.png")
    assert (told.status, told.err.partition("\n")[0]) == (status, f"vm-run: {problem}")
    assert {each.name for each in home.vm.state.iterdir()} == {"qmp.sock", "state.json"}


NO_VIEWER: list[tuple[dict[str, object], int, str]] = [
    ({"query-vnc-servers": {"return": []}}, 66, "vm has no screen"),
    ({"query-vnc-servers": error("no such command")}, 66, "vm has no screen"),
    ({"query-vnc-servers": {"return": [1]}, "getfd": error("x")}, 74, "QEMU refused getfd: x"),
    ({"query-vnc-servers": {"return": [1]}, "add_client": error("x")}, 74, "refused add_client: x"),
]


@pytest.mark.parametrize(("answers", "status", "problem"), NO_VIEWER)
def test_a_qemu_that_takes_no_viewer_is_told_of(
    monitor: Callable[..., None], answers: dict[str, object], status: int, problem: str
) -> None:
    monitor(**answers)
    with pytest.raises(VmError, match=problem) as caught:
        reach("vm")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("machine", "has_server"),
    [
        ({"qemu": Qemu(vga="std")}, True),
        ({"qemu": Qemu(vga="none")}, False),
        ({}, False),
        ({"qemu": Qemu(vga="std"), "graphic": Graphic(label=Label("graphic"))}, False),
    ],
)
def test_a_vga_without_a_vnc_port_gets_a_server_that_listens_nowhere(
    machine: dict[str, Any], has_server: bool
) -> None:
    runs = said(wiring=Wiring(fds={"qmp": 7, "supervisor": 8}), **machine)
    assert (("-vnc", "none") in pairwise(runs)) == has_server
    assert "none" not in [after for word, after in pairwise(said(**machine)) if word == "-vnc"]
