"""The consoles of a running VM, as its record lists them for vm-console."""

from __future__ import annotations

import os

from vm_run.resources import null_modem
from vm_spec.devices import VirtioConsole
from vm_spec.machine import Machine
from vm_state.record import Record

__all__ = ["list_consoles"]


def list_consoles(machine: Machine, kind: str, directory: str, *, attached: bool) -> list[Record]:
    """A machine's consoles: tables of `name`, `kind`, `log` and `to`.

    `kind` is stdio, socket, device, nmdm or virtio; `log` the file with the guest's output, empty
    for none; `to` the socket or device that takes input, empty where no other program can.

    Args:
        machine: what runs.
        kind: its hypervisor, qemu or bhyve.
        directory: its state directory.
        attached: whether "stdio" is vm-run's own terminal.
    """
    consoles: list[Record] = []
    for number, com in machine.coms:
        shown = "socket" if com == "stdio" and not attached else str(com)
        if kind == "qemu":
            consoles.append(_qemu_port(number, shown, directory))
        else:
            consoles.append(_bhyve_port(number, shown, machine.name))
    for device in machine.emulations:
        if isinstance(device, VirtioConsole):
            consoles += [
                {"name": str(p.name), "kind": "virtio", "log": "", "to": os.path.abspath(p.path)}
                for p in device.ports
            ]
    return consoles


def _qemu_port(number: int, com: str, directory: str) -> Record:
    """A serial port of QEMU's, as vm_run.qemu makes it."""
    return {
        "name": f"com{number}",
        "kind": com if com in ("stdio", "socket") else "device",
        "log": f"{directory}/{'console' if number == 1 else f'com{number}'}.log",
        "to": f"{directory}/com{number}.sock" if com == "socket" else "",
    }


def _bhyve_port(number: int, com: str, vm: str) -> Record:
    """A serial port of bhyve's: the other end of its null modem, nmdm(4)."""
    kind, to = "stdio" if com == "stdio" else "device", ""
    if com in ("socket", "nmdm"):
        kind, to = "nmdm", null_modem(vm, number, "B")
    elif com.startswith("/dev/nmdm") and com.endswith("A"):
        kind, to = "nmdm", f"{com[:-1]}B"
    return {"name": f"com{number}", "kind": kind, "log": "", "to": to}
