"""What is found of a VM beside its description: its state folder, its lock, who holds them.

Nothing that is written there is believed: a record only says which process to ask for, and a
lock's text only who took it; the kernel says whether the one lives and the other is held.
"""

from __future__ import annotations

import os

from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table, replace
from vm_state import statedir
from vm_state.lock import is_foreign, is_locked, lock_path, read_owner
from vm_state.process import started_at, uptime
from vm_state.record import is_running, read_record

if TYPE_CHECKING:
    from vm_list.row import Table
    from vm_state.record import Record

__all__ = ["Trace", "number", "of", "tables", "text", "traces"]


class Trace(Value):
    """What was found of one VM.

    Attributes:
        handle: the name of its state folder; empty without one.
        record: what its supervisor wrote there.
        lives: whether the record's hypervisor runs.
        uptime: seconds since that was started; None if it does not run.
        supervised: whether a supervisor holds the state folder.
        supervisor: who that is; 0 for none.
        holder: what stands in the lock beside the description.
        locked: whether that lock is held, by anybody on any host.
        holder_lives: whether the process that took that lock runs on this host.
        foreign: whether it was taken on a host that is not this one.
        taken: when it was, in seconds since 1970; 0 without a lock.
        here: this host's name.
    """

    handle: str = ""
    record: Record
    lives: bool = False
    uptime: int | None = None
    supervised: bool = False
    supervisor: int = 0
    holder: Record
    locked: bool = False
    holder_lives: bool = False
    foreign: bool = False
    taken: int = 0
    here: str


def text(record: Record, key: str) -> str:
    """A text of a record; empty if there is none."""
    found = record.get(key)
    return found if isinstance(found, str) else ""


def number(record: Record, key: str, most: int = 1 << 31) -> int:
    """A number of a record, from 1, a process id if nothing else is said; 0 if there is none."""
    found = record.get(key)
    return found if type(found) is int and 0 < found < most else 0


def tables(record: Record, key: str) -> tuple[Table, ...] | None:
    """A list of tables of texts of a record; None if there is none."""
    found = record.get(key)
    if not is_list(found):
        return None
    return tuple(
        {name: item for name, item in table.items() if isinstance(item, str)}
        for table in found
        if is_table(table)
    )


def traces() -> dict[str, Trace]:
    """What the state folders of this user on this host hold, by the name of the folder."""
    return {handle: _of_folder(handle) for handle in statedir.names()}


def _of_folder(handle: str) -> Trace:
    folder = statedir.directory(handle)
    lock = f"{folder}/lock"
    record = read_record(folder)
    lives = is_running(record)
    supervised = is_locked(lock)
    if record and not supervised:  # perhaps it ended while we looked
        record = read_record(folder)
        lives = is_running(record)
    return Trace(
        handle=handle, record=record, lives=lives, uptime=_uptime(record) if lives else None,
        supervised=supervised, supervisor=number(read_owner(lock), "pid") if supervised else 0,
        holder={}, here=os.uname().nodename,
    )  # fmt: skip


def _uptime(record: Record) -> int:
    """Seconds since a living hypervisor was started; the kernel has confirmed when that was."""
    return max(0, int(uptime(number(record, "started_at", 1 << 62))))


def of(file: str, trace: Trace | None) -> Trace:
    """What was found of a description's VM.

    Args:
        file: the description.
        trace: its state folder's; None without one.
    """
    trace = trace or Trace(record={}, holder={}, here=os.uname().nodename)
    lock = lock_path(file)
    try:
        taken = int(os.lstat(lock).st_mtime)
    except OSError:
        return trace
    holder, locked = _lock(lock)
    foreign = is_foreign(holder)
    lives = locked and not foreign and _lives(holder, lock)
    return replace(
        trace, holder=holder, locked=locked, holder_lives=lives, foreign=foreign, taken=taken
    )


def _lock(path: str) -> tuple[Record, bool]:
    """What stands in a lock, and whether it is held, both of one moment."""
    while True:
        holder, locked = read_owner(path), is_locked(path)
        if read_owner(path) == holder:
            return holder, locked


def _lives(holder: Record, lock: str) -> bool:
    """Whether who took a lock still has it; of another user's process only that it runs."""
    from vm_state.lock import holds

    pid = number(holder, "pid")
    if not started_at(pid):
        return False
    if holds(pid, lock):
        return True
    try:
        return os.stat(f"/proc/{pid}").st_uid != os.getuid()
    except OSError:
        return False
