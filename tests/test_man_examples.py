"""Every example of the manual pages of commands is typed, in a shell, and does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lacking import need
from tests.vm import Vm
from vm_init.__main__ import parse_arguments

HOUSE = Path(__file__).parents[1]
MAN = HOUSE / "man"
COMMANDS = {
    "vm-run": "vm_run",
    "vm-import": "vm_import",
    "vm-list": "vm_list",
    "vm-stop": "vm_stop",
    "vm-console": "vm_console",
}
END_S = 120


@dataclass(frozen=True)
class Seen:
    """What an example is expected to do.

    Attributes:
        status: its exit status.
        said: what is in its output, both streams together.
        running: which VMs run before it.
        guest: what these do.
    """

    status: int = 0
    said: str = ""
    running: tuple[str, ...] = ()
    guest: str = "wait"


RUNS = ("my-vm",)
EXPECTED = {
    "vm-run my-vm": Seen(said="my-vm: guest powered off"),
    "vm-run my-vm -t install": Seen(said="target default, start 2"),
    "vm-run my-vm -d -t install": Seen(said="/usr/bin/qemu-system-x86_64 "),
    "vm-run my-vm --explain": Seen(said="<- kernel"),
    "vm-run my-vm --screenshot my-vm.png": Seen(running=RUNS),
    "vm-run -c web.toml -o mem=4G --check": Seen(said="has everything that target default needs"),
    "vm-run --check": Seen(said="qemu"),
    "vm-run --detach --events web.events web": Seen(said="web runs in the background"),
    "vm-run --autostart --names": Seen(said="db web"),
    "vm-run my-vm -d --format bhyve-config -o hypervisor=bhyve": Seen(said="memory.size="),
    "vm-import web.xml": Seen(said='hypervisor = "qemu"'),
    "vm-import -- bhyve -c 2 -m 1G -s 0,hostbridge -s 3,virtio-blk,web.img web": Seen(
        said='hypervisor = "bhyve"'
    ),
    "vm-run --import web.xml": Seen(said='path = "/images/web.qcow2"'),
    "vm-run --import -- bhyve -c 2 -m 1G -s 0,hostbridge -s 3,virtio-blk,web.img web": Seen(
        said='hypervisor = "bhyve"'
    ),
    "uclcmd get -c -f x.conf | vm-run -c -": Seen(said="guest powered off"),
    "vm-list --json | jq -r '.vms[] | select(.state == \"running\").name'": Seen(
        said="my-vm\n", running=RUNS
    ),
    "vm-list web": Seen(said="stopped"),
    "vm-stop my-vm": Seen(said="my-vm: ", running=RUNS),
    "vm-stop --timeout 300 db web": Seen(said="web: ", running=("db", "web")),
    "vm-stop --all --no-wait": Seen(said="web: ", running=("web",)),
    "vm-stop --force my-vm": Seen(said="my-vm: ", running=RUNS, guest="stubborn"),
    "vm-console my-vm </dev/null": Seen(said="guest: ready", running=RUNS),
    "echo reboot | vm-console --follow my-vm | tee log": Seen(
        said="Power down", running=RUNS, guest="shell"
    ),
}
# The guest's shell has no init to ask, and a machine that reboots is followed for ever.
TYPED_AS = {"echo reboot": "echo 'poweroff -f'"}
# bhyve boots no kernel directly.
FOR_BHYVE = 'bootrom = "uefi"\n[disk.root]\npath = "root.img"\n'
# These need a person at a terminal, a browser, root or another host: their words are read only.
READ_ONLY = {
    "vm-console my-vm",
    "vm-console -n 20 -e ^A my-vm com2",
    "vm-console --web my-vm",
    "vm-console my-vm --screenshot shot.png",
}


def examples(page: str) -> list[str]:
    """What stands under EXAMPLES as something to type."""
    text = re.search(
        r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", (MAN / page).read_text(), re.DOTALL | re.MULTILINE
    )
    assert text, page
    lines = re.findall(r"^(?:\.It Li )?((?:vm-|sudo vm-|echo |uclcmd ).*)$", text[1], re.MULTILINE)
    return [line.replace(r"\&", "").replace(r"\e", "\\") for line in lines]


TYPED = [line for page in ("vm-run.1", "vm-list.1", "vm-stop.1", "vm-console.1", "vm-import.1")
         for line in examples(page)]  # fmt: skip


def test_each_example_is_known_here_and_the_other_way_round() -> None:
    assert set(TYPED) == set(EXPECTED) | READ_ONLY


@pytest.fixture
def home(tmp_path: Path, guest: Path) -> Iterator[Path]:
    """Commands in PATH, and a folder that has what the examples name."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for command, module in COMMANDS.items():
        script(tools / command, f'exec {sys.executable} -m {module} "$@"')
    card = f'kernel = "{guest}/vmlinuz"\ninitrd = "{guest}/initrd.img"\nmem = "192M"\n'
    script(tools / "uclcmd", f"printf '%s' '{as_json(guest)}'")
    for name in ("my-vm", "web", "db"):
        more = "autostart = true\n" if name != "my-vm" else ""
        (tmp_path / "vm").mkdir(exist_ok=True)
        (tmp_path / "vm" / f"{name}.toml").write_text(f"{card}{more}{BODY}")
    (tmp_path / "web.toml").write_text(card)
    (tmp_path / "web.xml").write_text(DOMAIN)
    yield tmp_path
    for name in ("my-vm", "web", "db"):
        Vm(tmp_path, name).close()


