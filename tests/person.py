"""Somebody at a terminal of their own, who runs one command there."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import termios
import time

from tests.vm import LIMIT_S, Vm


class Person:
    """Who types `COMMAND WORDS...` at a terminal; COMMAND is a module: vm_run."""

    def __init__(self, vm: Vm, module: str, *words: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(vm.folder)
            argv = [sys.executable, "-m", module, *words]
            os.execve(sys.executable, argv, vm.environment())  # noqa: S606
        self.before = self.settings()
        self.seen = b""

    def settings(self) -> list[object]:
        """The terminal's settings, as stty shows them."""
        return termios.tcgetattr(self.terminal)

    def reads(self, what: bytes, timeout_s: float = LIMIT_S) -> None:
        """Waits until a text has come that was not there at the last call."""
        deadline = time.monotonic() + timeout_s
        while what not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, self.seen
            self.seen += os.read(self.terminal, 65536)
        self.seen = self.seen[self.seen.index(what) + len(what) :]

    def types(self, keys: bytes) -> None:
        """Types."""
        os.write(self.terminal, keys)

    def leaves(self) -> int:
        """Reads to the end; the exit status."""
        try:
            while chunk := os.read(self.terminal, 65536):
                self.seen += chunk
        except OSError:
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return status

    def goes(self) -> None:
        """Is taken away, if still there."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
