"""What VMs there are, and what each is doing: the library and the running state -> rows."""

from __future__ import annotations

import os

from vm_list import traces
from vm_list.traces import Trace, number, text
from vm_spec.fault import Fault, VmError
from vm_spec.library import load, names
from vm_spec.value import Value, replace

__all__ = ["Row", "judge", "survey"]

_UNREADABLE = 66


class Row(Value):
    """One VM, as it was found.

    Attributes:
        name: what vm-run calls it.
        file: its description, an absolute path; empty for one that came from standard input.
        state: running; starting (supervised, with no guest at the moment); orphaned (the guest
            goes on without a supervisor); crashed (something is left over and nothing lives);
            elsewhere (another host has it); broken (the description has faults); stopped.
        target: what was booted last; empty when nothing runs.
        pid: the hypervisor's; 0 when none is known.
        supervisor: vm-run's own; 0 when none is known.
        host: where it runs, or was left by a host that is not this one; empty for nowhere.
        fault: the description's first one; empty for a good description.
        hint: the next step; empty when there is nothing to mend.
    """

    name: str
    file: str = ""
    state: str = "stopped"
    target: str = ""
    pid: int = 0
    supervisor: int = 0
    host: str = ""
    fault: str = ""
    hint: str = ""


def survey(folder: str) -> list[Row]:
    """Every VM of a folder of descriptions, and every other one that runs here, by name.

    Raises:
        VmError: the folder is there and cannot be read (66).
    """
    folder = os.path.abspath(folder)
    _require_readable(folder)
    described = [_described(name, file) for name, file in names(folder)]
    found = traces.traces()  # the slow part is done: what follows is of one moment
    rows: list[Row] = []
    for row in described:
        trace = traces.of(row.file, _taken(found, row.name, row.file))
        if not row.fault or os.path.lexists(row.file):  # else it was removed while we looked
            rows.append(judge(row, trace))
    others = [trace for trace in found.values() if trace.lives or trace.supervised]
    rows += [judge(Row(name=o.handle, file=text(o.record, "file")), o) for o in others]
    return sorted(rows, key=lambda row: (row.name, row.file))


def _require_readable(folder: str) -> None:
    """Refuses a folder that is there and cannot be read; one that is not there holds nothing."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        hint = "descriptions are kept in $VMCONF_DIR, else in ~/vm"
        raise VmError(Fault(file=folder, problem=problem, hint=hint), status=_UNREADABLE) from None


def _taken(found: dict[str, Trace], name: str, file: str) -> Trace | None:
    """The trace of a VM of the library, taken out of what was found."""
    likely = [name, *found] if name in found else list(found)
    for handle in likely:
        recorded = text(found[handle].record, "file")
        if _is_same(recorded, file) if recorded else handle == name:
            return found.pop(handle)
    return None


def _is_same(one: str, other: str) -> bool:
    """Whether two paths name one description: the same entry of the same folder."""
    if one == other:
        return True
    if os.path.basename(one) != os.path.basename(other):
        return False
    return os.path.realpath(os.path.dirname(one)) == os.path.realpath(os.path.dirname(other))


def _described(name: str, file: str) -> Row:
    """A VM of the library, with the first fault of its description."""
    try:
        load(file)
    except VmError as error:
        fault = error.faults[0]
        return Row(name=name, file=file, fault=str(fault), hint=fault.hint)
    except OSError as error:
        return Row(name=name, file=file, fault=f"{file}: cannot be read: {error.strerror}")
    return Row(name=name, file=file)


def judge(row: Row, trace: Trace) -> Row:
    """What a VM is doing, from what was found of it.

    Args:
        row: its name, its file and what is wrong with that.
        trace: what was found beside it.
    """
    if trace.lives or trace.supervised:
        return _running(row, trace)
    host = text(trace.holder, "host")
    if host and host != trace.here:
        return _elsewhere(row, trace, host)
    if trace.locked:
        return _unrecorded(row, trace)
    if row.fault:
        return _with(row, "broken")
    return _with(row, "crashed" if trace.record or trace.holder else "stopped")


def _with(row: Row, state: str, trace: Trace | None = None, **found: object) -> Row:
    """A row with a state; what is not said stays as it is."""
    host = {"host": trace.here} if trace else {}
    return replace(row, state=state, **(host | found))


def _running(row: Row, trace: Trace) -> Row:
    """A VM whose state folder is this user's, with somebody in it."""
    record = trace.record
    target, pid = text(record, "target"), number(record, "pid")
    if not trace.supervised:
        hint = f"its supervisor is gone and its guest goes on: vm-run --recover {_call(row, trace)}"
        return _with(row, "orphaned", trace, target=target, pid=pid, hint=hint)
    supervisor = number(record, "supervisor")
    if not trace.lives:
        return _with(row, "starting", trace, supervisor=supervisor)
    return _with(row, "running", trace, target=target, pid=pid, supervisor=supervisor)


def _call(row: Row, trace: Trace) -> str:
    """How this VM is named to vm-run."""
    from vm_spec.library import find

    try:
        if trace.handle == row.name and _is_same(os.path.abspath(find(row.name)), row.file):
            return row.name
    except VmError:
        pass
    from shlex import quote

    return f"-c {quote(row.file or '-')} {quote(trace.handle)}"


def _elsewhere(row: Row, trace: Trace, host: str) -> Row:
    """A VM that another host has, or had when it went down."""
    supervisor = number(trace.holder, "pid")
    hint = f"it was started on {host} and never ended there: vm-run --force {row.name}, "
    hint += f"if {host} is really down"
    if trace.locked:
        hint = row.hint
    return _with(row, "elsewhere", host=host, supervisor=supervisor, hint=hint)


def _unrecorded(row: Row, trace: Trace) -> Row:
    """A VM that is held on this host, with its state in a folder that is not this user's."""
    place = "its state is in another user's folder, or in another XDG_RUNTIME_DIR"
    if trace.holder_lives:
        supervisor = number(trace.holder, "pid")
        return _with(row, "running", trace, supervisor=supervisor, hint=place)
    if not trace.holder:
        return _with(row, "starting", trace)
    return _with(row, "orphaned", trace, hint=place)
