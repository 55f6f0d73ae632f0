"""Stopping VMs: vm-run is asked, and waited for; where it is gone, a new one takes over first."""

from __future__ import annotations

import os
import select
import subprocess

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.library import find
from vm_state import statedir, stop_request
from vm_state.cli import argv_of
from vm_state.lock import find_supervisor, is_foreign, is_locked, lock_path, read_owner
from vm_state.record import is_running, kill_process, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_state.process import Process
    from vm_state.record import Record

    Report = Callable[[str, str], None]
    Done = Callable[["Answer"], None]

__all__ = ["Answer", "list_running", "stop"]

_INTERRUPTED = 130  # as a shell counts signals


class Answer(Value):
    """What became of one VM.

    Attributes:
        name: what vm-run calls it.
        state: stopped; stopping; not running; crashed (it was not running, and what it had left
            is removed now); elsewhere (another host has it); failed.
        said: a sentence about it that begins without it.
        hint: the next step; empty where none is known.
        status: its exit status.
    """

    name: str
    state: str
    said: str
    hint: str = ""
    status: int = 0


def list_running() -> list[str]:
    """The names of all VMs of this user that run on this host, supervised or not."""
    return sorted(name for name in statedir.names() if _is_in_use(statedir.directory(name)))


def _is_in_use(directory: str) -> bool:
    return is_locked(f"{directory}/lock") or is_running(read_record(directory))


def stop(
    names: list[str], timeout_s: float | None, report: Report, done: Done, *, wait: bool = True
) -> None:
    """Stops VMs, all at once.

    Args:
        names: what vm-run calls them.
        timeout_s: seconds that a guest has to power off before it is forced, 0 to force it at
            once; None for its description's stop_timeout.
        report: is called with what happens to one: its name and a sentence.
        done: is called with how each ended, as soon as it has.
        wait: whether to wait for the end.
    """
    waiting: dict[str, Process] = {}

    def ask(name: str) -> None:
        asked = _ask(name, timeout_s, report)
        if isinstance(asked, Answer):
            done(asked)
        else:
            waiting[name] = asked

    said, status = "is powering off", os.EX_OK
    try:
        for name in dict.fromkeys(names):
            ask(name)
        while waiting and wait:
            for name in _wait(waiting):
                answer = _read_answer(name, waiting.pop(name))
                if answer:
                    done(answer)
                else:
                    report(name, "its vm-run was killed; its guest still runs")
                    ask(name)
    except KeyboardInterrupt:
        said, status = "is still powering off", _INTERRUPTED
    for name, process in waiting.items():
        process.close()
        done(Answer(name=name, state="stopping", said=said, status=status))


def _wait(waiting: dict[str, Process]) -> list[str]:
    """Waits for the next vm-run to end; the names of the VMs whose vm-run has."""
    poll = select.poll()
    for process in waiting.values():
        poll.register(process.fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    return [name for name, process in waiting.items() if process.fd in ready]


def _read_answer(name: str, process: Process) -> Answer | None:
    """How a VM ended with its vm-run; None if its guest runs on."""
    directory = statedir.directory(name)
    said, record = stop_request.read_ending(directory, process.pid), read_record(directory)
    process.close()
    if not said and record.get("supervisor") == process.pid and is_running(record):
        return None
    return Answer(name=name, state="stopped", said=said or "its vm-run has ended")


def _ask(name: str, timeout_s: float | None, report: Report) -> Answer | Process:
    """Asks a VM's vm-run to stop it, and returns that; or why there is nothing to wait for."""
    directory = statedir.directory(name)
    try:
        process = _find(name, directory, force=timeout_s == 0)
        if isinstance(process, Answer):
            return process
        if timeout_s is not None:
            stop_request.write(directory, timeout_s)
    except VmError as error:
        fault = error.faults[0]
        return Answer(
            name=name, state="failed", said=str(fault), hint=fault.hint, status=error.status
        )
    if timeout_s is None:
        timeout_s = read_record(directory).get("stop_timeout")
    after = "" if timeout_s is None else f"; forced after {timeout_s:g} s"
    report(name, "forcing it off" if timeout_s == 0 else f"powering off{after}")
    process.send(stop_request.SIGNAL)
    return process


def _find(name: str, directory: str, *, force: bool) -> Answer | Process:
    """The vm-run of a VM, a new one if its own is gone; or an answer without one."""
    if name not in statedir.names():  # they are in a directory that only this user can write to
        return _explain(name, {})
    process, record = find_supervisor(directory, name), read_record(directory)
    if process:
        return process
    if not is_running(record):
        return _explain(name, record)
    fault = _recover(name)
    process = find_supervisor(directory, name)
    if process:
        return process
    if not force:
        hint = f"kill it: vm-stop --force {name}"
        raise VmError(Fault(problem=fault.problem, hint=hint), status=os.EX_TEMPFAIL)
    kill_process(record)
    _recover(name)
    return Answer(name=name, state="stopped", said="guest was killed; no vm-run could stop it")


def _recover(name: str) -> Fault:
    """Has a new vm-run take a guest over, or remove what an ended one left; why it could not."""
    done = subprocess.run(
        [*argv_of("vm-run"), "--recover", "--detach", name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        check=False, text=True, errors="replace",
    )  # fmt: skip
    problem, _, hint = done.stderr.partition("vm-run: ")[2].rstrip().partition("\n  hint: ")
    return Fault(problem=problem, hint=hint)


def _explain(name: str, record: Record) -> Answer:
    """The answer for a VM that does not run here; what a crash has left is removed.

    Raises:
        VmError: there is no such VM (66), or another user here has it (75).
    """
    file = str(record.get("file", "")) if record else find(name)
    lock = lock_path(file) if file else ""
    owner = read_owner(lock)
    if not (record or owner):
        return Answer(name=name, state="not running", said="is not running")
    if is_locked(lock) and not is_foreign(owner):
        problem = f"{name} is locked on this host (pid {owner.get('pid', '?')}), not by you here"
        hint = "its state is in another user's directory, or in another XDG_RUNTIME_DIR"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    fault = _recover(name)
    said = fault.problem.removeprefix(f"{name} ")
    if is_foreign(owner):
        status = os.EX_TEMPFAIL
        return Answer(name=name, state="elsewhere", said=said, hint=fault.hint, status=status)
    left = said if "cannot be removed" in said else "what a crash left is removed"
    return Answer(name=name, state="crashed", said=f"is not running; {left}")
