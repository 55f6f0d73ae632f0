"""The examples: each loads; the seeds' are as they were; the comments tell the code's defaults."""

import json
import re
from pathlib import Path

import pytest
import tomli

from vm_run.pci_slots import place
from vm_spec import Context, Description, load, loads, select
from vm_spec.devices import KINDS, Graphic
from vm_spec.encode import plain
from vm_spec.frozen import Value
from vm_spec.machine import Bhyve, CloudInit, Machine, Qemu, Tpm

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted([*EXAMPLES.glob("*.toml"), *EXAMPLES.glob("*.json")])
ALL = EXAMPLES / "all-fields.toml"


def described(path: Path) -> Description:
    return loads(
        path.read_text(),
        Context(file=path.name, name=path.stem, user="u", syntax=path.suffix.removeprefix(".")),
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_example_loads_and_every_target_has_its_slots(path: Path) -> None:
    description = described(path)
    for target in ("default", *(target.name for target in description.targets)):
        place(description, select(description, target))


def test_both_generations_of_vmrun_and_its_ucl_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (described(EXAMPLES / f"vmrun{end}.json") for end in ("-first-generation", ""))
    assert first.machine.mem == second.machine.mem
    assert first.targets == second.targets
    assert [device.kind for device in first.machine.emulations] == ["virtio-net", "virtio-blk"]
    program = tmp_path / "uclcmd"
    program.write_text(f"#!/bin/sh\ncat '{EXAMPLES}/vmrun.json'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ucl, whole = load(str(EXAMPLES / "vmrun.conf")), load(str(EXAMPLES / "vmrun.json"))
    assert (ucl.machine, ucl.targets) == (whole.machine, whole.targets)


def test_what_the_seeds_show_is_kept_as_it_was() -> None:
    second = json.loads((EXAMPLES / "vmrun.json").read_text())
    assert second["emulations"][0] == {"device": "virtio-net", "name": "tap3"}
    first = json.loads((EXAMPLES / "vmrun-first-generation.json").read_text())
    assert first["emulations"][1] == {"frontend": "virtio-blk", "device": "disk.img"}


def commented() -> dict[str, dict[str, str]]:
    """Section -> key -> what its comment says of the default; a device's section is its name."""
    found: dict[str, dict[str, str]] = {"machine": {}}
    section = "machine"
    for line in ALL.read_text().splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            section = header[1]
        elif device := re.fullmatch(r'device = "(.+)"', line):
            section = device[1]
        elif key := re.fullmatch(r"(?:# )?(\w+) = .*  # (default: .+|required)", line):
            found.setdefault(section, {})[key[1]] = key[2].removeprefix("default: ")
    return found


def told(cls: type[Value], *without: str) -> dict[str, object]:
    """Field -> its default, "required", or "made"."""
    shown: dict[str, object] = {}
    for field in cls.fields:
        if field not in without:
            required = "made" if field in ("label", "name") else "required"
            default = cls.defaults.get(field, required)
            shown[field] = default if default is required else plain(default, cls.fields[field])
    return shown


SECTIONS: dict[str, dict[str, object]] = {
    "machine": told(Machine, "graphic", "cloud_init", "tpm", "emulations", "qemu", "bhyve"),
    "graphic": told(Graphic, "label"),
    "cloud_init": told(CloudInit),
    "tpm": told(Tpm),
    "qemu": told(Qemu),
    "bhyve": told(Bhyve),
    **{kind: told(cls) for kind, cls in KINDS.items()},
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_comments_of_all_fields_tell_every_key_and_its_default(section: str) -> None:
    said = commented()[section]
    values = {"none": None, "made": "made", "required": "required"}
    read = {
        key: values[text] if text in values else tomli.loads(f"v = {text}")["v"]
        for key, text in said.items()
    }
    assert read == SECTIONS[section]
