"""What is found of a VM beside its description: its state folder, its lock, who holds them.

Nothing that is written there is believed: a record only says which process to ask for, and a
lock's text only who took it; the kernel says whether the one lives and the other is held.
"""

from __future__ import annotations

import os

from vm_run import state
from vm_run.process import started_at
from vm_spec.value import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from vm_run.state import Record

__all__ = ["Trace", "number", "of", "text", "traces"]


class Trace(Value):
    """What was found of one VM.

    Attributes:
        handle: the name of its state folder; empty without one.
        record: what its supervisor wrote there.
        lives: whether the record's hypervisor runs.
        supervised: whether a supervisor holds the state folder.
        holder: what stands in the lock beside the description.
        locked: whether that lock is held, by anybody on any host.
        holder_lives: whether the process that took that lock runs on this host.
        here: this host's name.
    """

    handle: str = ""
    record: Record
    lives: bool = False
    supervised: bool = False
    holder: Record
    locked: bool = False
    holder_lives: bool = False
    here: str


def text(record: Record, key: str) -> str:
    """A text of a record; empty if there is none."""
    found = record.get(key)
    return found if isinstance(found, str) else ""


def number(record: Record, key: str) -> int:
    """A process id of a record; 0 if there is none."""
    found = record.get(key)
    return found if type(found) is int and 0 < found < 1 << 31 else 0


def traces() -> dict[str, Trace]:
    """What the state folders of this user on this host hold, by the name of the folder."""
    return {handle: _of_folder(handle) for handle in state.names()}


def _of_folder(handle: str) -> Trace:
    folder = state.folder(handle)
    record = state.read(folder)
    lives = state.lives(record)
    supervised = state.is_locked(f"{folder}/lock")
    if record and not supervised:  # perhaps it ended while we looked
        record = state.read(folder)
        lives = state.lives(record)
    return Trace(
        handle=handle, record=record, lives=lives, supervised=supervised,
        holder={}, here=os.uname().nodename,
    )  # fmt: skip


def of(file: str, trace: Trace | None) -> Trace:
    """What was found of a description's VM.

    Args:
        file: the description.
        trace: its state folder's; None without one.
    """
    trace = trace or Trace(record={}, holder={}, here=os.uname().nodename)
    lock = state.lock_path(file)
    if not os.path.lexists(lock):
        return trace
    holder, locked = _lock(lock)
    lives = started_at(number(holder, "pid")) > 0
    return replace(trace, holder=holder, locked=locked, holder_lives=lives)


def _lock(path: str) -> tuple[Record, bool]:
    """What stands in a lock, and whether it is held, both of one moment."""
    while True:
        holder, locked = state.holder(path), state.is_locked(path)
        if state.holder(path) == holder:
            return holder, locked