DOMAIN = """<domain type="kvm"><name>web</name><memory unit="GiB">1</memory><vcpu>2</vcpu>
<os><type>hvm</type></os><devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
<source file="/images/web.qcow2"/><target dev="vda" bus="virtio"/></disk></devices></domain>
"""
BODY = """com1 = "socket"
cmdline = "console=ttyS0 quiet vmman.do=poweroff"
[qemu]
vga = "std"
[targets.install]
next_target = "default"
cmdline = "console=ttyS0 quiet vmman.do=reboot"
"""


def as_json(guest: Path) -> str:
    return (
        f'{{"name": "x", "kernel": "{guest}/vmlinuz", "initrd": "{guest}/initrd.img",'
        ' "mem": "192M", "cmdline": "console=ttyS0 quiet vmman.do=poweroff"}'
    )


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def environment(home: Path) -> dict[str, str]:
    run = home / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    return {
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(HOUSE),
        "HOME": str(home),
        "VMCONF_DIR": str(home / "vm"),
        "XDG_RUNTIME_DIR": str(run),
    }


def typed(home: Path, line: str) -> tuple[int, str]:
    """The status and the output of a line; into a file, since a guest may outlive it."""
    with (home / "seen").open("w+") as seen:
        done = subprocess.run(
            ["sh", "-c", line], cwd=home, env=environment(home), check=False, timeout=END_S,
            stdin=subprocess.DEVNULL, stdout=seen, stderr=seen,
        )  # fmt: skip
    return done.returncode, (home / "seen").read_text(errors="replace")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("line", EXPECTED)
def test_each_example_does_what_it_says(home: Path, line: str) -> None:
    wanted = EXPECTED[line]
    if "| jq " in line:
        need("jq")
    for name in wanted.running:
        file = home / "vm" / f"{name}.toml"
        file.write_text(file.read_text().replace("=poweroff", f"={wanted.guest}"))
        status, said = typed(home, f"vm-run --detach {name}")
        assert status == 0, said
        Vm(home, name).until("guest: ready")
    if "hypervisor=bhyve" in line:
        (home / "vm" / "my-vm.toml").write_text(FOR_BHYVE)
    for what, instead in TYPED_AS.items():
        line = line.replace(what, instead)
    status, said = typed(home, line)
    assert status == wanted.status, said
    assert wanted.said in said
    if "screenshot" in line:
        assert (home / "my-vm.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("line", sorted(READ_ONLY))
def test_what_only_a_person_can_type_is_understood(line: str) -> None:
    from vm_console.__main__ import parser

    assert parser().parse_args(shlex.split(line)[1:]).name == "my-vm"


@pytest.mark.parametrize("line", examples("vm-init.8"))
def test_each_example_of_vm_init_is_understood(line: str) -> None:
    words = shlex.split(line.removeprefix("sudo "))
    assert words[0] == "vm-init"
    assert parse_arguments(words[1:])
