"""One guest from its start to its end: signals and events in, an outcome out.

Loaded while the guest is already booting. Nothing is polled for: one poll(2) waits for the
process, for signals, for QMP and for the next deadline.
"""

from __future__ import annotations

import os
import select
import signal
import time

from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.machine import Outcome
from vm_state.process import signal_name
from vm_state.stop_request import SIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from vm_run.logs import Logs
    from vm_spec.machine import Machine
    from vm_state.process import Process
    from vm_state.qmp import Qmp

    Tell = Callable[..., None]

__all__ = ["Guest", "Signals", "Verdict", "listen", "supervise", "verdict"]

ASKED = "vm-stop"  # who asks by the signal that is its own
_PRESS_EVERY_S = 10.0  # a guest that is still booting does not see the power button
_QUIT_S = 5.0  # a QEMU that does not follow `quit` for so long is killed
_BY_REASON = {
    "guest-reset": "reboot",
    "subsystem-reset": "reboot",
    "guest-shutdown": "poweroff",
    "guest-panic": "triple-fault",
}


class Verdict(Value):
    """How a guest ended.

    Attributes:
        outcome: in one word.
        asked: whether it was we who asked it to end.
        forced: whether it had to be forced.
        detail: what the hypervisor's exit says beyond the outcome: `exit status 1`, `SIGKILL`.
    """

    outcome: Outcome
    asked: bool = False
    forced: bool = False
    detail: str = ""


class Signals:
    """SIGTERM, SIGINT, SIGHUP and vm-stop's SIGUSR1 as something to poll.

    Attributes:
        fd: becomes readable when one of them has come.
    """

    CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, SIGNAL)

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, _noted) for number in self.CAUGHT}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.CAUGHT)

    def take(self) -> list[str]:
        """The names of the signals that have come since the last call, "vm-stop" for its own."""
        try:
            numbers = os.read(self.fd, 512)
        except BlockingIOError:
            return []
        caught = [signal.Signals(number) for number in numbers if number in self.CAUGHT]
        return [ASKED if number == SIGNAL else number.name for number in caught]

    def close(self) -> None:
        """Gives the signals their former meaning back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._write)


def _noted(number: int, frame: FrameType | None) -> None:
    """A handler must exist for the wake-up descriptor to be written to."""


class Guest:
    """A hypervisor with its guest, as it is seen while it runs.

    Attributes:
        process: the hypervisor.
        qmp: its monitor; None for bhyve.
        stop_timeout_s: how long it has to power off when asked.
        tell: is told what happens: tell("running"), tell("stopping", by="SIGTERM").
        name: what the hypervisor calls it.
        folder: its state folder.
        patience: how many seconds vm-stop gives it; None for stop_timeout.
    """

    def __init__(self, process: Process, qmp: Qmp | None, machine: Machine, tell: Tell) -> None:
        self.name = machine.name
        self.folder = ""
        self.process = process
        self.qmp = qmp
        self.is_qemu = qmp is not None
        self.stop_timeout_s: float = machine.stop_timeout
        self.tell = tell
        self.patience: Callable[[], float | None] = lambda: None
        self.outcome: str | None = None
        self.forced = False
        self.force_at: float | None = None
        self.press_at: float | None = None
        self.kill_at: float | None = None

    def stop(self, by: str) -> None:
        """Asks the guest to power off; asked a second time, forces it."""
        if self.force_at is not None:
            self.force(f"{by} again")
        else:
            self._begin_to_stop(by)

    def follow(self, by: str) -> None:
        """Does as vm-stop says; said a second time, that changes the timeout and forces nothing."""
        asked_s = self.patience()
        self.stop_timeout_s = self.stop_timeout_s if asked_s is None else asked_s
        if asked_s == 0:
            self.force_at = self.force_at or time.monotonic()
            self.force(f"{by} --force")
        elif self.force_at is None:
            self._begin_to_stop(by)
        elif asked_s is not None:
            self.force_at = time.monotonic() + asked_s

    def _begin_to_stop(self, by: str) -> None:
        now = time.monotonic()
        self.force_at = now + self.stop_timeout_s
        self.press_at = now
        self.tell("stopping", by=by, timeout=self.stop_timeout_s)
        if self._is_halted():
            self.outcome = "halt"
            self.force("its processors are halted")

    def press(self) -> None:
        """Presses the power button (ACPI)."""
        self.press_at = time.monotonic() + _PRESS_EVERY_S
        if self.qmp:
            self._told("system_powerdown")
        elif self.is_qemu:
            self.process.send(signal.SIGTERM)
        else:
            from vm_run.bhyve.ending import press

            press(self.process, self.folder)

    def force(self, why: str) -> None:
        """Ends the hypervisor so that it closes its images; SIGKILL follows if it does not."""
        if self.forced:
            self.process.send(signal.SIGKILL)
            return
        self.forced = True
        self.kill_at = time.monotonic() + _QUIT_S
        self.press_at = None
        self.tell("forcing", why=why)
        if not (self._told("quit") if self.is_qemu else self._loses_power()):
            self.process.send(signal.SIGKILL)

    def _told(self, command: str) -> bool:
        """Whether QEMU could be told a command."""
        try:
            if self.qmp:
                self.qmp.send(command)
        except OSError:
            return False
        return self.qmp is not None

    def _loses_power(self) -> bool:
        from vm_run.bhyve.bhyvectl import force_poweroff

        return force_poweroff(self.name)

    def _is_halted(self) -> bool:
        try:
            return self.qmp is not None and self.qmp.is_halted()
        except (OSError, VmError):
            return False

    def act(self, now: float) -> None:
        """Does what is due."""
        if self.kill_at is not None and now >= self.kill_at:
            self.process.send(signal.SIGKILL)
            self.kill_at = None
        elif self.force_at is not None and now >= self.force_at and not self.forced:
            self.force(f"it did not power off within {self.stop_timeout_s:g} s")
        elif self.press_at is not None and now >= self.press_at:
            self.press()

    def next_deadline(self) -> float | None:
        """When `act` has something to do next, on the monotonic clock."""
        force_at = None if self.forced else self.force_at
        return min((at for at in (self.kill_at, force_at, self.press_at) if at), default=None)

    def hear(self, event: dict[str, Any]) -> None:
        """Takes notice of an event of QEMU's (qemu-qmp-ref(7))."""
        match event["event"]:
            case "RESUME":
                self.tell("running")
            case "GUEST_PANICKED":
                self.outcome = "triple-fault"
            case "SUSPEND_DISK":
                self.outcome = "suspend"
            case "SHUTDOWN" if self.outcome is None:
                self.outcome = _BY_REASON.get(event.get("data", {}).get("reason", ""), "killed")
            case _:
                pass


