"""The screen of real guests: as a picture, and in a real browser."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.console.browser import Browser
from tests.console.pixels import Picture, alike, decoded, lit
from tests.home import command
from tests.lacking import lacking
from tests.vm import Vm

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("screen")]

FIRMWARE = 'mem = "64M"\nreboot_on = ["reboot"]\n'  # SeaBIOS, which says that it finds no disk
TEXT = (720, 400)  # of VGA's text mode
Web = Callable[[Vm], "Served"]


class Served:
    """A `vm-console --web NAME`, and its link."""

    def __init__(self, vm: Vm) -> None:
        self.errors = vm.folder / "web.err"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vm_console", "--web", vm.name],
                cwd=vm.folder, env=vm.environment() | novnc(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert self.process.stdout
        self.link = self.process.stdout.readline().strip()
        assert self.link, self.errors.read_text()

    def ends(self) -> int:
        """Its exit status."""
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait(30)


def novnc() -> dict[str, str]:
    """Where noVNC is: Debian's, or what the environment says."""
    folder = os.environ.get("NOVNC_DIR", "/usr/share/novnc")
    if not Path(folder, "vnc.html").exists():
        lacking("novnc is missing")
    return {"NOVNC_DIR": folder}


def shot(vm: Vm) -> Picture:
    done = command(vm, vm.name, "--screenshot", "shot.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return decoded((vm.folder / "shot.png").read_bytes())


def has_text(vm: Vm) -> None:
    """Waits until firmware has written something."""
    vm.wait_for(lambda: (vm.state / "qmp.sock").exists())
    vm.wait_for(lambda: 0.01 < lit(shot(vm)) < 0.5)


def ports(vm: Vm) -> set[int]:
    """The TCP ports that a VM's hypervisor has."""
    process = Path("/proc", str(vm.record["pid"]))
    mine = {os.readlink(fd) for fd in (process / "fd").iterdir()}
    tables = [(process / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in mine}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A machine with a VGA that nobody looks at."""
    vm = Vm(tmp_path_factory.mktemp("v"))
    vm.describe(FIRMWARE + '[qemu]\nvga = "std"\n')
    vm.start("--detach").wait(60)
    has_text(vm)
    yield vm
    vm.close()


@pytest.fixture
def web() -> Iterator[Web]:
    """Serves screens; what still runs at the end is ended."""
    served: list[Served] = []

    def serve(vm: Vm) -> Served:
        served.append(Served(vm))
        return served[-1]

    yield serve
    for each in served:
        each.process.kill()
        each.ends()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path)
    yield made
    made.close()


def test_a_screenshot_is_a_png_file_of_what_the_guest_shows(shown: Vm) -> None:
    picture = shot(shown)
    assert (picture.width, picture.height) == TEXT
    assert 0.01 < lit(picture) < 0.5
    assert sorted(each.name for each in shown.state.glob("screen*")) == []
    piped = subprocess.run(
        [sys.executable, "-m", "vm_run", shown.name, "--screenshot", "-"],
        cwd=shown.folder, env=shown.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert alike(decoded(piped.stdout), picture) > 0.99  # a cursor blinks


def test_threat_b30_a_vga_without_graphic_is_seen_without_a_port(shown: Vm) -> None:
    assert ports(shown) == set()
    assert (shown.state / "qmp.sock").stat().st_uid == os.getuid()
    assert shown.state.stat().st_mode & 0o077 == 0


def is_connected(browser: Browser) -> bool:
    return bool(browser.value("document.documentElement.classList.contains('noVNC_connected')"))


def canvas(browser: Browser) -> Picture:
    """What noVNC has drawn."""
    url = browser.value("document.querySelector('#noVNC_container canvas').toDataURL('image/png')")
    return decoded(base64.b64decode(url.partition(",")[2]))


def test_a_browser_shows_the_guests_screen(shown: Vm, web: Web, browser: Browser) -> None:
    served = web(shown)
    assert served.link.startswith("http://127.0.0.1:")
    assert browser.visit(served.link) == ""
    shown.wait_for(lambda: is_connected(browser))
    there = shot(shown)
    shown.wait_for(lambda: alike(canvas(browser), there) > 0.99)

    token = served.link.rpartition("token%3D")[2]
    assert len(token) >= 32
    assert token not in "".join(path.read_text() for path in cmdlines())
    children = websockifies(served)
    assert children
    served.process.send_signal(signal.SIGINT)
    assert served.ends() == 128 + signal.SIGINT
    assert served.errors.read_text().splitlines()[1:] == ["vm: ended by SIGINT; the guest goes on"]
    shown.wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert [each.name for each in shown.state.glob("web.*")] == []
    assert lit(shot(shown)) > 0.01


def cmdlines() -> Iterator[Path]:
    """What every user of the host can read of each process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.exists() and b"chrom" not in path.read_bytes():
            yield path


def websockifies(served: Served) -> list[int]:
    """The processes of the session that websockify leads."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    (leader,) = map(int, children.read_text().split())
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if session_of(pid) == leader]


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong"])
def test_without_the_token_nobody_gets_the_screen(shown: Vm, web: Web, token: str) -> None:
    port = int(web(shown).link.split(":")[2].partition("/")[0])
    shown.wait_for(lambda: answers(port))
    upgrade = (
        f"GET /websockify{token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(upgrade.encode())
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    assert b" 101 " not in answer
    assert b"RFB" not in answer


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"GET /vnc.html HTTP/1.0\r\n\r\n")
        return client.recv(16).startswith(b"HTTP/1.")


def test_the_page_is_gone_when_vm_console_is_killed(shown: Vm, web: Web) -> None:
    served = web(shown)
    port = int(served.link.split(":")[2].partition("/")[0])
    shown.wait_for(lambda: answers(port))
    served.process.kill()
    shown.wait_for(lambda: is_refused(port))


def is_refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_keys_reach_the_guest_and_the_page_comes_back_after_a_restart(
    vm: Vm, web: Web, browser: Browser
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    vm.describe(f'{FIRMWARE}[graphic]\nport = {port}\npassword = "secret"\n')
    process = vm.start()
    has_text(vm)
    assert ports(vm) == {port}
    served = web(vm)
    browser.visit(served.link)  # and nobody asks for the password
    vm.wait_for(lambda: is_connected(browser))
    browser.value("document.getElementById('noVNC_send_ctrl_alt_del_button').click()")
    vm.wait_for(lambda: vm.events("restarting"))
    vm.wait_for(lambda: not is_connected(browser))
    vm.wait_for(lambda: is_connected(browser))
    process.terminate()
    vm.wait_for(lambda: vm.events("stopping"))
    process.terminate()  # a second one forces: firmware knows no power button
    said = vm.finish(process).stderr.splitlines()[-1]
    assert served.ends() == 0
    assert served.errors.read_text().splitlines()[-1] == said


def test_a_machine_without_a_screen_is_told_so(vm: Vm) -> None:
    vm.describe(FIRMWARE)
    vm.start("--detach").wait(60)
    done = command(vm, vm.name, "--screenshot", "shot.png")
    assert (done.returncode, done.stdout) == (66, "")
    hint = "hint: add [graphic] to its description, and start it again"
    assert done.stderr == f"vm-console: vm has no screen\n  {hint}\n"
    assert not (vm.folder / "shot.png").exists()
    page = subprocess.run(
        [sys.executable, "-m", "vm_console", "--web", vm.name],
        cwd=vm.folder, env=vm.environment() | novnc(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (page.returncode, page.stdout) == (66, "")
    assert page.stderr == f"vm-console: vm has no screen\n  {hint}\n"
