"""What vm-run writes for bhyve, judged by the model of bhyve's own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.run.bhyve_machines import machines
from vm_import.bhyve_config import Tree, get
from vm_import.bhyve_model import Answer, answer
from vm_run.bhyve import argv
from vm_run.bhyve.config import beside, flat, secret
from vm_run.pci_slots import Placed, place
from vm_run.resources import Resources
from vm_spec import load, select
from vm_spec.devices import (
    AhciCd,
    AhciHd,
    Emulation,
    Hda,
    Nvme,
    Passthru,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioScsi,
)
from vm_spec.frozen import replace
from vm_spec.machine import Bhyve, Machine

EXAMPLES = Path(__file__).parents[2] / "examples"
# those that ask for nothing that bhyve has not
RUN = [
    ("bhyve.toml", "default"),
    ("bhyve.toml", "install"),
    ("first.toml", "default"),
    ("gpu-passthrough.toml", "default"),
    ("install.toml", "default"),
    ("install.toml", "install"),
    ("share.toml", "default"),
    ("vmrun-first-generation.json", "install"),
    ("vmrun.json", "default"),
    ("vmrun.json", "install"),
]
OLD = ("lpc.bootrom", "lpc.bootvars")  # in files only, for bhyve of 14 and older
SHARDS, EXAMPLES_EACH = 20, 500


def without_own_arguments(machine: Machine) -> Machine:
    """A machine but for the arguments that are the user's own."""
    config = machine.bhyve.config
    return replace(machine, bhyve=Bhyve(config=config), extra_options=())


def judged(placed: Placed, resources: Resources) -> tuple[Answer, Answer]:
    """What bhyve makes of our command line, and of our file."""
    text, hidden = flat(placed, resources), secret(placed, resources)
    files = {"it.conf": text, f"{resources.directory('vm')}/secret.conf": hidden}
    file = answer(["-k", "it.conf", *beside(placed, resources)], files.__getitem__)
    return answer(argv(placed, resources)[1:], files.__getitem__), file


def known(found: Answer) -> Tree:
    """The configuration without what only older ones read, in files: for main it is no key."""
    return {key: text for key, text in found.keys if key not in OLD and not key.endswith(".dev")}


def ignored(found: Answer) -> list[str]:
    """Keys that no bhyve ever reads; virtio-scsi's `dev` is one of 15 and older."""
    keys = (one.partition("=")[0] for one in found.unread)
    return [key for key in keys if key not in OLD and not key.endswith(".dev")]


@pytest.mark.parametrize(("file", "target"), RUN)
def test_bhyve_takes_each_example_and_ignores_no_key(file: str, target: str) -> None:
    description = load(str(EXAMPLES / file))
    machine = without_own_arguments(select(description, target))
    labels = [device.label for device in machine.emulations]
    resources = Resources(pci=dict.fromkeys(labels, "0000:01:00.0"))
    line, text = judged(place(description, machine), resources)
    assert known(line) == known(text)
    assert ignored(line) == ignored(text) == []
    assert line.messages == ()


def files(device: Emulation) -> dict[str, str]:
    """A device's keys of files of the host, and the files that the description names."""
    match device:
        case VirtioBlk() | VirtioInput() | Virtio9p():
            return {"path": device.path}
        case AhciHd() | AhciCd():
            return {"port.0.path": device.path}
        case VirtioScsi():
            return {"target.0": device.path}
        case VirtioConsole():
            ports = enumerate(device.ports)
            return {f"port.{number}.path": port.path for number, port in ports}
        case Nvme() | Hda() | Passthru():
            fields = ("path", "play", "rec", "rom")
            return {key: path for key in fields if (path := getattr(device, key, None))}
        case _:
            return {}


def named(placed: Placed) -> dict[str, str]:
    """The same of the whole machine."""
    machine, found = placed.machine, dict[str, str]()
    for device in machine.emulations:
        slot = placed.slots[device.label]
        node = f"pci.{slot.bus}.{slot.slot}.{slot.function}"
        found |= {f"{node}.{key}": path for key, path in files(device).items()}
    found |= {f"lpc.com{number}.path": com for number, com in machine.coms if com.startswith("/")}
    rom = machine.bootrom if machine.bootrom != "uefi" else None
    return found | ({"bootrom": rom} if rom else {})


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_bhyve_takes_any_machine_as_a_line_and_as_a_file_and_ignores_no_key(shard: int) -> None:
    """Ten thousand machines in all; the shards run beside each other."""
    seen: list[int] = []

    @settings(max_examples=EXAMPLES_EACH, deadline=None, database=None)
    @given(machines())
    def law(drawn: tuple[Placed, Resources]) -> None:
        placed, resources = drawn
        seen.append(shard)
        line, text = judged(placed, resources)
        assert known(line) == known(text)
        assert ignored(line) == ignored(text) == []
        machine, tree = placed.machine, line.tree
        assert {key: get(tree, key) for key in named(placed)} == named(placed)
        words = argv(placed, resources)
        assert ("-A" in words) == machine.generate_acpi
        assert ("-M" in words) == resources.monitor
        assert tree["name"] == "vm" == words[-1]
        password = machine.graphic.password if machine.graphic else ""
        assert ("-k" in words) == any(key.endswith(".password") for key in tree)
        assert not password or [word for word in words if f"password={password}" in word] == []

    law()
    assert len(seen) >= EXAMPLES_EACH
