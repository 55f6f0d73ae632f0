"""A vm-run under test: its own folder of descriptions, its own state, a real process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[1]
LIMIT_S = 300  # generous: a busy machine is not a fault


class Vm:
    """One VM's description and the runs of vm-run over it."""

    def __init__(self, folder: Path, name: str = "vm") -> None:
        self.folder = folder
        self.name = name
        self.confdir = folder / "vm"
        self.runtime = folder / "run"
        self.confdir.mkdir(exist_ok=True)
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.file = self.confdir / f"{name}.toml"
        self.events_file = folder / f"{name}.events"
        self.started: list[subprocess.Popen[str]] = []
        self.program: tuple[str, ...] = ("-m", "vm_run")
        self.variables: dict[str, str] = {}

    @property
    def state(self) -> Path:
        """The state folder of the running VM."""
        return self.runtime / "vm" / self.name

    @property
    def console(self) -> str:
        """Everything the guest has written on its first serial port."""
        log = self.state / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def record(self) -> dict[str, Any]:
        """The record that vm-run keeps."""
        found: dict[str, Any] = json.loads((self.state / "state.json").read_text())
        return found

    def describe(self, text: str) -> None:
        """Writes the description."""
        self.file.write_text(text)

    def direct(self, guest: Path, do: str, more: str = "") -> None:
        """Describes a guest that boots directly and then does one thing."""
        self.describe(
            f'mem = "192M"\ncom1 = "stdio"\nkernel = "{guest}/vmlinuz"\n'
            f'initrd = "{guest}/initrd.img"\n'
            f'cmdline = "console=ttyS0 quiet vmman.do={do}"\n{more}'
        )

    def environment(self) -> dict[str, str]:
        """What vm-run is told."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "USER") if key in os.environ}
        return (
            kept
            | self.variables
            | {
                "VMCONF_DIR": str(self.confdir),
                "XDG_RUNTIME_DIR": str(self.runtime),
                "PYTHONPATH": str(HOUSE),
            }
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts `vm-run NAME WORDS...` and returns at once.

        Its streams are files: a guest that outlives it would keep a pipe open.
        """
        argv = [sys.executable, *self.program, self.name, "--events", str(self.events_file)]
        number = len(self.started)
        with (
            (self.folder / f"{self.name}.{number}.out").open("w") as out,
            (self.folder / f"{self.name}.{number}.err").open("w") as err,
        ):
            process = subprocess.Popen(
                [*argv, *words],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
            )
        self.started.append(process)
        return process

    def finish(
        self, process: subprocess.Popen[str], timeout_s: float = LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Waits for the end of a vm-run, and gives what it said."""
        process.wait(timeout_s)
        stem = f"{self.name}.{self.started.index(process)}"
        out, err = (
            (self.folder / f"{stem}.{end}").read_text(errors="replace") for end in ("out", "err")
        )
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `vm-run NAME WORDS...` to its end."""
        return self.finish(self.start(*words))

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kills a vm-run hard; its guest goes on."""
        process.kill()
        process.wait(LIMIT_S)

    def wait_for(self, condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
        """Waits until something holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.finish_all()
            select.select([], [], [], 0.02)

    def finish_all(self) -> str:
        """What every run has said so far: for a test that gives up."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.err")))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind that were told so far."""
        if not self.events_file.exists():
            return []
        *lines, _ = self.events_file.read_text().split("\n")  # the last one may not be whole yet
        return [event for line in lines if (event := json.loads(line))["event"] == kind]

    def until(self, what: str) -> None:
        """Waits until the guest has written a text on its console."""
        self.wait_for(lambda: what in self.console)

    def close(self) -> None:
        """Ends whatever a test has left running, each by its own id."""
        for process in self.started:
            if process.poll() is None:
                self.kill(process)
        try:
            record = self.record
        except (OSError, ValueError):
            return
        stat = Path(f"/proc/{record['pid']}/stat")
        if (
            stat.exists()
            and int(stat.read_text().rpartition(")")[2].split()[19]) == (record["started_at"])
        ):
            os.kill(record["pid"], signal.SIGKILL)
