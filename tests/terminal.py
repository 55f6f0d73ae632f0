"""A real terminal, somebody who types there, and a registry with a box that boots."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lacking import need
from tests.pull import boxes
from tests.pull.server import serve
from tests.pull.whole import LIBVIRT, Puller, sha256
from tests.vm import HOUSE, Vm

COLUMNS, LINES = 100, 40
PROMPT = "me$ "
# The disk's boot menu, and one as long that ends in a shell: only its bytes are changed.
MENU = (
    b"default guest\nprompt 0\nlabel guest\n  kernel /vmlinuz\n"
    b"  append initrd=/initrd.img console=ttyS0 quiet\n"
)
WITH_SHELL = (
    b"default g\nlabel g\nkernel /vmlinuz\n"
    b"append initrd=/initrd.img console=ttyS0 quiet vmman.do=shell\n"
).ljust(len(MENU), b"\n")


class Terminal:
    """A terminal of 100 by 40 with a shell on it, and a person who types and reads."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(folder / "t"), "-f", "/dev/null"]
        shell = ["env", "-i", *(f"{key}={value}" for key, value in environment.items()), "sh"]
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        self._call("new-session", "-d", *size, "-c", str(folder), *shell)
        self.sees("")

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, timeout=30, check=True,
            stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        """What is to be seen, without blanks at the ends."""
        text = self._call("capture-pane", "-p", "-J")
        return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")

    def keys(self, *keys: str) -> None:
        """Presses keys by tmux's names for them, such as C-] and Enter."""
        self._call("send-keys", *keys)

    def types(self, line: str) -> None:
        """Types a line and Enter."""
        self._call("send-keys", "-l", "--", line)
        self.keys("Enter")

    def reads(self, pattern: str, timeout_s: float = 90) -> str:
        """Waits until a pattern is on the screen; the screen then."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"no {pattern!r} on this screen:\n{screen}"
            select.select([], [], [], 0.05)
        return screen

    def sees(self, command: str, *patterns: str) -> None:
        """Types a command on an empty screen, and compares all that there is after it."""
        if command:
            self.types("clear")
            self.reads(rf"\A{re.escape(PROMPT.strip())}\Z")
            self.types(command)
        lines = self.reads(rf"{re.escape(PROMPT.strip())}\Z").splitlines()[:-1]
        wanted = [re.escape(PROMPT + command), *patterns] if command else []
        whole = "\n".join(wanted)
        assert re.fullmatch(whole, "\n".join(lines)), f"wanted:\n{whole}\nis:\n" + "\n".join(lines)

    def close(self) -> None:
        """Takes the terminal away, and the shell on it."""
        self._call("kill-server")


def user(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Iterator[Puller]:
    """Somebody with a home of their own, and a registry that has user/box."""
    need("tmux")
    folder = tmp_path_factory.mktemp("u")  # a short name: sockets are made below it
    with serve() as server:
        made = Puller(folder, server)
        content = box(guest, folder)
        checksum = {"checksum_type": "sha256", "checksum": sha256(content)}
        made.offer(content, architecture="amd64", **checksum)
        yield made


def box(guest: Path, folder: Path) -> bytes:
    """A box whose guest goes on until it is asked to stop, with a shell on its serial port."""
    disk, image = folder / "disk.img", folder / "box.img"
    content = (guest / "disk.img").read_bytes()
    assert content.count(MENU) == 1, "tests/guest/build.sh writes another boot menu"
    disk.write_bytes(content.replace(MENU, WITH_SHELL))
    call = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(image)]
    subprocess.run(call, check=True, stdin=subprocess.DEVNULL)
    disk.unlink()
    members = boxes.file("box.img", image.read_bytes()), boxes.file("metadata.json", LIBVIRT)
    return boxes.box(*members)


def terminal(user: Puller) -> Iterator[Terminal]:
    """That somebody's terminal; a machine that is left on it is ended."""
    vm = Vm(user.folder, "hello")
    path = f"{commands(user.folder)}:{os.environ['PATH']}"
    environment = vm.environment() | user.environment
    made = Terminal(
        user.folder,
        environment | {"PATH": path, "PS1": PROMPT, "TERM": "screen", "LANG": "C.UTF-8"},
    )
    yield made
    made.close()
    for name in ("hello", "bookworm64"):  # what a test that failed has left
        Vm(user.folder, name).close()


def commands(folder: Path) -> Path:
    """The commands of this checkout, as they are installed."""
    made = folder / "bin"
    made.mkdir()
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    for name, target in project["scripts"].items():
        module, _, entry = target.partition(":")
        program = made / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import {entry}\n{entry}()\n")
        program.chmod(0o755)
    return made
