"""`vm-run --import` itself: of each kind of file, what is printed, and what that is to vm-run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.home import Home, command
from tests.run.test_import_others import LIBVIRT, QUICKEMU, VM_BHYVE
from tests.vm import HOUSE, Vm
from vm_spec import Context, loads

EXAMPLES = HOUSE / "examples"
FLAT = """\
# a guest of bhyve's
name=flat
memory.size=1G
cpus=2
bootrom=/fw/BHYVE_UEFI.fd
pci.0.0.0.device=hostbridge
pci.0.3.0.device=virtio-blk
pci.0.3.0.path=/vm/%(name).img
pci.0.4.0.device=e1000
pci.0.4.0.backend=tap7
pci.0.31.0.device=lpc
"""
FOREIGN = {"flat": FLAT, "vm-bhyve": VM_BHYVE, "quickemu": QUICKEMU, "libvirt": LIBVIRT}
ALSO_OURS = ["vmrun.json", "vmrun-first-generation.json", "vmman.toml"]
NATIVE = sorted(path.name for path in EXAMPLES.glob("*.toml") if path.name != "vmman.toml")


def printed(home: Home, file: Path, *words: str) -> str:
    said = home.says("--import", str(file), *words)
    assert (said.status, said.err) == (0, "")
    return said.out


def command_lines(home: Home, file: Path) -> list[str]:
    """Of each target on each hypervisor: its command line, or why it has none."""
    targets = home.says("-c", str(file), "--targets").out.split()
    # vmman had no other hypervisor, and no key for it
    names = [] if file.name.startswith("vmman") else ["-o", "hypervisor=bhyve"]
    runs = [
        home.says("-c", str(file), "-t", target, "--dry-run", *words)
        for target in targets
        for words in ([], names)
    ]
    return [said.out or said.err.replace(str(file), "FILE") for said in runs]


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_tools_file_is_printed_as_a_description_that_gives_a_command_line(
    kind: str, home: Home
) -> None:
    file = home.folder / "web.anything"
    file.write_text(FOREIGN[kind])
    description = home.folder / "made.toml"
    description.write_text(printed(home, file))
    assert description.read_text().startswith("# Imported from a ")
    said = home.says("-c", str(description), "--dry-run")
    assert said.status == 0
    assert shlex.split(said.out)


@pytest.mark.parametrize("name", ALSO_OURS)
def test_what_loads_as_it_is_gives_the_same_command_lines_when_it_was_imported(
    name: str, home: Home
) -> None:
    original = home.folder / name
    original.write_text((EXAMPLES / name).read_text())
    made = home.folder / f"{original.stem}.imported.toml"
    made.write_text(printed(home, original))
    named = loads(original.read_text(), Context(name=original.stem, syntax=original.suffix[1:]))
    assert loads(made.read_text(), Context(name="other")).name == named.name
    before, after = command_lines(home, original), command_lines(home, made)
    assert [line.startswith("/") for line in before].count(True) >= 1
    assert after == before


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("vmrun-first-generation.json", "# vmrun's frontend, backend and device are called "),
        ("vmrun.json", "# Ethernet addresses and interface names that vm-run makes up are written"),
        ("vmman.toml", "# vmman's [base] is the machine and its [qemu]; each other section is a"),
        ("vmman.toml", "# [bridge.old] is deprecated: write [macvtap.old]"),
    ],
)
def test_comments_tell_what_has_another_name_now(name: str, note: str, home: Home) -> None:
    assert f"\n{note}" in printed(home, EXAMPLES / name)


@pytest.mark.parametrize("name", NATIVE)
def test_a_description_is_printed_as_it_is(name: str, home: Home) -> None:
    assert printed(home, EXAMPLES / name) == (EXAMPLES / name).read_text()


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_was_imported_is_a_description_that_is_printed_as_it_is(kind: str, home: Home) -> None:
    file = home.folder / "web.conf"
    file.write_text(FOREIGN[kind])
    again = home.folder / "again"
    again.write_text(printed(home, file))
    assert printed(home, again) == again.read_text()


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("hello, world\n", 65, ["web.conf: is of no kind that can be", "known are: a libvirt"]),
        ("", 65, ["is of no kind that can be imported"]),
        ('memroy = "1G"\n', 65, ["memroy", "did you mean mem"]),
        ('[disk.root]\npath = "a"\nend', 65, ["web.conf", "is not TOML"]),
        ('{"mem": "1G"', 65, ["web.conf", "is not JSON"]),
        ("<domain type='kvm'>", 65, ["hint: "]),
        ("name=x\ncpus=0\n", 65, ["bhyve refuses this: bhyve: Invalid value for cpus: '0'"]),
        ("name=x\ncpus=2\nuuid=\n", 65, ["web.conf line 3: invalid config option 'uuid='"]),
        ("name: x\nmem: 1G\nemulations: []\n", 65, ["is UCL", "uclcmd get -c -f FILE"]),
        ("#!/bin/sh\nbhyve -c 2 -m 1G web\n", 65, ["vm-run --import -- bhyve ARGS..."]),
        ("\0", 65, ["NUL"]),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_told_with_the_next_step(
    text: str, status: int, words: list[str], home: Home
) -> None:
    file = home.folder / "web.conf"
    file.write_text(text)
    said = home.says("--import", str(file))
    assert said.status == status
    assert said.out == ""
    assert [word for word in words if word not in said.err] == []
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # a key of ours that another tool has too, where only blanks or a table tell
        ('name="web"\n[bhyve]\nloader="none"\n', "native"),
        ('[disk.a]\npath="<domain>"\n', "native"),
        ('{"name": "a", "cmdline": "<domain type=", "kernel": "k", "emulations": []}', "syntax"),
        ('loader="uefi"\ncpu="2"\ndisk0_type="virtio-blk"\ndisk0_name="a.img"\n', "vm-bhyve"),
        ("uuid=a5a5a5a5-0001-4002-8003-000000000001\nx86.strictmsr=false\n", "flat"),
        ("\ufeff" + LIBVIRT, "libvirt"),
    ],
)
def test_a_file_is_known_by_its_content(text: str, kind: str, home: Home) -> None:
    file = home.folder / "web.conf"
    file.write_text(text)
    first = printed(home, file).splitlines()[0]
    assert first == text.splitlines()[0] if kind == "native" else kind in first


def test_what_comes_through_a_pipe_is_imported(vm: Vm) -> None:
    done = command(vm, "--import", "-", stdin=(EXAMPLES / "vmrun.json").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert loads(done.stdout).name == "freebsd-test"


def test_a_command_of_its_own_imports_a_command_line_of_bhyves(vm: Vm) -> None:
    (vm.folder / "a.conf").write_text(FLAT)
    done = command(vm, "--import", "--", "bhyve", "-k", "a.conf", "-H", "cli")
    assert (done.returncode, done.stderr) == (0, "")
    made = loads(done.stdout).machine
    assert (made.name, made.yield_on_hlt) == ("cli", True)
    assert json.dumps([str(one.slot) for one in made.emulations]) == '["0:3:0", "0:4:0"]'


def test_a_file_that_is_no_file_does_not_hold_us_up(home: Home) -> None:
    assert home.says("--import", "/dev/zero").status == 66
    assert home.says("--import", "--", "bhyve", "-k", "/dev/zero", "vm").status == 66


STARTED = """
import sys
from vm_run.__main__ import main
main(sys.argv[1:])
print(*(name for name in sys.modules if name.startswith("vm_import")), sep=" ")
"""


@pytest.mark.parametrize("words", [["web"], ["web", "--check"], ["-c", "none.json", "-d"]])
def test_nothing_of_the_import_is_loaded_unless_it_is_asked_for(words: list[str], vm: Vm) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", STARTED, *words],
        env=vm.environment() | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == ""
