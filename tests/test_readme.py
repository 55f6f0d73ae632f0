"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path

from vm_run.cli import parse
from vm_spec import Context, loads, select

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_description_loads_and_its_installer_has_a_cd() -> None:
    (text,) = blocks("toml")
    description = loads(text, Context(name="web"))
    kinds = [device.kind for device in select(description, "install").emulations]
    assert kinds == ["virtio-blk", "virtio-net", "ahci-cd"]
    assert select(description, "install").next_target == "default"


def test_each_vm_run_line_is_one_that_vm_run_understands() -> None:
    lines = re.findall(r"^\$ vm-run (.*)$", README, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        parse(line.partition("#")[0].split())


def test_its_program_is_python() -> None:
    (program,) = blocks("python")
    compile(program, "README.md", "exec")


def test_the_files_that_it_names_exist() -> None:
    house = Path(__file__).parents[1]
    for name in re.findall(r"`((?:examples|bench)/[\w./-]+|[A-Z]+\.md)`", README):
        assert (house / name).exists(), name
