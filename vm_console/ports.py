"""Which consoles a running VM has: what can be read, and where typing goes."""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table
from vm_spec.library import find as find_file
from vm_spec.types import VmName
from vm_state import statedir

if TYPE_CHECKING:
    from vm_state.statedir import Record

__all__ = ["Console", "find", "running"]

_WRONG, _NOT_RUNNING, _NO_PORT = 64, 69, 66


class Console(Value):
    """One console of a running VM.

    Attributes:
        vm: what vm-run calls the VM.
        folder: its state folder.
        name: com1 to com4, or a virtio port's.
        kind: stdio (of vm-run), socket, device, nmdm, virtio.
        log: the file with what the guest has written; empty for none.
        to: the socket or device that takes what is typed; empty for none.
    """

    vm: str
    folder: str
    name: str
    kind: str
    log: str
    to: str


def find(name: str, port: str = "") -> Console:
    """A console of a running VM.

    Args:
        name: what vm-run calls the VM.
        port: its console; com1, or the only one, when empty.

    Raises:
        VmError: the name is none (64), there is no such VM or console (66), or it does not run
            here (69) but on another host (75).
    """
    record = running(name, f"vm-console {name}")
    return _chosen(name, port, _consoles(name, statedir.folder(name), record))


def running(name: str, command: str) -> Record:
    """The record of a VM that runs here.

    Args:
        name: what vm-run calls the VM.
        command: what would be typed where it does run.

    Raises:
        VmError: the name is none (64), there is no such VM (66), or it does not run here (69) but
            on another host (75).
    """
    try:
        VmName(name)
    except ValueError as error:
        raise VmError(Fault(problem=f"a VM's name {error}"), status=_WRONG) from None
    folder = statedir.folder(name)
    record = statedir.read(folder) if name in statedir.names() else {}
    if not (statedir.lives(record) or (record and statedir.is_locked(f"{folder}/lock"))):
        raise _not_running(name, folder, command)
    return record


def _consoles(name: str, folder: str, record: Record) -> dict[str, Console]:
    found: dict[str, Console] = {}
    listed: object = record.get("consoles")
    for table in listed if is_list(listed) else []:
        if is_table(table):
            texts = {key: str(table.get(key, "")) for key in ("name", "kind", "log", "to")}
            console = Console(vm=name, folder=folder, **texts)
            found[console.name] = console
    return found


def _chosen(name: str, port: str, found: dict[str, Console]) -> Console:
    if not found:
        hint = 'give it one: com1 = "socket"'
        raise VmError(Fault(problem=f"{name} has no console", hint=hint), status=_NO_PORT)
    if port in found:
        return found[port]
    there = ", ".join(found)
    if port:
        raise VmError(
            Fault(problem=f"{name} has no console {port}", hint=f"it has {there}"), status=_NO_PORT
        )
    if "com1" in found or len(found) == 1:
        return found.get("com1") or next(iter(found.values()))
    hint = f"say which: {there}"
    raise VmError(Fault(problem=f"{name} has several consoles", hint=hint), status=_WRONG)


def _not_running(name: str, folder: str, command: str) -> VmError:
    """Why there is nothing to reach."""
    try:
        lock = statedir.lock_path(find_file(name))
    except VmError as error:
        if name not in statedir.names():
            return error
        lock = ""
    holder = statedir.holder(lock) if lock and statedir.is_locked(lock) else {}
    host = holder.get("host", "")
    if host:
        problem = f"{name} runs on {host} (pid {holder.get('pid', '?')})"
        hint = f"there: {command}"
        if host == os.uname().nodename:
            hint = "its state is in another user's folder, or in another XDG_RUNTIME_DIR"
        return VmError(Fault(problem=problem, hint=hint), status=statedir.BUSY)
    hint = f"start it: vm-run --detach {name}"
    if os.path.exists(f"{folder}/console.log"):
        hint += f"; what it wrote last: {folder}/console.log"
    return VmError(Fault(problem=f"{name} is not running", hint=hint), status=_NOT_RUNNING)


def is_taken(console: Console) -> bool:
    """Whether another program is connected to a console's socket; QEMU is asked, and knows.

    Source: qemu-qmp-ref(7), query-chardev: the name of a socket nobody is connected to begins
    with `disconnected:`.
    """
    if console.kind not in ("socket", "virtio"):
        return False
    from vm_state.qmp import Qmp

    try:
        qmp = Qmp.connect(f"{console.folder}/qmp.sock", 0.5)
    except VmError:  # somebody else asks QEMU at the moment
        return False
    try:
        ends = [str(end.get("filename")) for end in qmp.ask("query-chardev", 0.5)]
        mine = [end for end in ends if f"unix:{console.to}" in end]
        return any(not end.startswith("disconnected:") for end in mine)
    except (OSError, VmError):
        return False
    finally:
        qmp.close()
