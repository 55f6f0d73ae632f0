"""A real `systemd --user` of a test's own: an ordinary user's, in a control group of its own.

It needs root to be made, and the units that it runs are those of the checkout, under a prefix.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tests.copied import copied

CHECKOUT = Path(__file__).parent.parent
UNITS = CHECKOUT / "etc" / "systemd" / "user"
PYTHON = "/usr/bin/python3"
SYSTEMD = "/lib/systemd/systemd"
NOBODY = 65534

# Arguments: its control group, the user's number, the folder. As on a host that systemd booted.
START = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1"
chown -R "$2" "/sys/fs/cgroup/$1"
sh -c 'echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
    exec setpriv --reuid "$2" --regid "$2" --clear-groups env -i HOME="$3" PATH=/usr/bin:/bin \\
        USER=nobody XDG_RUNTIME_DIR="$3/run" SYSTEMD_LOG_TARGET=console "$4" --user' \\
    sh "$@" || :
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +
"""
SCRIPT = """#!{python} -ISB
import sys
sys.path.append({lib!r})
from {module} import entry
entry()
"""


class UserManager:
    """An ordinary user's service manager, and what that user has: descriptions and commands."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vmman-"))
        self.folder.chmod(0o755)
        self.confdir = self.folder / "vm"
        self.log = self.folder / "systemd.log"
        self._install()
        for made in (self.confdir, self.folder / "run"):
            made.mkdir(mode=0o700)
        for each in (self.folder, *self.folder.rglob("*")):
            os.chown(each, NOBODY, NOBODY)
        with self.log.open("wb") as log:
            argv = ["unshare", "-m", "sh", "-c", START, "sh"]
            self.process = subprocess.Popen(
                [*argv, self.folder.name, str(NOBODY), str(self.folder), SYSTEMD],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _install(self) -> None:
        """The commands and units of the checkout, under a prefix that the user can read."""
        lib, programs = self.folder / "lib", self.folder / "bin"
        units = self.folder / ".config" / "systemd" / "user"
        for made in (lib, programs, units):
            made.mkdir(parents=True)
        for package in ("vm_spec", "vm_state", "vm_run", "vm_stop"):
            copied(CHECKOUT / package, lib / package)
        for part in distribution("tomli").files or ():  # a compiled one has a library beside it
            (lib / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(part.locate()), lib / part)
        for name, module in (("vm-run", "vm_run.__main__"), ("vm-stop", "vm_stop.__main__")):
            text = SCRIPT.format(python=PYTHON, lib=str(lib), module=module)
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (units / "service.d").mkdir()
        (units / "service.d" / "log.conf").write_text(
            f"[Service]\nStandardError=append:{self.folder}/services.log\n"
        )
        for unit in UNITS.iterdir():
            text = unit.read_text().replace("/usr/local", str(self.folder))
            (units / unit.name).write_text(text)

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        """Waits until something holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.logs
            select.select([], [], [], 0.02)

    def comes_up(self) -> bool:
        """Whether it is there; it tells why it is not in its log."""
        private = self.folder / "run" / "systemd" / "private"
        self.wait_for(lambda: private.exists() or self.process.poll() is not None)
        return private.exists()

    @property
    def logs(self) -> str:
        """What the manager and its services have said."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def describe(self, name: str, text: str) -> None:
        """Writes a description of the user's."""
        file = self.confdir / f"{name}.toml"
        file.write_text(text)
        os.chown(file, NOBODY, NOBODY)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begins `systemctl --user WORDS...` as the user."""
        return subprocess.Popen(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             "systemctl", "--user", *words],
            env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": f"{self.folder}/run"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `systemctl --user WORDS...` answers."""
        process = self.begin(*words)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def does(self, *words: str) -> None:
        """Has `systemctl --user WORDS...` done."""
        done = self.asked(*words)
        assert done.returncode == 0, f"{done.stderr}{self.logs}"

    def knows(self, unit: str) -> dict[str, str]:
        """Every property of a unit."""
        lines = self.asked("show", unit).stdout.splitlines()
        parts = [line.partition("=") for line in lines]
        return {key: value for key, _, value in parts}

    def state(self, name: str, file: str) -> dict[str, Any]:
        """What a VM's state folder says."""
        path = self.folder / "run" / "vm" / name / file
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def reads(self, name: str, what: str) -> bool:
        """Whether a guest has written a text."""
        log = self.folder / "run" / "vm" / name / "console.log"
        return log.exists() and what in log.read_text(errors="replace")

    def close(self) -> None:
        """Ends it and what it runs."""
        if self.process.poll() is None:
            self.begin("exit").communicate(timeout=60)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        shutil.rmtree(self.folder)
