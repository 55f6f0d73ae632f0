"""A machine in a few plain words: what a list shows of it, and what is kept of one that runs."""

from __future__ import annotations

from vm_spec.devices import Nic, VirtioConsole
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import is_bsd

if TYPE_CHECKING:
    from vm_spec.machine import Machine
    from vm_state.statedir import Record

__all__ = ["outline"]


def outline(machine: Machine) -> Record:
    """What can be said of a machine without asking a host; of plain types only, none a subclass.

    `hypervisor` is qemu or bhyve, `cpus` a count, `memory` bytes, `network` a list of tables with
    `label`, `type`, `interface`, `bridge`, `host_interface`, `network` and `mac`, `consoles` a list
    of tables with `name` and `kind`, `vnc` address:port. What there is not is an empty text.
    """
    return {
        "hypervisor": str(machine.hypervisor or ("bhyve" if is_bsd() else "qemu")),
        "cpus": machine.cpu.count,
        "memory": machine.mem.bytes,
        "network": [_card(card) for card in machine.emulations if isinstance(card, Nic)],
        "consoles": _consoles(machine),
        "vnc": _vnc(machine),
    }


def _card(card: Nic) -> Record:
    return {
        "label": str(card.label),
        "type": str(card.backend),
        "interface": str(card.name or ""),
        "bridge": str(card.bridge or ""),
        "host_interface": str(card.host_interface or ""),
        "network": str(card.network or ""),
        "mac": str(card.mac or ""),
    }


def _consoles(machine: Machine) -> list[Record]:
    found = [{"name": f"com{number}", "kind": _kind(str(com))} for number, com in machine.coms]
    for device in machine.emulations:
        if isinstance(device, VirtioConsole):
            found += [{"name": str(port.name), "kind": "virtio"} for port in device.ports]
    return found


def _kind(com: str) -> str:
    return "device" if com.startswith("/") else com


def _vnc(machine: Machine) -> str:
    screen = machine.graphic
    if screen is None:
        return ""
    host = f"[{screen.host}]" if ":" in screen.host else screen.host
    return f"{host}:{screen.port}"
