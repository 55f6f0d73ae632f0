"""What vm-run shows without running anything."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.home import Home
from tests.vm import HOUSE
from vm_spec import Context, loads
from vm_spec.frozen import replace

WHOLE = """\
mem = "1G"
cpu = { cores = 2 }
com1 = "stdio"
kernel = "k"
cmdline = "console=ttyS0 root=/dev/vda"
[graphic]
port = 5901
[disk.root]
path = "root.qcow2"
[net.lan]
forward = ["2222:22"]
[targets.install]
next_target = "default"
[targets.install.cd.media]
path = "x.iso"
"""
DISKS = "".join(f'[disk.d{number}]\npath = "d.img"\n' for number in range(200))
EXAMPLES = sorted((HOUSE / "examples").glob("*.toml"))


@pytest.fixture
def whole(home: Home) -> Home:
    home.vm.describe(WHOLE)
    return home


def explained(home: Home, *words: str) -> list[tuple[list[str], str]]:
    """Each argument's words with its key."""
    said = home.says("vm", "--explain", *words)
    assert said.status == 0, said.err
    pairs = [line.rpartition("  <- ") for line in said.out.splitlines()]
    return [(shlex.split(argument), key) for argument, _, key in pairs]


def test_every_argument_has_the_key_that_it_comes_from(whole: Home) -> None:
    keys = {words[0] + " " + words[1][:12]: key for words, key in explained(whole) if words[1:]}
    assert keys["-m 1024M"] == "mem"
    assert keys["-smp 2,sockets=1,"[:17]] == "cpu"
    assert keys["-kernel " + str(whole.folder / "k")[:12]] == "kernel"
    assert keys["-append console=ttyS"] == "cmdline"
    everything = {key for _, key in explained(whole)}
    for part in ("root", "lan", "graphic", "com1", "(always)"):
        assert any(part in key for key in everything), part


def test_what_is_explained_is_what_would_be_run(whole: Home) -> None:
    for target in ("default", "install"):
        words = [word for words, _ in explained(whole, "-t", target) for word in words]
        said = whole.says("vm", "-d", "--format", "json", "-t", target)
        assert json.loads(said.out)[1:] == words
    assert any("media" in key for _, key in explained(whole, "-t", "install"))


def test_bhyves_arguments_are_explained_too(home: Home) -> None:
    home.vm.describe('mem = "1G"\nhypervisor = "bhyve"\n[disk.root]\npath = "root.img"\n')
    pairs = explained(home)
    assert (["-m", "1G"], "mem") in pairs
    assert pairs[-1] == (["vm"], "name")


def test_a_dry_run_is_the_same_line_for_a_shell_and_for_a_program(whole: Home) -> None:
    line = whole.says("vm", "-d").out
    assert line.count("\n") == 1
    assert shlex.split(line) == json.loads(whole.says("vm", "-d", "--format", "json").out)
    assert whole.says("vm", "-d", "--format", "shell").out == line


def test_further_arguments_come_last_and_before_bhyves_name(whole: Home) -> None:
    argv = json.loads(whole.says("vm", "-d", "--format", "json", "--", "-S", "a b").out)
    assert argv[-2:] == ["-S", "a b"]
    whole.vm.describe('hypervisor = "bhyve"\n')
    argv = json.loads(whole.says("vm", "-d", "--format", "json", "--", "-S", "a b").out)
    assert argv[-3:] == ["-S", "a b", "vm"]


def test_a_bhyve_configuration_is_flat_keys(home: Home) -> None:
    home.vm.describe('mem = "1G"\ncpu = 2\n')
    lines = home.says("vm", "-d", "--format", "bhyve-config").out.splitlines()
    table = dict(line.split("=", 1) for line in lines)
    assert (table["name"], table["cpus"], table["memory.size"]) == ("vm", "2", "1G")


def test_the_program_is_the_one_that_would_be_run(
    whole: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEMU_BIN", "/opt/my qemu")
    assert whole.says("vm", "-d").out.startswith("'/opt/my qemu' ")
    monkeypatch.delenv("QEMU_BIN")
    assert whole.says("vm", "-d").out.startswith("/usr/bin/qemu-system-x86_64 ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_a_description_that_was_shown_loads_again_and_is_the_same(home: Home, path: Path) -> None:
    said = home.says("-c", str(path), "vm", "--debug")
    assert said.status == 0, said.err
    again = home.folder / "again.toml"
    again.write_text(said.out)
    context = Context(file=str(path), folder=str(path.parent), name="vm")
    bare = {"file": "", "folder": "", "user": "", "notes": ()}
    once = loads(said.out, context)
    twice = loads(home.says("-c", str(again), "--debug").out, context)
    assert replace(once, **bare) == replace(twice, **bare)
    for target in ("default", *(str(target.name) for target in once.targets)):
        words = ["-d", "-t", target]
        first = home.says("-c", str(path), "vm", *words)
        assert home.says("-c", str(again), *words).out == first.out


def test_a_check_tells_of_a_description_what_its_start_would(home: Home) -> None:
    for text in (DISKS, 'com2 = "nmdm"'):
        home.vm.describe(f'hypervisor = "qemu"\n{text}')
        checked, started = home.says("vm", "--check"), home.says("vm", "--no-requirement-check")
        assert (checked.status, checked.err) == (started.status, started.err)
        assert checked.status == 65


def test_the_schema_needs_no_vm(home: Home) -> None:
    said = home.says("--schema")
    assert said.status == 0
    assert json.loads(said.out)["$schema"].startswith("https://json-schema.org/")


def test_a_look_starts_nothing_and_leaves_nothing(whole: Home) -> None:
    whole.program("fake-qemu", f"#!/bin/sh\ntouch {whole.vm.folder}/started\n")
    for words in (["-d"], ["--explain"], ["--debug"], ["--check"], ["--schema"]):
        whole.says("vm", *words)
    assert not (whole.vm.folder / "started").exists()
    assert not list(whole.vm.runtime.iterdir())
    assert [entry.name for entry in whole.folder.iterdir()] == ["vm.toml"]
