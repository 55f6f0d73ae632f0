"""The story of vm-run: a description is started, watched, and started again until it is done."""

from __future__ import annotations

import os
import signal
import time

from vm_run.host.check import require
from vm_run.launch import launch
from vm_run.messages import forwards, sentence
from vm_run.options import Ending, Options
from vm_run.pci_slots import place
from vm_run.program import hypervisor
from vm_run.room import Room
from vm_spec.devices import VirtioConsole
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.targets import select
from vm_state.statedir import fallback_note
from vm_state.stop_request import SIGNAL, take, write_ending
from vm_state.terminal import Saved

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen
    from typing import Any

    from vm_run.logs import Logs
    from vm_run.reboot import Boot
    from vm_run.supervisor import Guest, Signals, Verdict
    from vm_spec.machine import Description, Machine
    from vm_state.process import Process
    from vm_state.qmp import Qmp

    OnEvent = Callable[[dict[str, Any]], None]

__all__ = ["Options", "run"]

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, SIGNAL)


def _nobody(event: dict[str, object]) -> None:
    """Listens to no event."""


def run(
    description: Description, options: Options | None = None, on_event: OnEvent = _nobody
) -> Ending:
    """Runs a description until its guest ends for good.

    Call it from the main thread: it listens to SIGTERM, SIGINT, SIGHUP, SIGUSR1 (which is
    vm-stop's) and SIGIO meanwhile.

    Args:
        description: what to run.
        options: how.
        on_event: is told what happens, each time with a table: `event` is one of note, starting,
            started, running, stopping, forcing, ended, restarting and finished; vm-run(1),
            EVENTS, has their other keys.

    Raises:
        VmError: it cannot be run: its description is wrong (65), the host lacks something (69),
            it is running already (75).
    """
    options = options or Options()
    session = Session(description, options, on_event)
    clean = False
    try:
        ending = session.last()
        facts = {
            "outcome": ending.outcome, "target": ending.target, "forced": ending.forced,
            "status": ending.status, "said": sentence(ending),
        }  # fmt: skip
        write_ending(session.room.folder, facts)
        clean = True
    except VmError:
        clean = session.guest is None and not session.room.record
        raise
    finally:
        session.close(clean=clean)
    session.tell("finished", outcome=ending.outcome, why=ending.why, status=ending.status)
    return ending


def _monitor(fd: int | None) -> Qmp | None:
    from vm_state.qmp import Qmp

    return None if fd is None else Qmp.from_fd(fd)


