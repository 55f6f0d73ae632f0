"""The screen of real guests: as a picture, through VNC, and in a real browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.run.browser import Browser
from tests.run.home import command
from tests.run.pixels import alike, decoded, lit, lower
from tests.run.vm import Vm
from vm_console.picture import Picture
from vm_console.rfb import look
from vm_console.screen import reach

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("screen")]

FIRMWARE = 'mem = "64M"\nreboot_on = ["reboot"]\n'  # SeaBIOS, which says that it finds no disk
TEXT = (720, 400)  # of VGA's text mode
BAR = 28  # pixels of the page above the screen
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
    if not Path(folder, "core/rfb.js").exists():
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


def test_our_viewer_sees_through_vnc_what_a_screenshot_has(
    shown: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shown.runtime))
    with reach(shown.name) as server:
        assert alike(look(server), shot(shown)) > 0.99


def test_a_browser_shows_the_guests_screen(shown: Vm, web: Web, browser: Browser) -> None:
    served = web(shown)
    browser.resize(TEXT[0], TEXT[1] + BAR)
    assert browser.visit(served.link) == ""
    shown.wait_for(lambda: browser.value("document.body.dataset.connected") == "true")
    there = shot(shown)
    shown.wait_for(lambda: alike(lower(browser.shot(), TEXT[1]), there) > 0.99)
    assert browser.value("document.querySelector('strong').textContent") == shown.name
    assert "token" not in browser.value("location.href")

    browser.visit(served.link)  # once is once
    said = "This link has been used already, or was never one: start vm-console --web again."
    shown.wait_for(lambda: browser.value("document.querySelector('p')?.textContent") == said)

    served.process.send_signal(signal.SIGINT)
    assert served.ends() == 128 + signal.SIGINT
    assert served.errors.read_text().splitlines()[1:] == ["vm: ended by SIGINT; the guest goes on"]
    assert lit(shot(shown)) > 0.01


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
    vm.wait_for(lambda: browser.value("document.body.dataset.connected") == "true")
    browser.value("document.getElementById('keys').click()")
    vm.wait_for(lambda: vm.events("restarting"))
    vm.wait_for(lambda: browser.value("document.body.dataset.connected") == "false")
    vm.wait_for(lambda: browser.value("document.body.dataset.connected") == "true")
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
    hint = "hint: give it one: [graphic], and start it again"
    assert done.stderr == f"vm-run: vm has no screen\n  {hint}\n"
    assert not (vm.folder / "shot.png").exists()
    page = subprocess.run(
        [sys.executable, "-m", "vm_console", "--web", vm.name],
        cwd=vm.folder, env=vm.environment() | novnc(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (page.returncode, page.stdout) == (66, "")
    assert page.stderr == f"vm-console: vm has no screen\n  {hint}\n"
