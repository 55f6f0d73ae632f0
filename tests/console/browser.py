"""Chromium without a window, and somebody who looks at its pages."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.lacking import lacking, need
from vm_state.process import spawn

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless", "--no-first-run", "--disable-gpu", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--hide-scrollbars",
)  # fmt: skip


def program() -> str:
    """Chromium's path; a missing one skips the test at home and fails it in CI."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    lacking("chromium is missing")


def has_user_namespaces() -> bool:
    """Whether an ordinary user can make one here, which the browser's sandbox needs."""
    if os.getuid() == 0:
        return False
    made = subprocess.run(
        [need("unshare"), "--user", "true"], stderr=subprocess.DEVNULL, check=False
    )
    return made.returncode == 0


class Browser:
    """A browser with one page, asked over a pipe (the DevTools protocol)."""

    def __init__(self, folder: Path) -> None:
        to_us, from_it = os.pipe2(os.O_CLOEXEC)
        to_it, from_us = os.pipe2(os.O_CLOEXEC)
        with (folder / "browser.log").open("w") as log:
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            ends = {0: nothing, 1: log.fileno(), 2: log.fileno(), 3: to_it, 4: from_it}
            moved = {k: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for k, fd in ends.items()}
            sandbox = [] if has_user_namespaces() else ["--no-sandbox"]
            argv = [program(), *QUIET, *sandbox, "--remote-debugging-pipe"]
            argv += [f"--user-data-dir={folder / 'profile'}", "about:blank"]
            self.pid = spawn(argv, moved, os.environ | {"HOME": str(folder)})
            for fd in (*moved.values(), nothing, from_it, to_it):
                os.close(fd)
        self._in, self._out = to_us, from_us
        self._unread = b""
        self._asked = 0
        self._session = ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def ask(self, method: str, **parameters: object) -> Any:
        """What a command of the DevTools protocol returns."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = json.loads(self._next(deadline))
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self, deadline: float) -> bytes:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser has ended"
            self._unread += chunk
        found, _, self._unread = self._unread.partition(b"\0")
        return found

    def visit(self, url: str) -> str:
        """Goes to a page; what went wrong with that, or nothing."""
        return str(self.ask("Page.navigate", url=url).get("errorText", ""))

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is on the page now."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def close(self) -> None:
        """Ends it."""
        self._session = ""
        try:
            self.ask("Browser.close")
        finally:
            os.close(self._out)
            os.close(self._in)
            os.waitpid(self.pid, 0)
