"""A running VM's screen as a page for a browser on this host."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time

from vm_console.attach import ENDING, Signalled
from vm_console.life import Life
from vm_console.ports import running
from vm_console.screen import reach
from vm_console.web import files as web_files
from vm_console.web.door import ADDRESS, Door, Site, answer, refusal
from vm_console.web.relay import relay
from vm_console.web.request import LONGEST_HEAD, RequestError, parse
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import statedir

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from vm_console.web.request import Answer

__all__ = ["Server", "show"]

_PATIENCE_S = 10.0  # for a request to be whole
_MOST = 64  # connections at a time
_END = b"\r\n\r\n"


def show(name: str, tell: Callable[[str], None]) -> str:
    """Serves the screen of a running VM until that has ended; in which words, empty for none.

    Args:
        name: what vm-run calls the VM.
        tell: hears the link.

    Raises:
        VmError: there is no such VM, or it has no screen (66), it does not run or noVNC is not
            installed (69), it runs on another host or does not answer (75).
        Signalled: a signal ends us.
    """
    running(name, f"vm-console --web {name}")
    site = Site(vm=name, novnc=web_files.find())
    reach(name).close()
    server = Server(site)
    life = Life(name, statedir.folder(name))
    try:
        tell(server.door.link)
        server.stay(life)
    finally:
        life.close()
        server.close()
    return life.said


class Server:
    """Who answers browsers: a thread for each connection.

    Attributes:
        door: who may come in.
    """

    def __init__(self, site: Site) -> None:
        """Listens on a free port of 127.0.0.1.

        Raises:
            VmError: there is none (69).
        """
        self.site = site
        try:
            self.listener = socket.create_server((ADDRESS, 0))
        except OSError as error:
            problem = f"{ADDRESS} cannot be listened on: {error.strerror}"
            raise VmError(Fault(problem=problem), status=69) from None
        self.listener.setblocking(False)  # who has gone again must not hold us
        self.door = Door(self.listener.getsockname()[1])
        self._places = threading.BoundedSemaphore(_MOST)

    def stay(self, life: Life) -> None:
        """Answers until the VM has ended.

        Raises:
            Signalled: a signal ends us.
        """
        wakeup, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        former = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        handlers = {each: signal.signal(each, _end) for each in ENDING}
        try:
            while life.process:
                ready = _ready(self.listener.fileno(), life.process.fd, wakeup)
                if self.listener.fileno() in ready:
                    self.admit()
                if life.process.fd in ready:
                    life.goes_on()
        finally:
            signal.set_wakeup_fd(former)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(wakeup)
            os.close(woken)

    def admit(self) -> None:
        """Takes one connection; one too many is closed."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        if not self._places.acquire(blocking=False):
            client.close()
            return
        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                self._converse(client)
        except OSError:  # it is gone, or was too slow
            pass
        finally:
            self._places.release()

    def _converse(self, client: socket.socket) -> None:
        try:
            head, early = _head(client)
            found = answer(parse(head), self.door, self.site)
            if found.status == 101:
                self._carry(client, found, early)
                return
        except RequestError as refused:
            found = refusal(refused)
        client.sendall(found.whole())

    def _carry(self, client: socket.socket, switched: Answer, early: bytes) -> None:
        try:
            screen = reach(self.site.vm)
        except VmError as error:
            raise RequestError(503, error.faults[0].problem) from None
        with screen:
            client.sendall(switched.whole())
            relay(client, screen, early)

    def close(self) -> None:
        """Listens no more; connections end with the process."""
        self.listener.close()


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    """What stands before the first empty line, and what follows.

    Raises:
        RequestError: there is no end to it.
        OSError: it does not come in time.
    """
    read = b""
    deadline = time.monotonic() + _PATIENCE_S
    while _END not in read:
        if len(read) > LONGEST_HEAD:
            raise RequestError(431, "the request is too long")
        client.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = client.recv(4096)
        if not chunk:
            msg = "the browser has gone"
            raise ConnectionResetError(msg)
        read += chunk
    head, _, early = read.partition(_END)
    return head, early


def _ready(*fds: int) -> dict[int, int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return dict(poll.poll())


def _end(number: int, frame: FrameType | None) -> None:
    raise Signalled(number)
