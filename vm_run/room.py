"""A VM's place on this host while it is supervised: its locks, its folder, its record."""

from __future__ import annotations

import os
import time

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import lock, statedir
from vm_state.lock import Lock, lock_path
from vm_state.platform import boot_id
from vm_state.process import Process
from vm_state.record import is_running, read_record, write_record
from vm_state.stop_request import ENDED

if TYPE_CHECKING:
    from typing import Self

    from vm_run.options import Options
    from vm_spec.machine import Description
    from vm_state.lock import Lock
    from vm_state.record import Record

__all__ = ["CANNOT_WRITE", "Room"]

CANNOT_WRITE = 74
_BHYVE = "bhyve.json"  # what traces.py writes; not imported, for QEMU has none
_TPM = "swtpm.lock"  # vm_run.swtpm.LINK
_KEPT = ("hypervisor.log", "console.log", "com2.log", "com3.log", "com4.log", ENDED, "lock")


class Room:
    """A VM's place on this host.

    Attributes:
        name: what the user calls the VM.
        folder: where its sockets and logs are.
        file: the description's file; empty or "-" for none.
        record: what was left by a supervisor that is gone, when its guest is taken over.
        lock: beside the description; None when there is no such place, or while the guest that
            is taken over holds it alone, as it can on Linux.
        unlocked: why there is no lock beside the description; empty when there is one.
        leftovers: what could not be removed at the end.
    """

    def __init__(self, name: str, file: str) -> None:
        self.name = name
        self.file = file
        self.folder = statedir.make(name)
        self.record: Record = {}
        self.lock: Lock | None = None
        self.own: Lock | None = None
        self.unlocked = ""
        self.leftovers: list[str] = []

    @classmethod
    def enter(cls, description: Description, options: Options) -> Self:
        """Claims a VM for this process.

        Raises:
            VmError: it is running already (75), or there is nothing to recover (69).
        """
        room = cls(options.handle or description.name, description.file)
        try:
            room.own = Lock.take(f"{room.folder}/lock", room.name)
        except OSError as error:
            problem = f"{room.folder}/lock: {error.strerror}"
            raise VmError(Fault(problem=problem), status=69) from None
        try:
            room._settle(options)
        except BaseException:
            room.own.release()
            raise
        return room

    def _settle(self, options: Options) -> None:
        """Takes over, ends or sweeps away what an earlier supervisor left."""
        record = read_record(self.folder)
        living = is_running(record)
        if options.recover and not living:
            raise VmError(self._nothing_left(), status=69)
        if options.recover:
            self.record = record
            if not lock.INHERITED:
                self.claim()
            return
        if living and options.force:
            self._kill(record)
        elif living:
            problem = f"{self.name} is already running (pid {record['pid']}), without a supervisor"
            hint = (
                f"take it over: vm-run --recover {self.name}; or end it: vm-run --force {self.name}"
            )
            raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
        self.claim(force=options.force)
        self.clear(again=True)
        self.sweep(_KEPT[-1:])

    def _kill(self, record: Record) -> None:
        import select
        import signal

        try:
            process = self.left_running(record)
        except VmError:
            return
        process.send(signal.SIGKILL)
        select.select([process.fd], [], [], 10)
        process.close()

    def left_running(self, record: Record) -> Process:
        """The hypervisor of a record, held by a descriptor that no later process can inherit.

        Raises:
            VmError: it has ended meanwhile (69).
        """
        try:
            process = Process(int(record["pid"]), is_child=False)
        except ProcessLookupError:
            raise VmError(self._nothing_left(), status=69) from None
        if not is_running(record):  # asked again: the number may be another's since
            process.close()
            raise VmError(self._nothing_left(), status=69)
        return process

    def _nothing_left(self) -> Fault:
        hint = f"start it: vm-run {self.name}"
        return Fault(problem=f"{self.name} has no guest to recover", hint=hint)

    def claim(self, *, force: bool = False) -> None:
        """Takes the lock beside the description, if it is not ours yet.

        Raises:
            VmError: somebody else has it (75).
        """
        if self.lock or self.file in ("", "-"):
            return
        try:
            self.lock = Lock.take(lock_path(self.file), self.name, force=force)
        except OSError as error:  # this host's own lock must do
            path = lock_path(self.file)
            self.unlocked = f"{path}: {error.strerror}; other hosts do not see that this VM runs"

    def clear(self, *, again: bool = False) -> None:
        """Ends swtpm, and removes what bhyve has left outside; `again`: but for what it can use."""
        if os.path.lexists(f"{self.folder}/{_TPM}"):
            from vm_run import swtpm

            swtpm.end(self.folder)
        if os.path.exists(f"{self.folder}/{_BHYVE}"):
            from vm_run.bhyve import traces

            traces.clear(self, again=again)

    def sweep(self, kept: tuple[str, ...] = _KEPT) -> None:
        """Removes what an ended guest leaves, but for what is kept."""
        for entry in os.listdir(self.folder):
            if entry not in kept:
                self.remove(f"{self.folder}/{entry}")

    def remove(self, path: str) -> None:
        """Removes a file; one that stays is remembered in `leftovers`."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.leftovers.append(f"{path}: {error.strerror}")

    def write(self, record: Record) -> None:
        """Keeps what another supervisor needs to take this guest over.

        Raises:
            VmError: it cannot be written (74).
        """
        common = {
            "version": 1,
            "name": self.name,
            "file": os.path.abspath(self.file) if self.file not in ("", "-") else "",
            "host": os.uname().nodename,
            "boot_id": boot_id(),
            "supervisor": os.getpid(),
            "since": time.time(),
        }
        kept = {key: self.record[key] for key in ("outline",) if key in self.record}
        try:
            write_record(self.folder, common | record | kept)  # a guest is as it was started
            statedir.replace_file(f"{self.folder}/pid", f"{record['pid']}\n")
        except OSError as error:
            problem = f"{self.folder}: cannot be written to: {error.strerror}"
            raise VmError(Fault(problem=problem), status=CANNOT_WRITE) from None

    def note(self, event: str) -> None:
        """Keeps for vm-list, until the next start, that the guest has been asked to end."""
        if event == "stopping":
            try:
                write_record(
                    self.folder, read_record(self.folder) | {"stopping_since": time.time()}
                )
            except OSError:  # a full disk must not keep it from ending
                pass

    def last_words(self) -> tuple[str, ...]:
        """The last lines that the hypervisor wrote."""
        try:
            with open(f"{self.folder}/hypervisor.log", errors="replace") as log:
                return tuple(log.read()[-4096:].splitlines()[-10:])
        except OSError:
            return ()

    def leave(self, *, clean: bool = True) -> None:
        """Gives the VM up; what an ended guest left is removed, its logs are kept."""
        if clean:
            self.clear()
            self.sweep()
            self._unlock()
        if self.own:
            self.own.release()

    def _unlock(self) -> None:
        """Removes the lock beside the description; that of a guest taken over is taken first."""
        try:
            self.claim()
        except VmError:
            return  # somebody was quicker
        if self.lock:
            self.lock.release()
