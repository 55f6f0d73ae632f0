"""Ending VMs: each is found, asked, waited for with all the others, and told of."""

from __future__ import annotations

import os
import select
import signal
import time

from vm_run.room import Room
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.library import find
from vm_spec.types import VmName
from vm_state import statedir
from vm_state.lock import Lock, find_supervisor, is_foreign, is_locked, lock_path, read_owner
from vm_state.record import is_running, read_record
from vm_stop.stop_jobs import Answer, Orphan, Supervised, Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_state.record import Record

    Job = Supervised | Orphan
    Tell = Callable[[str, str], None]

__all__ = ["Answer", "Wish", "running", "stop"]

INTERRUPTED = 130


def running() -> list[str]:
    """The names of all VMs of this user that run on this host, with or without a vm-run."""
    return sorted(
        name
        for name in statedir.names()
        if is_locked(f"{statedir.directory(name)}/lock") or is_running(_record(name))
    )


def _record(name: str) -> Record:
    return read_record(statedir.directory(name))


def stop(names: list[str], wish: Wish, tell: Tell, done: Callable[[Answer], None]) -> None:
    """Ends VMs, all at once.

    Args:
        names: what vm-run calls them.
        wish: how.
        tell: is told what happens to one: its name and a sentence.
        done: is told how each ended, as soon as it has.
    """
    jobs: list[Job] = []
    said, status = "powers off; nobody waits for it", 0
    try:
        for name in dict.fromkeys(names):
            begun = _begun(name, wish, tell)
            if isinstance(begun, Answer):
                done(begun)
            else:
                jobs.append(begun)
        while jobs and wish.wait:
            _wait(jobs, done)
    except KeyboardInterrupt:
        said, status = "goes on powering off; nobody waits for it any longer", INTERRUPTED
    for job in jobs:
        job.close()
        done(Answer(name=job.name, state="stopping", said=said, status=status))


def _begun(name: str, wish: Wish, tell: Tell) -> Answer | Job:
    """A VM that has been asked to end, or why there is nothing to wait for."""
    try:
        return _asked(name, wish, tell)
    except VmError as error:
        return _failed(name, error)


def _failed(name: str, error: VmError) -> Answer:
    fault = error.faults[0]
    return Answer(name=name, state="failed", said=str(fault), hint=fault.hint, status=error.status)


def _asked(name: str, wish: Wish, tell: Tell) -> Answer | Job:
    try:
        VmName(name)
    except ValueError as error:
        raise VmError(Fault(problem=f"a VM's name {error}"), status=64) from None
    if name not in statedir.names():  # they are in a folder that only this user can write to
        return _nothing(name, {})
    process = find_supervisor(statedir.directory(name), name)
    if process:
        return Supervised(name, process, wish, tell)
    record = _record(name)
    return Orphan(name, record, wish, tell) if is_running(record) else _nothing(name, record)


def _nothing(name: str, record: Record) -> Answer:
    """What is said of a VM that does not run here; what a crash has left is removed.

    Raises:
        VmError: there is no such VM (66), or it has just been started (75).
    """
    file = record.get("file")
    file = file if isinstance(file, str) and file else "" if record else find(name)
    lock = lock_path(file) if file else ""
    holder = read_owner(lock) if lock else {}
    if is_foreign(holder):
        return _elsewhere(name, holder, is_held=is_locked(lock))
    if lock and is_locked(lock):
        problem = f"{name} is held on this host (pid {holder.get('pid', '?')}), not by you here"
        hint = "its state is in another user's folder, or in another XDG_RUNTIME_DIR"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    if not (record or holder):
        return Answer(name=name, state="not running", said="is not running")
    room = Room(name, file)
    room.own = Lock.take(f"{room.folder}/lock", name)
    room.leave()
    left = "what a crash left is removed"
    if room.leftovers:
        left = f"cannot be removed: {', '.join(room.leftovers)}"
    return Answer(name=name, state="crashed", said=f"is not running; {left}")


def _elsewhere(name: str, holder: Record, *, is_held: bool) -> Answer:
    host, pid = holder.get("host"), holder.get("pid")
    if is_held:
        said, hint = f"runs on {host} (pid {pid})", f"there: vm-stop {name}"
    else:
        said = f"was started on {host} (pid {pid}) and never ended there"
        hint = f"there: vm-stop {name}; if {host} is really down: vm-run --force {name}"
    return Answer(name=name, state="elsewhere", said=said, hint=hint, status=os.EX_TEMPFAIL)


def _wait(jobs: list[Job], done: Callable[[Answer], None]) -> None:
    """Waits for the next thing that happens to one of the jobs; those that end are taken out."""
    poll = select.poll()
    for job in jobs:
        for fd in job.fds():
            poll.register(fd, select.POLLIN)
    deadline = min((at for job in jobs if (at := job.next_deadline()) is not None), default=None)
    wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
    ready = {fd for fd, _ in poll.poll(wait_ms)}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what has begun is done whole
    try:
        jobs[:] = [left for job in jobs if (left := _left(job, ready, done))]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _left(job: Job, ready: set[int], done: Callable[[Answer], None]) -> Job | None:
    """What is left to be waited for of a job."""
    if job.process.fd not in ready:
        job.act(time.monotonic())
        return job
    try:
        answer = job.end()
    except VmError as error:
        answer = _failed(job.name, error)
    if isinstance(answer, Answer):
        done(answer)
        return None
    return answer
