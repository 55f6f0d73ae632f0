"""The claim of one vm-run on a VM: its two locks, its state directory, and what is left there."""

from __future__ import annotations

import os
import time

from vm_run.options import Options
from vm_spec.fault import Fault, VmError
from vm_state import statedir
from vm_state.lock import INHERITED, Lock, lock_path
from vm_state.platform import boot_id
from vm_state.process import Process
from vm_state.record import (
    Record,
    is_running,
    kill_process,
    open_process,
    read_record,
    write_record,
)
from vm_state.stop_request import ENDED

__all__ = ["Claim"]

_BHYVE = "bhyve.json"  # what vm_run.bhyve leaves; not imported, since QEMU has none
_TPM = "swtpm.lock"  # vm_run.swtpm.LINK
_LOGS = ("hypervisor.log", "console.log", "com2.log", "com3.log", "com4.log")


class Claim:
    """The right of this process to run a VM.

    Attributes:
        name: what the user calls the VM.
        file: the description's file; empty for none.
        directory: its state directory, where sockets and logs are.
        record: what a vm-run that is gone left, when its guest is taken over; else empty.
        lock: beside the description; None where none can be, or while the guest that is taken
            over holds it alone, as it can on Linux.
        notes: what the user should know.
        leftovers: `cannot be removed: PATH: why`, for each thing that stays.
    """

    def __init__(self, name: str, file: str) -> None:
        """Locks the state directory, which is created.

        Raises:
            VmError: the VM is running already (75), or has no place for its state (69, 77).
        """
        self.name = name
        self.file = "" if file == "-" else file
        self.directory = statedir.make(name)
        self.record: Record = {}
        self.lock: Lock | None = None
        self.notes = [note for note in (statedir.fallback_note(),) if note]
        self.leftovers: list[str] = []
        path = f"{self.directory}/lock"
        try:
            self._state_lock = Lock.take(path, name)
        except OSError as error:
            fault = Fault(problem=f"{path}: {error.strerror}")
            raise VmError(fault, status=os.EX_UNAVAILABLE) from None

    def settle(self, options: Options) -> None:
        """Takes over, kills or removes what an earlier vm-run left.

        Raises:
            VmError: the VM is running already (75), there is nothing to recover (69), or what an
                ended guest left cannot be removed (70).
        """
        record = read_record(self.directory)
        runs = is_running(record)
        if runs and options.recover:
            self.record = record
            if not INHERITED:
                self.lock_description()
            return
        if runs and not options.force:
            raise self._unsupervised(record)
        if runs:
            kill_process(record)
        self.lock_description(force=options.force)
        if options.recover:
            self.clean()
            self.report_leftovers()
            raise self._nothing_to_recover()
        self.clear(again=True)
        self._sweep(("lock",))

    def _unsupervised(self, record: Record) -> VmError:
        fault = Fault(
            problem=f"{self.name} is already running (pid {record['pid']}), unsupervised",
            hint=f"take it over: vm-run --recover {self.name}; "
            f"or kill it and start again: vm-run --force {self.name}",
        )
        return VmError(fault, status=os.EX_TEMPFAIL)

    def _nothing_to_recover(self) -> VmError:
        hint = f"start it: vm-run {self.name}"
        fault = Fault(problem=f"{self.name} has no guest to recover", hint=hint)
        return VmError(fault, status=os.EX_UNAVAILABLE)

    def open_hypervisor(self) -> Process:
        """The hypervisor of the guest that is taken over.

        Raises:
            VmError: it has ended meanwhile (69).
        """
        process = open_process(self.record)
        if process is None:
            raise self._nothing_to_recover()
        return process

    def lock_description(self, *, force: bool = False) -> None:
        """Takes the lock beside the description, if it is not ours yet.

        Raises:
            VmError: another vm-run has it (75).
        """
        if self.lock or not self.file:
            return
        path = lock_path(self.file)
        try:
            self.lock = Lock.take(path, self.name, force=force)
        except OSError as error:  # this host's own lock must do
            note = f"{path}: {error.strerror}; other hosts do not see that this VM runs"
            self.notes.append(note)

    def clear(self, *, again: bool = False) -> None:
        """Ends swtpm, and removes what bhyve left elsewhere; `again`: but what a restart uses."""
        if os.path.lexists(f"{self.directory}/{_TPM}"):
            from vm_run import swtpm

            swtpm.end(self.directory)
        if os.path.exists(f"{self.directory}/{_BHYVE}"):
            from vm_run.bhyve import traces

            traces.clear(self, again=again)

    def _sweep(self, kept: tuple[str, ...]) -> None:
        for entry in os.listdir(self.directory):
            if entry not in kept:
                self.remove(f"{self.directory}/{entry}")

    def remove(self, path: str) -> None:
        """Removes a file; one that stays is added to `leftovers`."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.leftovers.append(f"cannot be removed: {path}: {error.strerror}")

    def write(self, record: Record) -> None:
        """Writes what another vm-run needs to take this guest over.

        Raises:
            VmError: it cannot be written (74).
        """
        common = {
            "version": 1,
            "name": self.name,
            "file": os.path.abspath(self.file) if self.file else "",
            "host": os.uname().nodename,
            "boot_id": boot_id(),
            "supervisor": os.getpid(),
            "since": time.time(),
        }
        try:
            write_record(self.directory, record | common)
            statedir.replace_file(f"{self.directory}/pid", f"{record['pid']}\n")
        except OSError as error:
            problem = f"{self.directory}: cannot be written to: {error.strerror}"
            raise VmError(Fault(problem=problem), status=os.EX_IOERR) from None

    def read_log_end(self) -> tuple[str, ...]:
        """The last lines that the hypervisor wrote."""
        try:
            with open(f"{self.directory}/hypervisor.log", errors="replace") as log:
                return tuple(log.read()[-4096:].splitlines()[-10:])
        except OSError:
            return ()

    def clean(self) -> None:
        """Removes what an ended guest left, its lock too; its logs and its ending are kept."""
        self.clear()
        self._sweep((*_LOGS, ENDED, "lock"))
        try:
            self.lock_description()  # that of a guest taken over is not ours yet
        except VmError:
            return  # somebody was quicker
        if self.lock:
            self.lock.release()

    def release(self) -> None:
        """Gives the VM up; if its guest runs, a later vm-run can take it over."""
        self._state_lock.release()

    def report_leftovers(self) -> None:
        """Reports what could not be removed.

        Raises:
            VmError: there is something (70).
        """
        if self.leftovers:
            faults = (Fault(problem=leftover) for leftover in self.leftovers)
            raise VmError(*faults, status=os.EX_SOFTWARE)
