"""The record of a running VM: state.json in its state directory.

vm-run writes it; vm-list, vm-stop, vm-console and a vm-run that takes the guest over read it.
"""

from __future__ import annotations

import json
import time

from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import boot_id, is_bsd
from vm_state.process import Process, started_at
from vm_state.statedir import replace_file

if TYPE_CHECKING:
    from typing import Any

    from vm_spec.devices import Nic
    from vm_spec.machine import Machine

__all__ = [
    "Record", "is_running", "kill_process", "note_stopping", "open_process", "parse",
    "read_file", "read_record", "summarize", "write_record",
]  # fmt: skip

Record = dict[str, "Any"]
_MOST = 1 << 20  # bytes


def read_record(directory: str) -> Record:
    """The record in a state directory; empty when there is none."""
    return read_file(f"{directory}/state.json")


def write_record(directory: str, record: Record) -> None:
    """Writes the record into a state directory; a reader sees the old one or the new one."""
    replace_file(f"{directory}/state.json", json.dumps(record, indent=1) + "\n")


def open_process(record: Record) -> Process | None:
    """The process that a record tells: pid, started_at and boot_id; None if it has ended."""
    try:
        process = Process(int(record["pid"]), is_child=False)
    except (LookupError, TypeError, ValueError, OSError):
        return None
    if is_running(record):  # checked now: the number cannot be given to another any more
        return process
    process.close()
    return None


def kill_process(record: Record) -> None:
    """Ends the process of a record at once, if it runs."""
    process = open_process(record)
    if process:
        process.kill()
        process.close()


def note_stopping(directory: str) -> None:
    """Records for vm-list, until the next start, that the guest has been asked to stop."""
    try:
        write_record(directory, read_record(directory) | {"stopping_since": time.time()})
    except OSError:  # a full disk must not keep it from stopping
        pass


def read_file(path: str) -> Record:
    """The JSON object in a file; empty when there is none."""
    try:
        with open(path, "rb") as file:
            return parse(file.read(_MOST))
    except OSError:
        return {}


def parse(content: bytes) -> Record:
    """A JSON object; empty when it is none."""
    try:
        table: object = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def is_running(record: Record) -> bool:
    """Whether the process of a record runs: the same pid, start of the process and boot."""
    pid, started = record.get("pid"), record.get("started_at")
    if not isinstance(pid, int) or record.get("boot_id") != boot_id():
        return False
    return started_at(pid) == started != 0


def summarize(machine: Machine) -> Record:
    """What vm-list shows of a machine, without asking the host; of plain types, no subclasses.

    `hypervisor` is qemu or bhyve, `cpus` a count, `memory` bytes, `network` a list of tables with
    `label`, `type`, `interface`, `bridge`, `host_interface`, `network` and `mac`, `consoles` a list
    of tables with `name` and `kind`, `vnc` address:port. What is missing is an empty string.
    """
    from vm_spec.devices import Nic  # here: most readers of a record need no devices

    return {
        "hypervisor": str(machine.hypervisor or ("bhyve" if is_bsd() else "qemu")),
        "cpus": machine.cpu.count,
        "memory": machine.mem.bytes,
        "network": [_summarize_nic(nic) for nic in machine.emulations if isinstance(nic, Nic)],
        "consoles": _list_consoles(machine),
        "vnc": _vnc_address(machine),
    }


def _summarize_nic(nic: Nic) -> Record:
    return {
        "label": str(nic.label),
        "type": str(nic.backend),
        "interface": str(nic.name or ""),
        "bridge": str(nic.bridge or ""),
        "host_interface": str(nic.host_interface or ""),
        "network": str(nic.network or ""),
        "mac": str(nic.mac or ""),
    }


def _list_consoles(machine: Machine) -> list[Record]:
    from vm_spec.devices import VirtioConsole

    found = [
        {"name": f"com{number}", "kind": "device" if com.startswith("/") else str(com)}
        for number, com in machine.coms
    ]
    for device in machine.emulations:
        if isinstance(device, VirtioConsole):
            found += [{"name": str(port.name), "kind": "virtio"} for port in device.ports]
    return found


def _vnc_address(machine: Machine) -> str:
    screen = machine.graphic
    if screen is None:
        return ""
    host = f"[{screen.host}]" if ":" in screen.host else screen.host
    return f"{host}:{screen.port}"
