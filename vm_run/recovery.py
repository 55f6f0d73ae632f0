"""The description of a guest whose vm-run is gone, from the record that vm-run left."""

from __future__ import annotations

from vm_spec.fault import VmError
from vm_spec.library import find, load
from vm_spec.machine import Description, HypervisorName, Machine, Target
from vm_spec.targets import DEFAULT, select
from vm_spec.types import Label, VmName
from vm_state.record import Record, is_running, read_record
from vm_state.statedir import directory, names

__all__ = ["load_recorded"]


def load_recorded(name: str, overrides: tuple[tuple[str, str], ...]) -> Description:
    """The description that a VM was started from, wherever its file is.

    Where that cannot be read any more it is what the record says: enough to supervise the guest
    and to stop it, but not to restart it.

    Raises:
        VmError: it cannot be read, and no guest of this name runs.
    """
    record = read_record(directory(name)) if name in names() else {}
    try:
        description = load(record.get("file") or find(name), overrides=overrides)
        select(description, record.get("target", DEFAULT))
    except VmError as error:
        if not is_running(record) or "machine" not in record:
            raise
        return _describe(record, str(error.faults[0]))
    return description


def _describe(record: Record, problem: str) -> Description:
    machine = Machine(
        name=VmName(record["machine"]),
        hypervisor=HypervisorName(record["hypervisor"]),
        stop_timeout=record["stop_timeout"],
        reboot_on=(),
    )
    return Description(
        machine=machine,
        targets=(Target(name=Label(record["target"])),),
        file=record["file"],
        notes=(f"{problem}; the guest is supervised, but not restarted",),
    )
