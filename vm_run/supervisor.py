"""One guest from its start to its end: signals and events in, an outcome out.

Loaded while the guest is already booting. Nothing is polled for: one poll(2) waits for the
process, for signals, for QMP and for the next deadline.
"""

from __future__ import annotations

import os
import select
import signal
import time

from vm_run.reboot import Verdict
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Outcome
from vm_state import stop_request
from vm_state.process import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from vm_run.logs import Logs
    from vm_spec.machine import Machine
    from vm_state.process import Process
    from vm_state.qmp import Qmp

    Report = Callable[..., None]

__all__ = ["Guest", "Signals", "supervise"]

_VM_STOP = "vm-stop"  # who sends SIGUSR1
_PRESS_EVERY_S = 10.0  # a guest that is still booting does not see the power button
_QUIT_S = 5.0  # a hypervisor that does not quit for so long is killed
_BY_REASON = {
    "guest-reset": "reboot",
    "subsystem-reset": "reboot",
    "guest-shutdown": "poweroff",
    "guest-panic": "triple-fault",
}


class Signals:
    """The signals that stop a guest, as something to poll.

    Attributes:
        fd: becomes readable when one of them has come.
    """

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, _ignore) for number in stop_request.SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_request.SIGNALS)

    def take(self) -> list[str]:
        """The names of the signals since the last call, "vm-stop" for its own."""
        try:
            numbers = os.read(self.fd, 512)
        except BlockingIOError:
            return []
        caught = [signal.Signals(number) for number in numbers if number in stop_request.SIGNALS]
        return [_VM_STOP if number == stop_request.SIGNAL else number.name for number in caught]

    def close(self) -> None:
        """Restores the former handlers."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._write)


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler must exist for the wake-up descriptor to be written to."""


