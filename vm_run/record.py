"""What is written down of a guest that has been started, for those who find it later."""

from __future__ import annotations

import os

from vm_run.wiring import null_modem
from vm_spec.devices import VirtioConsole
from vm_spec.frozen import TYPE_CHECKING
from vm_state.process import started_at
from vm_state.record import summarize

if TYPE_CHECKING:
    from vm_spec.machine import Com, Machine
    from vm_state.process import Process
    from vm_state.record import Record

__all__ = ["consoles", "facts"]


def facts(machine: Machine, kind: str, process: Process, argv: list[str]) -> Record:
    """What is true of a guest whoever watches it.

    Args:
        machine: what runs.
        kind: qemu or bhyve.
        process: the hypervisor.
        argv: its command line.
    """
    return {
        "pid": process.pid,
        "started_at": started_at(process.pid),
        "hypervisor": kind,
        "machine": machine.name,
        "stop_timeout": machine.stop_timeout,
        "argv": argv,
        "outline": summarize(machine),
    }


def consoles(machine: Machine, kind: str, folder: str, *, attached: bool) -> list[Record]:
    """A machine's consoles: tables of `name`, `kind`, `log` and `to`.

    `kind` is stdio, socket, device, nmdm or virtio; `log` the file with what the guest has written,
    empty for none; `to` the socket or device that is typed to, empty where nobody else can.

    Args:
        machine: what runs.
        kind: its hypervisor, qemu or bhyve.
        folder: its state folder.
        attached: whether "stdio" is vm-run's own terminal.
    """
    found: list[Record] = []
    for number, com in machine.coms:
        shown = "socket" if com == "stdio" and not attached else str(com)
        make = _of_qemu if kind == "qemu" else _of_bhyve
        found.append({"name": f"com{number}"} | make(machine, number, shown, folder))
    for device in machine.emulations:
        if isinstance(device, VirtioConsole):
            found += [
                {"name": str(p.name), "kind": "virtio", "log": "", "to": os.path.abspath(p.path)}
                for p in device.ports
            ]
    return found


def _of_qemu(machine: Machine, number: int, com: Com | str, folder: str) -> Record:
    """A serial port of QEMU's, as `qemu_serial` makes it."""
    del machine
    log = f"{folder}/{'console' if number == 1 else f'com{number}'}.log"
    kind = com if com in ("stdio", "socket") else "device"
    return {"kind": kind, "log": log, "to": f"{folder}/com{number}.sock" if com == "socket" else ""}


def _of_bhyve(machine: Machine, number: int, com: Com | str, folder: str) -> Record:
    """A serial port of bhyve's: the other end of its null modem, nmdm(4)."""
    del folder
    if com in ("socket", "nmdm"):
        return {"kind": "nmdm", "log": "", "to": null_modem(machine.name, number, "B")}
    if com.startswith("/dev/nmdm") and com.endswith("A"):
        return {"kind": "nmdm", "log": "", "to": f"{com[:-1]}B"}
    return {"kind": "stdio" if com == "stdio" else "device", "log": "", "to": ""}
