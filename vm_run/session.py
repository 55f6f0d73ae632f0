"""The story of vm-run: a guest is started, supervised, and started again until it is done."""

from __future__ import annotations

import os
import signal
import time

from vm_run.claim import Claim
from vm_run.host.check import require
from vm_run.launch import launch
from vm_run.messages import describe_ending, list_forwards
from vm_run.options import Options
from vm_run.pci_slots import place
from vm_run.program import hypervisor
from vm_run.reboot import Boot, Ending, Stop, Verdict, after
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, items
from vm_spec.targets import select
from vm_state.record import note_stopping, read_record
from vm_state.statedir import replace_file
from vm_state.stop_request import SIGNALS, write_ending
from vm_state.terminal import Saved

if TYPE_CHECKING:
    from subprocess import Popen

    from vm_run.events import OnEvent
    from vm_run.logs import Logs
    from vm_run.supervisor import Guest, Signals
    from vm_spec.machine import Description, Machine
    from vm_state.process import Process
    from vm_state.qmp import Qmp

__all__ = ["Options", "run"]


def _ignore(event: dict[str, object]) -> None:
    """Does nothing with an event."""


def run(
    description: Description, options: Options | None = None, on_event: OnEvent = _ignore
) -> Ending:
    """Runs a description until its guest ends and is not started again.

    Call it from the main thread: it catches SIGTERM, SIGINT, SIGHUP, SIGUSR1 (which is vm-stop's)
    and SIGIO meanwhile.

    Args:
        description: what to run.
        options: how.
        on_event: is called with a table for each thing that happens: `event` is one of note,
            started, running, recovered, stopping, forcing, ended, restarting and finished;
            vm-run(1), EVENTS, has their other keys.

    Raises:
        VmError: it cannot be run: its description is wrong (65), the host lacks something (69),
            it is running already (75).
    """
    session = Session(description, options or Options(), on_event)
    try:
        ending = session.run_until_done()
        session.clean()
        session.write_ending(ending)
    except VmError:
        if session.guest is None and not session.claim.record:  # nothing runs that could go on
            session.clean()
        raise
    finally:
        session.close()
    session.report("finished", outcome=ending.outcome, why=ending.why, status=ending.status)
    return ending


