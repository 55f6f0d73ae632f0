"""What the tests of QEMU's command line are written with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vm_run.argument import words
from vm_run.pci_slots import Placed, place
from vm_run.qemu import arguments
from vm_run.resources import NOMINAL
from vm_spec.fault import VmError
from vm_spec.frozen import replace
from vm_spec.machine import Description, Machine, Qemu
from vm_spec.types import FilePath, Label, VmName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_run.resources import Resources
    from vm_spec.devices import Emulation

A = Label("a")
IMAGE = FilePath("./a.raw")
MICROVM: dict[str, Any] = {"qemu": Qemu(machine="microvm"), "kernel": FilePath("./vmlinuz")}


def placed(*devices: Emulation, **fields: Any) -> Placed:
    """A machine of these devices, in their slots."""
    machine = replace(Machine(name=VmName("web"), emulations=devices), **fields)
    return place(Description(machine=machine), machine)


def said(*devices: Emulation, resources: Resources = NOMINAL, **fields: Any) -> list[str]:
    """The words of a machine's command line."""
    return words(arguments(placed(*devices, **fields), resources))


def of(device: Emulation, resources: Resources = NOMINAL, **fields: Any) -> list[tuple[str, Any]]:
    """What a device adds: pairs of an option and its value, JSON read."""
    key = f"emulations ({device.label})"
    found = [one for one in arguments(placed(device, **fields), resources) if one.key == key]
    return [(one.words[0], read(one.words[1])) for one in found]


def read(word: str) -> Any:
    """A value of the command line; JSON is read."""
    return json.loads(word) if word.startswith("{") else word


def values(line: Sequence[str], option: str) -> list[Any]:
    """What follows each use of an option."""
    return [read(line[at + 1]) for at, word in enumerate(line) if word == option]


def refused(*devices: Emulation, **fields: Any) -> str:
    """The report of a machine that QEMU cannot run."""
    try:
        arguments(placed(*devices, **fields))
    except VmError as error:
        return str(error)
    return "nothing"
