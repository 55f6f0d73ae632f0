"""What a VM is doing, from what was found of it: evidence in, a row out."""

from __future__ import annotations

import os
import time

from vm_list.traces import number, tables, text
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, is_table, replace

if TYPE_CHECKING:
    from vm_list.facts import Facts
    from vm_list.row import Row
    from vm_list.traces import Trace

__all__ = ["is_same", "judge"]

_MOST_BYTES = 1 << 63


def judge(row: Row, trace: Trace) -> Row:
    """A VM's row with what it is doing.

    Args:
        row: its name, its file, what that says and what is wrong with it.
        trace: what was found beside it.
    """
    if trace.lives or trace.supervised:
        return _running(row, trace)
    if trace.foreign:
        return _elsewhere(row, trace)
    if trace.locked:
        return _unrecorded(row, trace)
    if row.fault:
        return replace(row, state="broken")
    return replace(row, state="crashed" if trace.record or trace.holder else "stopped")


def _running(row: Row, trace: Trace) -> Row:
    """A VM whose state folder is this user's, with somebody in it."""
    record = trace.record
    if not trace.lives:
        return replace(row, state="starting", host=trace.here, supervisor=trace.supervisor)
    found = _as_started(trace) | {
        "host": trace.here,
        "target": text(record, "target"),
        "pid": number(record, "pid"),
        "supervisor": trace.supervisor,
        "uptime": trace.uptime,
    }
    if trace.supervised:
        state = "stopping" if "stopping_since" in record else "running"
        return replace(row, state=state, **found)
    hint = f"its supervisor is gone and its guest goes on: vm-run --recover {_call(row, trace)}"
    return replace(row, state="orphaned", hint=hint, **found)


def _as_started(trace: Trace) -> Facts:
    """What the guest was started with, which its description may not say any longer."""
    outline = trace.record.get("outline")
    consoles = tables(trace.record, "consoles")
    facts: Facts = {"consoles": consoles} if consoles is not None else {}
    if not is_table(outline):
        return facts
    return {
        "hypervisor": text(outline, "hypervisor"),
        "cpus": number(outline, "cpus"),
        "memory": number(outline, "memory", _MOST_BYTES),
        "network": tables(outline, "network"),
        "consoles": tables(outline, "consoles"),
        "vnc": text(outline, "vnc"),
    } | facts


def _call(row: Row, trace: Trace) -> str:
    """How this VM is named to vm-run."""
    from vm_spec.library import find

    try:
        if trace.handle == row.name and is_same(os.path.abspath(find(row.name)), row.file):
            return row.name
    except VmError:
        pass
    from shlex import quote

    return f"-c {quote(row.file or '-')} {quote(trace.handle)}"


def is_same(one: str, other: str) -> bool:
    """Whether two paths name one description: the same entry of the same folder."""
    if one == other:
        return True
    if os.path.basename(one) != os.path.basename(other):
        return False
    return os.path.realpath(os.path.dirname(one)) == os.path.realpath(os.path.dirname(other))


def _elsewhere(row: Row, trace: Trace) -> Row:
    """A VM that another host has, or had when it went down."""
    host = text(trace.holder, "host")
    hint = f"it was started on {host} and never ended there: vm-run --force {row.name}, "
    hint += f"if {host} is really down"
    return replace(
        row,
        state="elsewhere",
        host=host,
        supervisor=number(trace.holder, "pid"),
        seen=int(time.time()) if trace.locked else trace.taken,
        hint=row.hint if trace.locked else hint,
    )


def _unrecorded(row: Row, trace: Trace) -> Row:
    """A VM that is held on this host, with its state in a folder that is not this user's."""
    place = "its state is in another user's folder, or in another XDG_RUNTIME_DIR"
    row = replace(row, host=trace.here)
    if trace.holder_lives:
        return replace(row, state="running", supervisor=number(trace.holder, "pid"), hint=place)
    if not trace.holder:
        return replace(row, state="starting")
    return replace(row, state="orphaned", hint=place)
