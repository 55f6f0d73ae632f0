"""Stopping VMs: vm-run is asked, and waited for; where it is gone, a new one takes over first."""

from __future__ import annotations

import os
import select
import signal
import subprocess

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.library import find
from vm_spec.machine import Machine
from vm_spec.types import VmName
from vm_state import statedir, stop_request
from vm_state.cli import argv_of
from vm_state.lock import find_supervisor, is_foreign, is_locked, lock_path, read_owner
from vm_state.process import Process
from vm_state.record import is_running, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_state.record import Record

    Report = Callable[[str, str], None]

__all__ = ["Answer", "Wish", "list_running", "stop"]

_INTERRUPTED = 130  # as a shell counts signals


class Wish(Value):
    """How VMs are to stop.

    Attributes:
        timeout_s: seconds that a guest has to power off before it is forced, 0 to force it at
            once; None for its description's stop_timeout.
        wait: whether to wait for the end.
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
        status: its exit status.
    """

    name: str
    state: str
    said: str
    hint: str = ""
    status: int = 0


def list_running() -> list[str]:
    """The names of all VMs of this user that run on this host, supervised or not."""
    directories = ((name, statedir.directory(name)) for name in statedir.names())
    return sorted(
        name
        for name, directory in directories
        if is_locked(f"{directory}/lock") or is_running(read_record(directory))
    )


def stop(names: list[str], wish: Wish, report: Report, done: Callable[[Answer], None]) -> None:
    """Stops VMs, all at once.

    Args:
        names: what vm-run calls them.
        wish: how.
        report: is called with what happens to one: its name and a sentence.
        done: is called with how each ended, as soon as it has.
    """
    waiting: dict[str, Process] = {}

    def ask(name: str) -> None:
        asked = _ask(name, wish, report)
        if isinstance(asked, Answer):
            done(asked)
        else:
            waiting[name] = asked

    said, status = "is powering off", os.EX_OK
    try:
        for name in dict.fromkeys(names):
            ask(name)
        while waiting and wish.wait:
            for name in _wait(waiting):
                process = waiting.pop(name)
                answer = _ending(name, process)
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


def _ending(name: str, process: Process) -> Answer | None:
    """How a VM ended with its vm-run; None if its guest runs on."""
    directory = statedir.directory(name)
    said = stop_request.read_ending(directory, process.pid)
    record = read_record(directory)
    process.close()
    if said:
        return Answer(name=name, state="stopped", said=said)
    if record.get("supervisor") == process.pid and is_running(record):
        return None
    return Answer(name=name, state="stopped", said="its vm-run has ended")


def _ask(name: str, wish: Wish, report: Report) -> Answer | Process:
    """Asks a VM's vm-run to stop it, and returns that; or why there is nothing to wait for."""
    try:
        process = _find(name, wish)
        if isinstance(process, Answer):
            return process
        directory = statedir.directory(name)
        try:
            if wish.timeout_s is not None:
                stop_request.write(directory, wish.timeout_s)
        except OSError as error:
            process.close()
            problem = f"{directory}: cannot be written to: {error.strerror}"
            raise VmError(Fault(problem=problem), status=os.EX_IOERR) from None
    except VmError as error:
        fault = error.faults[0]
        return Answer(
            name=name, state="failed", said=str(fault), hint=fault.hint, status=error.status
        )
    timeout_s = wish.timeout_s
    if timeout_s is None:
        recorded = read_record(directory).get("stop_timeout")
        timeout_s = recorded or int(Machine.defaults["stop_timeout"])
    report(name, f"powering off; forced after {timeout_s:g} s" if timeout_s else "forcing it off")
    process.send(stop_request.SIGNAL)
    return process


def _find(name: str, wish: Wish) -> Answer | Process:
    """The vm-run of a VM, a new one if its own is gone; or what there is to say without one."""
    try:
        VmName(name)
    except ValueError as error:
        raise VmError(Fault(problem=f"a VM's name {error}"), status=os.EX_USAGE) from None
    if name not in statedir.names():  # they are in a directory that only this user can write to
        return _explain(name, {})
    directory = statedir.directory(name)
    process, problem = find_supervisor(directory, name), ""
    record = read_record(directory)
    if not process and is_running(record):
        problem = _recover(name)
        process = find_supervisor(directory, name)
    if process or not is_running(record):
        return process or _explain(name, record)
    if wish.timeout_s != 0:
        hint = f"kill it: vm-stop --force {name}"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    _kill(record)
    _recover(name)
    return Answer(name=name, state="stopped", said="guest was killed; no vm-run could stop it")


def _recover(name: str) -> str:
    """Has a new vm-run take a guest over, or remove what an ended one left; why it could not."""
    done = subprocess.run(
        [*argv_of("vm-run"), "--recover", "--detach", name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        check=False, text=True, errors="replace",
    )  # fmt: skip
    return "".join(done.stderr.partition("vm-run: ")[2].splitlines()[:1])


def _kill(record: Record) -> None:
    """Kills a hypervisor that no vm-run can take over."""
    try:
        process = Process(record["pid"], is_child=False)
    except ProcessLookupError:
        return
    if is_running(record):  # checked again: the number may be another's since
        process.send(signal.SIGKILL)
        select.select([process.fd], [], [])
    process.close()


def _explain(name: str, record: Record) -> Answer:
    """What is said of a VM that does not run here; what a crash has left is removed.

    Raises:
        VmError: there is no such VM (66), or it has just been started (75).
    """
    file = str(record.get("file", "")) if record else find(name)
    lock = lock_path(file) if file else ""
    owner = read_owner(lock) if lock else {}
    if is_foreign(owner):
        return _point_elsewhere(name, owner, is_held=is_locked(lock))
    if lock and is_locked(lock):
        problem = f"{name} is locked on this host (pid {owner.get('pid', '?')}), not by you here"
        hint = "its state is in another user's directory, or in another XDG_RUNTIME_DIR"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    if not (record or owner):
        return Answer(name=name, state="not running", said="is not running")
    problem = _recover(name)
    said = problem if "cannot be removed" in problem else "what a crash left is removed"
    return Answer(name=name, state="crashed", said=f"is not running; {said}")


def _point_elsewhere(name: str, owner: Record, *, is_held: bool) -> Answer:
    host, pid = owner.get("host"), owner.get("pid")
    said, hint = f"runs on {host} (pid {pid})", f"there: vm-stop {name}"
    if not is_held:
        said = f"was started on {host} (pid {pid}) and never ended there"
        hint += f"; if {host} is really down: vm-run --force {name}"
    return Answer(name=name, state="elsewhere", said=said, hint=hint, status=os.EX_TEMPFAIL)