def supervise(guest: Guest, signals: Signals, logs: Logs | None = None) -> Verdict:
    """Waits until a hypervisor has ended, handing on signals and bounding logs, and says how."""
    poll = select.poll()
    poll.register(guest.process.fd, select.POLLIN)
    poll.register(signals.fd, select.POLLIN)
    if guest.qmp:
        poll.register(guest.qmp.socket, select.POLLIN)
    else:
        guest.tell("running")
    while guest.process.fd not in _ready(poll, _deadline(guest, logs)):
        for name in signals.take():
            (guest.follow if name == ASKED else guest.stop)(name)
        listen(guest, poll)
        guest.act(time.monotonic())
        if logs:
            logs.act(time.monotonic())
    return verdict(guest)


def _deadline(guest: Guest, logs: Logs | None) -> float | None:
    first, second = guest.next_deadline(), logs.look_at if logs else None
    return min((at for at in (first, second) if at is not None), default=None)


def _ready(poll: select.poll, deadline: float | None) -> set[int]:
    wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
    return {fd for fd, _ in poll.poll(wait_ms)}


def listen(guest: Guest, poll: select.poll | None = None) -> None:
    """Hears what QEMU has told since the last call; never waits."""
    if guest.qmp is None:
        return
    try:
        for event in guest.qmp.events():
            guest.hear(event)
    except EOFError:
        if poll:
            poll.unregister(guest.qmp.socket)
        guest.qmp.close()
        guest.qmp = None


def verdict(guest: Guest) -> Verdict:
    """How a guest has ended, once its process has."""
    listen(guest)
    code = guest.process.wait()
    outcome, detail = guest.outcome, ""
    if code is not None and not guest.is_qemu:
        from vm_run.bhyve.ending import judged

        outcome, detail = judged(code, guest.folder, asked=guest.force_at is not None)
    elif code is not None and code < 0:
        detail = signal_name(-code)
        outcome = "killed" if code in (-signal.SIGKILL, -signal.SIGTERM) else "error"
    elif outcome is None and code is not None:
        outcome, detail = "error" if code else "poweroff", f"exit status {code}"
    return Verdict(
        outcome=Outcome(outcome or "killed"),
        asked=guest.force_at is not None,
        forced=guest.forced,
        detail=detail,
    )
