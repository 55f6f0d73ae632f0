"""Whether a device in our words gives bhyve the keys that it came from."""

from __future__ import annotations

from vm_import.bhyve_config import Tree, below, get
from vm_import.bhyve_options import filed
from vm_run.bhyve.config import flat
from vm_run.pci_slots import place
from vm_spec.devices import Graphic
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Description, Machine
from vm_spec.types import PciSlot, VmName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_spec.devices import Emulation

__all__ = ["read_as", "same"]


FILES = ("path", "rom", "play", "rec")


def same(device: Emulation, node: str, tree: Mapping[str, str]) -> bool:
    """Whether it does, and a description can have it.

    Args:
        device: in our words, with its slot.
        node: where it is in the configuration: `pci.0.3.0`.
        tree: the configuration that it was made from, without variables.
    """
    from vm_spec.decode import loads
    from vm_spec.encode import toml

    screen = device if isinstance(device, Graphic) else None
    lpc = PciSlot(slot=31 if node != "pci.0.31.0" else 30)
    others = () if screen else (device,)
    machine = Machine(name=VmName("vm"), emulations=others, graphic=screen, lpc_slot=lpc)
    description = Description(machine=machine)
    made: Tree = {}
    try:
        read = loads(toml(description))
        # a file, for it has the passwords, too
        filed(made, flat(place(read, read.machine)), "")
    except VmError:
        return False
    return read_as(made, node) == read_as(tree, node)


def read_as(tree: Mapping[str, str], node: str) -> dict[str, str]:
    """A device's keys as bhyve reads them: without variables, and with what is by default."""
    keys = {key: get(tree, f"{node}.{key}") for key in below(tree, node)}
    if keys.get("device") == "fbuf":
        tcp = keys.pop("rfb", "") or keys.get("tcp", "")
        host, _, port = tcp.rpartition(":")
        default = {"w": "1024", "h": "768"}
        return default | keys | {"tcp": f"{host or '127.0.0.1'}:{port or 5900}"}
    for key, text in keys.items():
        last = key.rpartition(".")[2]
        if last == "mac":
            keys[key] = text.lower()
        elif last in FILES:  # ./a is a
            keys[key] = text.removeprefix("./")
    return keys
