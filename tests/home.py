"""vm-run in this process, and as a command: how they are called, what they say."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import HOUSE, LIMIT_S, Vm
from vm_import.__main__ import main as import_main
from vm_run.__main__ import main
from vm_run.host import requirements
from vm_spec.frozen import replace

FAKE_QEMU = "#!/bin/sh\nexit 0\n"


class Said:
    """What a command answered."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


class Home:
    """A person's folders, and vm-run called in them."""

    def __init__(self, vm: Vm, capsys: pytest.CaptureFixture[str]) -> None:
        self.vm = vm
        self.folder = vm.confdir
        self.bin = vm.folder / "bin"
        self.bin.mkdir(exist_ok=True)
        self._capsys = capsys

    def program(self, name: str, text: str = FAKE_QEMU) -> Path:
        """A program of this name, first in PATH."""
        made = self.bin / name
        made.write_text(text)
        made.chmod(0o755)
        return made

    def says(self, *words: str) -> Said:
        """What `vm-run WORDS...` answers, in this process."""
        self._capsys.readouterr()
        executes = words[:1] == ("--import",)
        status = import_main(list(words[1:])) if executes else main(list(words))
        out, err = self._capsys.readouterr()
        return Said(status, out, err)

    def lacks(self, description: str) -> str:
        """The report of `vm-run vm --check`, without where the folder is; empty for none."""
        self.vm.describe(description)
        said = self.says("vm", "--check")
        assert said.status in (0, 69), said.err
        assert bool(said.err) == bool(said.status)
        return said.err.replace(f"{self.folder}/", "").removeprefix("vm-run: ")


def listening(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket at a path, that somebody listens at until it is closed."""
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(str(path))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def leftover(path: Path) -> None:
    """A socket at a path, that nobody listens at any more."""
    listening(path).close()


def home(
    vm: Vm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Home]:
    """Folders of one's own, a QEMU that ends at once, and a /dev that opens."""
    made = Home(vm, capsys)
    for key, value in vm.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("QEMU_BIN", str(made.program("fake-qemu")))
    for name in ("TUN", "VFIO"):
        node = replace(getattr(requirements, name), path=os.devnull)
        monkeypatch.setattr(requirements, name, node)
    yield made


def command(
    vm: Vm, *words: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What `vm-run WORDS...` answers as a command of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vm_run", *words],
        cwd=vm.folder,
        env=vm.environment() | {"PYTHONPATH": str(HOUSE)} | environment,
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