class Session:
    """One run of vm-run.

    Attributes:
        room: the VM's place on this host.
        guest: what is running at the moment.
        starts: when guests were started, on the monotonic clock.
    """

    def __init__(self, description: Description, options: Options, on_event: OnEvent) -> None:
        self.description = description
        self.options = options
        self.on_event = on_event
        self.room = Room.enter(description, options)
        self.terminal = Saved()
        self.signals: Signals | None = None
        self.logs: Logs | None = None
        self.guest: Guest | None = None
        self.target = str(self.room.record.get("target", options.target))
        self.starts: list[float] = []
        self.script: Popen[bytes] | None = None

    def tell(self, event: str, **facts: object) -> None:
        """Tells whoever listens what has happened."""
        self.room.note(event)
        self.on_event({"event": event, "vm": self.room.name, "time": time.time()} | facts)

    def last(self) -> Ending:
        """Starts guest after guest, and says how the last one ended."""
        for text in filter(None, (fallback_note(), self.room.unlocked)):
            self.tell("note", text=text)
        while True:
            machine = select(self.description, self.target)
            guest = self._recovered(machine) if self.room.record else self._started(machine)
            verdict = self._watched(guest)
            self.guest, self.room.record = None, {}
            step = self._after(verdict, machine)
            if isinstance(step, str):
                return self._ending(verdict, step)
            self.room.clear(again=step.target == self.target)
            self.target = step.target
            self.tell("restarting", outcome=verdict.outcome, target=self.target)
            self.room.claim()

    def _started(self, machine: Machine) -> Guest:
        """A guest that has just been started.

        What watches it is loaded only now, while it is booting.
        """
        options = self.options
        if options.check:
            require(
                machine, self.room.name, options.fix,
                lambda text: self.tell("note", text=text), options.detached,
            )  # fmt: skip
        placed = place(self.description, machine)
        if self.signals is None:  # from the second start on they are caught
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        started = launch(placed, self.room, options)
        self.starts.append(time.monotonic())
        if len(self.starts) == 1:
            for text in filter(None, (started.note, *forwards(machine))):
                self.tell("note", text=text)

        from vm_state.process import Process

        process = Process(started.pid, is_child=True)
        try:
            self._record(machine, process, started.argv)
        except BaseException:  # without a record nobody could take it over
            process.kill()
            raise
        self.tell("started", pid=process.pid, target=self.target, argv=started.argv)
        guest = self._guest(machine, process, _monitor(started.monitor))
        self._post_start(machine, process)  # last: a script inherits no blocked signal
        return guest

    def _recovered(self, machine: Machine) -> Guest:
        """The guest whose supervisor is gone."""
        from vm_state.qmp import Qmp

        record = self.room.record
        process = self.room.left_running(record)
        path = f"{self.room.folder}/supervisor.sock"
        qmp = Qmp.connect(path) if record.get("hypervisor") == "qemu" else None
        now = time.monotonic() - time.time()
        self.starts = [float(at) + now for at in record.get("starts", [])] or [time.monotonic()]
        guest = self._guest(machine, process, qmp)  # first: from here on signals are the guest's
        self._record(machine, process, record.get("argv", []))
        self.tell("recovered", pid=process.pid, target=self.target)
        return guest

    def _guest(self, machine: Machine, process: Process, qmp: Qmp | None) -> Guest:
        from vm_run.logs import Logs
        from vm_run.supervisor import Guest, Signals

        if self.signals is None:
            self.signals = Signals()
            self.logs = Logs(self.room.folder)
        self.guest = Guest(process, qmp, machine, self.tell)
        self.guest.folder = self.room.folder
        self.guest.patience = lambda: take(self.room.folder)
        return self.guest

    def _record(self, machine: Machine, process: Process, argv: list[str]) -> None:
        from vm_run.record import consoles, facts
        from vm_state.statedir import replace_file

        zero, kind = time.time() - time.monotonic(), hypervisor(machine)
        starts = [at + zero for at in self.starts[-(machine.reboot_limit + 1) :]]
        ends = self.room.record.get("consoles")  # of a guest that was taken over: as it was started
        if ends is None:
            attached = not self.options.detached
            ends = consoles(machine, kind, self.room.folder, attached=attached)
        more = {"target": self.target, "starts": starts, "consoles": ends}
        self.room.write(facts(machine, kind, process, argv) | more)
        for path, pid in (
            (self.options.pid_file, process.pid),
            (self.options.supervisor_pid_file, os.getpid()),
        ):
            if path:
                try:
                    replace_file(path, f"{pid}\n")
                except OSError as error:  # the guest runs by now: it is not given up for a file
                    self.tell("note", text=f"{path}: {error.strerror}")

    def _post_start(self, machine: Machine, process: Process) -> None:
        if not machine.post_start_script:
            return
        from vm_run import script

        environment = {"VM": self.room.name, "VM_PID": str(process.pid), "VM_TARGET": self.target}
        log = f"{self.room.folder}/hypervisor.log"
        try:
            self.script = script.started(machine.post_start_script, environment, log)
        except VmError as error:  # the guest runs by now: it is not given up for a script
            self.tell("note", text=f"post_start_script: {error}")

    def _watched(self, guest: Guest) -> Verdict:
        from vm_run.supervisor import supervise

        assert self.signals  # noqa: S101  for the type checker: every guest comes with them
        verdict = supervise(guest, self.signals, self.logs)
        self.terminal.restore()
        guest.process.close()
        if guest.qmp:
            guest.qmp.close()
        self._end_script()
        self.tell("ended", outcome=verdict.outcome, target=self.target, detail=verdict.detail)
        return verdict

    def _end_script(self) -> None:
        if self.script is None:
            return
        from vm_run import script

        said, self.script = script.ended(self.script), None
        if said:
            self.tell("note", text=said)

    def _after(self, verdict: Verdict, machine: Machine) -> Boot | str:
        """What boots next, or why nothing does."""
        from vm_run.reboot import Stop, after

        if verdict.asked or (self.signals and self.signals.take()):
            return "it was asked to stop"
        step = after(verdict.outcome, self.target, machine, self.options.policy, self.starts)
        return step.why if isinstance(step, Stop) else step

    def _ending(self, verdict: Verdict, why: str) -> Ending:
        return Ending(
            outcome=verdict.outcome,
            target=self.target,
            asked=verdict.asked,
            forced=verdict.forced,
            detail=verdict.detail,
            why=why,
            starts=len(self.starts),
            seconds=time.monotonic() - self.starts[-1],
            log=self.room.last_words() if verdict.outcome == "error" else (),
        )

    def close(self, *, clean: bool) -> None:
        """Cleans up: sockets, pid files, locks; after a bug of ours the guest is left to recover.

        Raises:
            VmError: something could not be removed, and --panic-on-failed-cleanup was given (70).
        """
        self.terminal.restore()
        if clean:
            self._remove_outside()
        self.room.leave(clean=clean)
        if self.logs:
            self.logs.close()
        if self.signals:
            self.signals.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        left = [f"cannot be removed: {each}" for each in self.room.leftovers]
        if left and self.options.panic_on_failed_cleanup:
            raise VmError(*(Fault(problem=problem) for problem in left), status=70)
        for problem in left:
            self.tell("note", text=problem)

    def _remove_outside(self) -> None:
        """Removes what lies outside the state folder: pid files and sockets of virtio consoles."""
        if not self.starts:
            return
        machine = select(self.description, self.target)
        kept = machine.emulations if hypervisor(machine) == "qemu" else ()
        consoles = (d for d in kept if isinstance(d, VirtioConsole))
        sockets = [port.path for device in consoles for port in device.ports]
        for path in (*sockets, self.options.pid_file, self.options.supervisor_pid_file):
            if path:
                self.room.remove(path)
