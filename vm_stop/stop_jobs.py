"""One VM that has been asked to end: by its vm-run, or directly where that is gone."""

from __future__ import annotations

import signal
import time

from vm_run.messages import ended, line
from vm_run.room import CANNOT_WRITE, Room
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.machine import Machine
from vm_spec.types import VmName
from vm_state import statedir, stop_request
from vm_state.lock import Lock
from vm_state.process import Process
from vm_state.record import is_running, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_state.qmp import Qmp
    from vm_state.record import Record

    Tell = Callable[[str, str], None]

__all__ = ["Answer", "Orphan", "Supervised", "Wish"]


class Wish(Value):
    """How VMs are to end.

    Attributes:
        timeout_s: seconds that a guest has to power off before it is forced, 0 to force it at
            once; None for its description's stop_timeout.
        wait: whether somebody waits for the end.
    """

    timeout_s: float | None = None
    wait: bool = True


class Answer(Value):
    """What became of one VM.

    Attributes:
        name: what vm-run calls it.
        state: stopped; stopping; not running; crashed (it was not running, and what it had left
            is removed now); elsewhere (another host has it); failed.
        said: a sentence about it that begins without it.
        hint: the next step; empty where none is known.
        status: the exit status that it is worth.
    """

    name: str
    state: str
    said: str
    hint: str = ""
    status: int = 0


def _asked(timeout_s: float) -> str:
    if timeout_s == 0:
        return "is forced"
    return f"asked to power off; it is forced after {timeout_s:g} s"


def _stop_timeout(record: Record, wish: Wish) -> float:
    recorded = record.get("stop_timeout")
    default = recorded if isinstance(recorded, int) else int(Machine.defaults["stop_timeout"])
    return default if wish.timeout_s is None else wish.timeout_s


class Supervised:
    """A VM whose vm-run does the work.

    Attributes:
        name: what vm-run calls the VM.
        process: that vm-run, proven to hold the VM.
    """

    def __init__(self, name: str, process: Process, wish: Wish, tell: Tell) -> None:
        self.name = name
        self.process = process
        self.wish = wish
        self.tell = tell
        self.folder = statedir.directory(name)
        try:
            if wish.timeout_s is not None:
                stop_request.write(self.folder, wish.timeout_s)
        except OSError as error:
            process.close()
            problem = f"{self.folder}: cannot be written to: {error.strerror}"
            raise VmError(Fault(problem=problem), status=CANNOT_WRITE) from None
        tell(name, _asked(_stop_timeout(read_record(self.folder), wish)))
        process.send(stop_request.SIGNAL)

    def fds(self) -> list[int]:
        """What becomes readable when something has happened."""
        return [self.process.fd]

    def next_deadline(self) -> float | None:
        """None: vm-run keeps the time."""
        return None

    def act(self, now: float) -> None:
        """Does nothing: vm-run does what is due."""

    def end(self) -> Answer | Orphan:
        """How the VM ended with its vm-run; the guest of one that was killed is a new job."""
        said = stop_request.read_ending(self.folder, self.process.pid)
        record = read_record(self.folder)
        self.close()
        if said:
            return Answer(name=self.name, state="stopped", said=said)
        if record.get("supervisor") != self.process.pid or not is_running(record):
            return Answer(name=self.name, state="stopped", said="its vm-run has ended")
        self.tell(self.name, "its vm-run was killed; the guest goes on and is stopped without it")
        return Orphan(self.name, record, self.wish, self.tell)

    def close(self) -> None:
        """Lets it go."""
        self.process.close()


class Orphan:
    """A VM whose vm-run is gone: while it is stopped, we are in its place.

    Attributes:
        name: what vm-run calls the VM.
        process: the hypervisor.
    """

    def __init__(self, name: str, record: Record, wish: Wish, tell: Tell) -> None:
        from vm_run.supervisor import ASKED, Guest

        self.name = name
        self.tell = tell
        self.record = record
        file = record.get("file")
        self.room = Room(name, file if isinstance(file, str) else "")
        self.room.own = Lock.take(f"{self.room.folder}/lock", name)
        try:
            self.process = self.room.left_running(record)
            qmp = self._monitor(wish)
        except BaseException:
            self.room.leave(clean=False)
            raise
        called = record.get("machine")
        machine = Machine(name=VmName(called if isinstance(called, str) else name))
        self.guest = Guest(self.process, qmp, machine, self._told)
        self.guest.folder = self.room.folder
        self.guest.stop_timeout_s = _stop_timeout(record, wish)
        self.guest.patience = lambda: wish.timeout_s
        self.guest.follow(ASKED)
        self.act(time.monotonic())

    def _monitor(self, wish: Wish) -> Qmp | None:
        """A connection to QEMU; one that does not answer is killed if it is to be forced.

        Raises:
            VmError: it does not answer (75).
        """
        if self.record.get("hypervisor") != "qemu":
            return None
        from vm_state.qmp import Qmp

        try:
            return Qmp.connect(f"{self.room.folder}/supervisor.sock")
        except VmError as error:
            if wish.timeout_s == 0:
                self.process.send(signal.SIGKILL)
                return None
            self.process.close()
            hint = f"end it: vm-stop --force {self.name}"
            raise VmError(Fault(problem=error.faults[0].problem, hint=hint), status=75) from None

    def _told(self, event: str, **facts: object) -> None:
        self.room.note(event)
        if event == "stopping":
            self.tell(self.name, _asked(self.guest.stop_timeout_s))
        else:
            self.tell(self.name, line({"event": event} | facts))

    def fds(self) -> list[int]:
        """What becomes readable when something has happened."""
        return [self.process.fd, *([self.guest.qmp.socket.fileno()] if self.guest.qmp else [])]

    def next_deadline(self) -> float | None:
        """When `act` has something to do next, on the monotonic clock."""
        return self.guest.next_deadline()

    def act(self, now: float) -> None:
        """Does what is due, and hears what QEMU tells."""
        from vm_run.supervisor import listen

        listen(self.guest)
        self.guest.act(now)

    def end(self) -> Answer:
        """How the VM ended; what it left is removed."""
        from vm_run.supervisor import verdict

        found = verdict(self.guest)
        is_qemu = self.record.get("hypervisor") == "qemu"
        for console in self.record.get("consoles", []) if is_qemu else ():
            if console.get("kind") == "virtio":
                self.room.remove(str(console.get("to")))
        self._close(clean=True)
        for left in self.room.leftovers:
            self.tell(self.name, f"cannot be removed: {left}")
        forced = ", forced" if found.forced else ""
        return Answer(
            name=self.name,
            state="stopped",
            said=f"guest {ended(found.outcome)}{forced}; it had no vm-run",
        )

    def close(self) -> None:
        """Lets it go; what runs goes on."""
        self._close(clean=False)

    def _close(self, *, clean: bool) -> None:
        self.process.close()
        if self.guest.qmp:
            self.guest.qmp.close()
        self.room.leave(clean=clean)
