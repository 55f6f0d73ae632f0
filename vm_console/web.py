"""The screen of a running VM in a browser: websockify serves noVNC and carries VNC to it.

Other users of this host can connect to the port, so the screen needs the token of the link, which
is in a file of the state directory and in no command line. QEMU's screen is reached through a
socket of ours there: each viewer's connection is handed to QEMU.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack

from vm_console.attach import catch_signals
from vm_console.consoles import running
from vm_console.lifetime import Lifetime
from vm_console.screen import check_screen, hand_to_qemu, vnc_address
from vm_spec.fault import Fault, VmError
from vm_state import statedir
from vm_state.platform import which

_ADDRESS = "127.0.0.1"
_PAGE = "vnc.html?autoconnect=1&reconnect=1&reconnect_delay=1000&resize=scale"
_INSTALL = "Debian: sudo apt install novnc, which brings websockify"


def serve(name: str, report: Callable[[str], None]) -> str:
    """Serves the screen of a running VM until the VM ends; how it ended, empty when unknown.

    Args:
        name: the VM's name.
        report: takes the link.

    Raises:
        VmError: no such VM or no screen (66), it does not run or noVNC is missing (69), it runs
            on another host or does not answer (75).
        Signaled: a signal ends this program.
    """
    record = running(name, f"vm-console --web {name}")
    command = _find_websockify()
    check_screen(name, record)
    with ExitStack() as stack:
        wakeup = stack.enter_context(catch_signals())
        stem = f"{statedir.directory(name)}/web.{os.getpid()}"
        target = vnc_address(record)
        viewers = None if target else _listen(f"{stem}.sock", stack)
        token = secrets.token_urlsafe(24)
        _write_private(f"{stem}.token", f"{token}: {target or f'unix_socket:{stem}.sock'}\n", stack)
        port = _start(command, f"{stem}.token", stack)
        lifetime = Lifetime(name, statedir.directory(name))
        stack.callback(lifetime.close)
        report(f"http://{_ADDRESS}:{port}/{_PAGE}&path=websockify%3Ftoken%3D{token}")
        _accept_viewers(name, viewers, lifetime, wakeup)
        return lifetime.message


def _find_websockify() -> list[str]:
    """The command that serves noVNC.

    Raises:
        VmError: websockify or noVNC is not installed (69).
    """
    novnc = os.environ.get("NOVNC_DIR", "/usr/share/novnc")
    websockify = which("websockify")
    if websockify is None:
        fault = Fault(problem="websockify is not installed", hint=_INSTALL)
    elif not os.path.isfile(f"{novnc}/vnc.html"):
        fault = Fault(problem=f"noVNC is not in {novnc}", hint=f"{_INSTALL}; or set NOVNC_DIR")
    else:
        return [websockify, "--inetd", "--web", novnc, "--token-plugin", "TokenFile"]
    raise VmError(fault, status=os.EX_UNAVAILABLE)


def _listen(path: str, stack: ExitStack) -> socket.socket:
    """A listening socket at a path; the stack removes it."""
    viewers = stack.enter_context(socket.socket(socket.AF_UNIX))
    viewers.bind(path)
    stack.callback(_remove, path)
    viewers.listen()
    viewers.setblocking(False)
    return viewers


def _write_private(path: str, content: str, stack: ExitStack) -> None:
    """Writes a file that only this user can read; the stack removes it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(_remove, path)
    with open(fd, "w", encoding="ascii") as file:
        file.write(content)


def _remove(path: str) -> None:
    """Removes a file; vm-run may have done so at the end of the VM."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _start(command: list[str], token_file: str, stack: ExitStack) -> int:
    """Starts websockify on a free port, which it returns; the stack ends it and its children."""
    setpriv = which("setpriv")  # util-linux: websockify ends with us, even by SIGKILL
    ends_with_us = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    with socket.create_server((_ADDRESS, 0)) as listener:
        process = subprocess.Popen(
            [*ends_with_us, *command, "--token-source", token_file],
            stdin=listener.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(os.killpg, process.pid, signal.SIGKILL)
        return int(listener.getsockname()[1])


def _accept_viewers(
    name: str, viewers: socket.socket | None, lifetime: Lifetime, wakeup: int
) -> None:
    """Hands each viewer to QEMU until the VM ends."""
    while lifetime.process:
        poll = select.poll()
        for fd in (wakeup, lifetime.process.fd, *([viewers.fileno()] if viewers else [])):
            poll.register(fd, select.POLLIN)
        ready = dict(poll.poll())
        if viewers and viewers.fileno() in ready:
            viewer, _ = viewers.accept()
            with viewer:
                hand_to_qemu(name, viewer)
        if lifetime.process.fd in ready:
            lifetime.goes_on()
