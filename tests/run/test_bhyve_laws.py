"""What vm-run writes for bhyve, judged by the model of bhyve's own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests import strategies
from vm_run.bhyve import argv
from vm_run.bhyve_config import beside, flat
from vm_run.imports.bhyve_model import Answer, answer
from vm_run.imports.bhyve_tree import Tree
from vm_run.slots import Placed, place
from vm_run.wiring import Wiring
from vm_spec import VmError, load, loads, select
from vm_spec.machine import Bhyve, Machine
from vm_spec.value import replace

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
KINDS = (
    *("virtio-blk", "ahci-hd", "ahci-cd", "nvme", "virtio-net", "e1000", "virtio-console"),
    *("virtio-9p", "virtio-rnd", "virtio-input", "hda", "passthru"),
)
OTHERS = ("bhyve", "extra_options", "kernel", "initrd", "cmdline", "cloud_init", "emulations")
OLD = ("lpc.bootrom", "lpc.bootvars")  # in files only, for bhyve of 14 and older
SIZES = st.integers(256, 1 << 20).map(lambda pages: pages * 4096)


def without_own_arguments(machine: Machine) -> Machine:
    """A machine but for the arguments that are the user's own."""
    config = machine.bhyve.config
    return replace(machine, bhyve=Bhyve(config=config), extra_options=())


def judged(placed: Placed) -> tuple[Answer, Answer]:
    """What bhyve makes of our command line, and of our file."""
    labels = [device.label for device in placed.machine.emulations]
    wiring = Wiring(pci=dict.fromkeys(labels, "0000:01:00.0"))
    text = flat(placed, wiring)
    file = answer(["-k", "it.conf", *beside(placed, wiring)], {"it.conf": text}.__getitem__)
    return answer(argv(placed, wiring)[1:], str), file


def known(found: Answer) -> Tree:
    """The configuration that is in command lines too."""
    return {key: text for key, text in found.keys if key not in OLD}


def ignored(found: Answer) -> list[str]:
    """Keys that no bhyve ever reads."""
    return [one for one in found.unread if one.partition("=")[0] not in OLD]


@pytest.mark.parametrize(("file", "target"), RUN)
def test_bhyve_takes_each_example_and_ignores_no_key(file: str, target: str) -> None:
    description = load(str(EXAMPLES / file))
    machine = without_own_arguments(select(description, target))
    line, text = judged(place(description, machine))
    assert known(line) == known(text)
    assert ignored(line) == ignored(text) == []
    assert line.messages == ()


@st.composite
def machines(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Placed:
    """Machines of what bhyve has, in random words."""
    import tomli_w

    table: strategies.Table = draw(strategies.machine(0))
    devices: list[strategies.Table] = draw(
        st.lists(st.sampled_from(KINDS).flatmap(strategies.device), max_size=3)
    )
    for key in OTHERS:
        table.pop(key, None)
    for device in devices:
        device.pop("bhyve", None)
        device.pop("format", None)
        device.pop("slot", None)
    if table.get("graphic"):
        table["graphic"].pop("bhyve", None)
        table["graphic"]["host"] = draw(st.sampled_from(["127.0.0.1", "::1", "0.0.0.0"]))  # noqa: S104
    table |= {"name": "vm", "mem": draw(SIZES), "emulations": devices}
    try:
        description = loads(tomli_w.dumps(table))
        placed = place(description, description.machine)
        argv(placed)
        flat(placed)
    except VmError:
        assume(False)
        raise
    return placed


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(machines())
def test_bhyve_takes_any_machine_as_a_line_and_as_a_file_and_ignores_no_key(
    placed: Placed,
) -> None:
    line, text = judged(placed)
    assert known(line) == known(text)
    assert ignored(line) == ignored(text) == []
