"""Which consoles a running VM has: where each can be read and typed to."""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import Value, is_list, is_table
from vm_spec.library import find
from vm_spec.types import VmName
from vm_state import statedir
from vm_state.lock import is_locked, lock_path, read_owner
from vm_state.qmp import Qmp
from vm_state.record import Record, is_running, read_record


class Console(Value):
    """One console of a running VM.

    Attributes:
        vm: the VM's name.
        directory: its state directory.
        name: com1 to com4, or the name of a virtio-console port.
        kind: stdio (the terminal of vm-run), socket, device, nmdm, virtio.
        log: the file with the guest's output; empty for none.
        to: the socket or device that takes input; empty for none.
    """

    vm: str
    directory: str
    name: str
    kind: str
    log: str
    to: str


def running(name: str, command: str) -> Record:
    """The record of a VM that runs on this host.

    Args:
        name: the VM's name.
        command: what to type on the host where it runs.

    Raises:
        VmError: the name is not a VM name (64), there is no such VM (66), it does not run (69),
            or it runs on another host (75).
    """
    try:
        VmName(name)
    except ValueError as error:
        raise VmError(Fault(problem=f"a VM's name {error}"), status=os.EX_USAGE) from None
    directory = statedir.directory(name)
    record = read_record(directory) if name in statedir.names() else {}
    if not (is_running(record) or (record and is_locked(f"{directory}/lock"))):
        raise _not_running(name, directory, command)
    return record


def _not_running(name: str, directory: str, command: str) -> VmError:
    """Why a VM cannot be reached here."""
    try:
        lock = lock_path(find(name))
    except VmError as error:
        if name not in statedir.names():
            return error
        lock = ""
    owner = read_owner(lock) if lock and is_locked(lock) else {}
    host = owner.get("host", "")
    if host:
        problem = f"{name} runs on {host} (pid {owner.get('pid', '?')})"
        hint = f"on {host}, run: {command}"
        if host == os.uname().nodename:
            hint = "its state is another user's, or in another XDG_RUNTIME_DIR"
        return VmError(Fault(problem=problem, hint=hint), status=os.EX_TEMPFAIL)
    hint = f"start it: vm-run --detach {name}"
    if os.path.exists(f"{directory}/console.log"):
        hint += f"; its last output: {directory}/console.log"
    fault = Fault(problem=f"{name} is not running", hint=hint)
    return VmError(fault, status=os.EX_UNAVAILABLE)


def choose(name: str, port: str = "") -> Console:
    """A console of a running VM.

    Args:
        name: the VM's name.
        port: the console's name; empty for com1, or the only one.

    Raises:
        VmError: as `running` does; there is no such console (66), or there are several (64).
    """
    record = running(name, f"vm-console {name}")
    found = _consoles(name, statedir.directory(name), record)
    names = ", ".join(found)
    if port in found:
        return found[port]
    if port and found:
        fault = Fault(problem=f"{name} has no console {port}", hint=f"it has {names}")
        raise VmError(fault, status=os.EX_NOINPUT)
    if not found:
        fault = Fault(problem=f"{name} has no console", hint='add one: com1 = "socket"')
        raise VmError(fault, status=os.EX_NOINPUT)
    if "com1" not in found and len(found) > 1:
        fault = Fault(problem=f"{name} has several consoles", hint=f"name one: {names}")
        raise VmError(fault, status=os.EX_USAGE)
    return found.get("com1") or next(iter(found.values()))


def _consoles(name: str, directory: str, record: Record) -> dict[str, Console]:
    """The consoles that a record lists, by name."""
    listed: object = record.get("consoles")
    tables = [table for table in (listed if is_list(listed) else []) if is_table(table)]
    keys = ("name", "kind", "log", "to")
    found = [
        Console(vm=name, directory=directory, **{key: str(table.get(key, "")) for key in keys})
        for table in tables
    ]
    return {console.name: console for console in found}


def is_in_use(console: Console) -> bool:
    """Whether another program is connected to a console's socket.

    Source: qemu-qmp-ref(7), query-chardev: the filename of a socket without a client begins with
    `disconnected:`.
    """
    if console.kind not in ("socket", "virtio"):
        return False
    try:
        qmp = Qmp.connect(f"{console.directory}/qmp.sock", 0.5)
    except VmError:  # another client has the monitor
        return False
    try:
        names = [str(chardev.get("filename")) for chardev in qmp.execute("query-chardev", 0.5)]
        mine = [name for name in names if f"unix:{console.to}" in name]
        return any(not name.startswith("disconnected:") for name in mine)
    except (OSError, VmError):
        return False
    finally:
        qmp.close()