class Guest:
    """A hypervisor with its guest while it runs.

    It runs until it is asked to stop, which presses its power button again and again; then it is
    forced, which ends the hypervisor in its own way; then killed. Each step has a deadline.

    Attributes:
        process: the hypervisor.
        qmp: its monitor; None for bhyve, and when the connection is lost.
        report: is called with an event and its keys.
        forced: whether it was forced.
        stop_timeout_s: how long it has to power off when asked.
    """

    def __init__(
        self, process: Process, qmp: Qmp | None, machine: Machine, directory: str, report: Report
    ) -> None:
        self.process = process
        self.qmp = qmp
        self.report = report
        self.is_qemu = qmp is not None
        self.forced = False
        self.stop_timeout_s: float = machine.stop_timeout
        self._name = machine.name
        self._directory = directory
        self._outcome: str | None = None
        self._force_at: float | None = None
        self._press_at: float | None = None
        self._kill_at: float | None = None

    def handle_signal(self, name: str) -> None:
        """Asks the guest to power off; a second signal forces it, but vm-stop's does not."""
        if name == _VM_STOP:
            self._follow_request()
        elif self._force_at is not None:
            self._force(f"{name} again")
        else:
            self._ask_to_stop(name)

    def _follow_request(self) -> None:
        """Does as vm-stop asks; a second request changes the timeout."""
        timeout_s = stop_request.take(self._directory)
        if timeout_s is not None:
            self.stop_timeout_s = timeout_s
        if timeout_s == 0:
            self._force_at = self._force_at or time.monotonic()
            self._force(f"{_VM_STOP} --force")
        elif self._force_at is None:
            self._ask_to_stop(_VM_STOP)
        elif timeout_s is not None:
            self._force_at = time.monotonic() + timeout_s

    def _ask_to_stop(self, by: str) -> None:
        self._press_at = time.monotonic()
        self._force_at = self._press_at + self.stop_timeout_s
        self.report("stopping", by=by, timeout=self.stop_timeout_s)

    def _is_halted(self) -> bool:
        try:
            return self.qmp is not None and self.qmp.is_halted()
        except (OSError, VmError):
            return False

    def _press(self) -> None:
        """Presses the power button (ACPI), which a halted guest does not see."""
        self._press_at = time.monotonic() + _PRESS_EVERY_S
        if self._is_halted():
            self._outcome = "halt"
            self._force("its processors are halted")
            return
        if self.qmp:
            self._send("system_powerdown")
        elif self.is_qemu:
            self.process.send(signal.SIGTERM)
        else:
            from vm_run.bhyve.ending import press

            press(self.process, self._directory)

    def _force(self, why: str) -> None:
        """Ends the hypervisor so that it closes its images; SIGKILL follows if it does not."""
        if self.forced:
            self.process.send(signal.SIGKILL)
            return
        self.forced = True
        self._kill_at = time.monotonic() + _QUIT_S
        self._press_at = None
        self.report("forcing", why=why)
        if self.is_qemu:
            quits = self._send("quit")
        else:
            from vm_run.bhyve.bhyvectl import force_poweroff

            quits = force_poweroff(self._name)
        if not quits:
            self.process.send(signal.SIGKILL)

    def _send(self, command: str) -> bool:
        """Whether QEMU could be sent a command."""
        try:
            if self.qmp:
                self.qmp.send(command)
        except OSError:
            return False
        return self.qmp is not None

    def act(self, now: float) -> None:
        """Does what is due."""
        if self._kill_at is not None and now >= self._kill_at:
            self.process.send(signal.SIGKILL)
            self._kill_at = None
        elif self._force_at is not None and now >= self._force_at and not self.forced:
            self._force(f"it did not power off within {self.stop_timeout_s:g} s")
        elif self._press_at is not None and now >= self._press_at:
            self._press()

    def next_deadline(self) -> float | None:
        """When `act` has something to do next."""
        force_at = None if self.forced else self._force_at
        return min((at for at in (self._kill_at, force_at, self._press_at) if at), default=None)

    def read_events(self) -> None:
        """Reads what QEMU has reported; never waits."""
        try:
            for event in self.qmp.events() if self.qmp else ():
                self._handle_event(event)
        except EOFError:
            self._close_monitor()

    def _handle_event(self, event: dict[str, Any]) -> None:
        """Source: qemu-qmp-ref(7)."""
        match event["event"]:
            case "RESUME":
                self.report("running")
            case "GUEST_PANICKED":
                self._outcome = "triple-fault"
            case "SUSPEND_DISK":
                self._outcome = "suspend"
            case "SHUTDOWN" if self._outcome is None:
                reason = event.get("data", {}).get("reason", "")
                self._outcome = _BY_REASON.get(reason, "killed")
            case _:
                pass

    def verdict(self) -> Verdict:
        """How the guest ended, once its process has."""
        self.read_events()
        asked = self._force_at is not None
        outcome, detail = self._judge(self.process.wait(), asked=asked)
        return Verdict(
            outcome=Outcome(outcome or "killed"), asked=asked, forced=self.forced, detail=detail
        )

    def _judge(self, code: int | None, *, asked: bool) -> tuple[str | None, str]:
        """The outcome, and what the exit code says beyond it; None for neither."""
        if code is None:
            return self._outcome, ""
        if not self.is_qemu:
            from vm_run.bhyve.ending import judged

            return judged(code, self._directory, asked=asked)
        if code < 0:
            is_kill = code in (-signal.SIGKILL, -signal.SIGTERM)
            return "killed" if is_kill else "error", signal_name(-code)
        if self._outcome is None:
            return "error" if code else "poweroff", f"exit status {code}"
        return self._outcome, ""

    def _close_monitor(self) -> None:
        if self.qmp:
            self.qmp.close()
        self.qmp = None

    def close(self) -> None:
        """Lets go of the process and its monitor."""
        self.process.close()
        self._close_monitor()


def supervise(guest: Guest, signals: Signals, logs: Logs | None = None) -> Verdict:
    """Passes signals on and keeps logs small until a hypervisor has ended, and says how."""
    if not guest.is_qemu:  # QEMU itself says when it runs
        guest.report("running")
    while guest.process.fd not in _wait(guest, signals, logs):
        for name in signals.take():
            guest.handle_signal(name)
        guest.read_events()
        guest.act(time.monotonic())
        if logs:
            logs.act(time.monotonic())
    return guest.verdict()


def _wait(guest: Guest, signals: Signals, logs: Logs | None) -> set[int]:
    """Waits for the next event or deadline; the descriptors that are readable."""
    poll = select.poll()
    poll.register(guest.process.fd, select.POLLIN)
    poll.register(signals.fd, select.POLLIN)
    if guest.qmp:
        poll.register(guest.qmp.socket, select.POLLIN)
    deadlines = (guest.next_deadline(), logs.check_at if logs else None)
    deadline = min((at for at in deadlines if at is not None), default=None)
    wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
    return {fd for fd, _ in poll.poll(wait_ms)}