class Session:
    """One run of vm-run.

    Attributes:
        claim: this process's right to the VM, and its state directory.
        guest: what is running; None between two guests.
        target: what is running, or starts next.
        starts: when guests were started, on the monotonic clock.
    """

    def __init__(self, description: Description, options: Options, on_event: OnEvent) -> None:
        self.description = description
        self.options = options
        self.on_event = on_event
        self.claim = Claim(options.handle or description.name, description.file)
        try:
            self.claim.settle(options)
        except BaseException:
            self.claim.release()
            raise
        self.terminal = Saved()
        self.signals: Signals | None = None
        self.logs: Logs | None = None
        self.guest: Guest | None = None
        self.target = str(self.claim.record.get("target", options.target))
        self.starts: list[float] = []
        self.script: Popen[bytes] | None = None

    def report(self, event: str, **facts: object) -> None:
        """Reports what has happened."""
        if event == "stopping":
            note_stopping(self.claim.directory)
        self.on_event({"event": event, "vm": self.claim.name, "time": time.time()} | facts)

    def run_until_done(self) -> Ending:
        """Starts guest after guest, and returns how the last one ended."""
        for note in self.claim.notes:
            self.report("note", text=note)
        while True:
            machine = select(self.description, self.target)
            guest = self._recover(machine) if self.claim.record else self._start(machine)
            verdict = self._supervise(guest)
            step = self._decide(verdict, machine)
            if isinstance(step, Stop):
                return Ending(
                    **items(verdict),
                    target=self.target,
                    why=step.why,
                    starts=len(self.starts),
                    seconds=time.monotonic() - self.starts[-1],
                    log=self.claim.read_log_end() if verdict.outcome == "error" else (),
                )
            self.claim.clear(again=step.target == self.target)
            self.target = step.target
            self.report("restarting", outcome=verdict.outcome, target=self.target)
            self.claim.lock_description()

    def _start(self, machine: Machine) -> Guest:
        """Starts a guest; what supervises it is loaded only then, while it is booting."""
        options = self.options
        placed = place(self.description, machine)
        if options.check:
            require(
                placed, self.claim.name, options.fix,
                lambda text: self.report("note", text=text), options.detached,
            )  # fmt: skip
        if self.signals is None:  # from the second start on they are caught
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        started = launch(placed, self.claim, options)
        self.starts.append(time.monotonic())
        if len(self.starts) == 1:
            for text in filter(None, (started.note, *list_forwards(machine))):
                self.report("note", text=text)

        from vm_state.process import Process
        from vm_state.qmp import Qmp

        process = Process(started.pid, is_child=True)
        try:
            self._write_record(machine, process, started.argv)
        except BaseException:  # without a record no other vm-run could take it over
            process.kill()
            raise
        self._write_pid_files(process)
        self.report("started", pid=process.pid, target=self.target, argv=started.argv)
        qmp = None if started.monitor is None else Qmp.from_fd(started.monitor)
        guest = self._watch(machine, process, qmp)
        self._start_script(machine, process)  # last: a script inherits no blocked signal
        return guest

    def _recover(self, machine: Machine) -> Guest:
        """Takes over the guest of a vm-run that is gone."""
        from vm_state.qmp import Qmp

        record = self.claim.record
        process = self.claim.open_hypervisor()
        path = f"{self.claim.directory}/supervisor.sock"
        qmp = Qmp.connect(path) if record.get("hypervisor") == "qemu" else None
        now = time.monotonic() - time.time()
        self.starts = [float(at) + now for at in record.get("starts", [])] or [time.monotonic()]
        guest = self._watch(machine, process, qmp)  # first: from here on signals are the guest's
        record.pop("stopping_since", None)
        self.claim.write(record | {"stop_timeout": machine.stop_timeout})
        self._write_pid_files(process)
        self.report("recovered", pid=process.pid, target=self.target)
        return guest

    def _watch(self, machine: Machine, process: Process, qmp: Qmp | None) -> Guest:
        from vm_run.logs import Logs
        from vm_run.supervisor import Guest, Signals

        if self.signals is None:
            self.signals = Signals()
            self.logs = Logs(self.claim.directory)
        self.guest = Guest(process, qmp, machine, self.claim.directory, self.report)
        return self.guest

    def _write_record(self, machine: Machine, process: Process, argv: list[str]) -> None:
        from vm_run.consoles import list_consoles
        from vm_state.process import started_at
        from vm_state.record import summarize

        zero, kind = time.time() - time.monotonic(), hypervisor(machine)
        directory, attached = self.claim.directory, not self.options.detached
        record = {
            "pid": process.pid,
            "started_at": started_at(process.pid),
            "hypervisor": kind,
            "machine": machine.name,
            "stop_timeout": machine.stop_timeout,
            "argv": argv,
            "outline": summarize(machine),
            "target": self.target,
            "starts": [at + zero for at in self.starts[-(machine.reboot_limit + 1) :]],
            "consoles": list_consoles(machine, kind, directory, attached=attached),
        }
        self.claim.write(record)

    def _write_pid_files(self, process: Process) -> None:
        for path, pid in (
            (self.options.pid_file, process.pid),
            (self.options.supervisor_pid_file, os.getpid()),
        ):
            try:
                if path:
                    replace_file(path, f"{pid}\n")
            except OSError as error:  # the guest runs by now: it is not given up for a file
                self.report("note", text=f"{path}: {error.strerror}")

    def _start_script(self, machine: Machine, process: Process) -> None:
        if not machine.post_start_script:
            return
        import subprocess

        variables = {"VM": self.claim.name, "VM_PID": str(process.pid), "VM_TARGET": self.target}
        argv = machine.post_start_script
        try:
            with open(f"{self.claim.directory}/hypervisor.log", "ab") as log:
                self.script = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=os.environ | variables,
                )  # fmt: skip
        except OSError as error:  # the guest runs by now: it is not given up for a script
            self.report("note", text=f"post_start_script: {' '.join(argv)}: {error.strerror}")

    def _end_script(self) -> None:
        if self.script is None:
            return
        script, self.script = self.script, None
        if script.poll() is None:
            script.terminate()
        elif script.returncode:
            text = f"post_start_script: exit status {script.returncode}"
            self.report("note", text=text)
        script.wait()

    def _supervise(self, guest: Guest) -> Verdict:
        from vm_run.supervisor import supervise

        assert self.signals  # noqa: S101  for the type checker: every guest comes with them
        verdict = supervise(guest, self.signals, self.logs)
        self.terminal.restore()
        guest.close()
        self._end_script()
        self.guest, self.claim.record = None, {}
        self.report("ended", outcome=verdict.outcome, target=self.target, detail=verdict.detail)
        return verdict

    def _decide(self, verdict: Verdict, machine: Machine) -> Boot | Stop:
        """What boots next, or why nothing does."""
        if verdict.asked or (self.signals and self.signals.take()):
            return Stop(why="it was asked to stop")
        return after(verdict.outcome, self.target, machine, self.options.policy, self.starts)

    def clean(self) -> None:
        """Removes what the last guest left: also pid files, and sockets that QEMU leaves."""
        record = read_record(self.claim.directory)
        for console in record.get("consoles", []) if record.get("hypervisor") == "qemu" else ():
            if console["kind"] == "virtio":
                self.claim.remove(console["to"])
        for path in (self.options.pid_file, self.options.supervisor_pid_file):
            if path and self.starts:
                self.claim.remove(path)
        self.claim.clean()

    def write_ending(self, ending: Ending) -> None:
        """Writes for vm-stop and vm-console how the VM ended."""
        facts = {
            "outcome": ending.outcome, "target": ending.target, "forced": ending.forced,
            "status": ending.status,
            "said": "; ".join([describe_ending(ending), *self.claim.leftovers]),
        }  # fmt: skip
        write_ending(self.claim.directory, facts)

    def close(self) -> None:
        """Gives up the VM and the signals; after a bug of ours its guest is left to recover.

        Raises:
            VmError: something could not be removed, and --panic-on-failed-cleanup was given (70).
        """
        self.terminal.restore()
        self.claim.release()
        for watcher in (self.logs, self.signals):
            if watcher:
                watcher.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if self.options.panic_on_failed_cleanup:
            self.claim.report_leftovers()
        for left in self.claim.leftovers:
            self.report("note", text=left)
