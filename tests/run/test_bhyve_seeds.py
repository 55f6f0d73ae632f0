"""vmrun's own two examples, as its README has them: what a user of bhyve would have typed.

Both generations of the file describe one machine. The command lines are written out here.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vm_import.bhyve_model import answer
from vm_run import dry_run
from vm_run.bhyve import argv
from vm_run.pci_slots import place
from vm_spec import Context, Description, loads, select
from vm_spec.frozen import replace
from vm_spec.machine import HypervisorName

HOUSE = Path(__file__).parents[2]
ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
# A number of processors is that many cores of one socket, on QEMU too. A network card's address is
# its own and stable: made from the user's, the machine's and the card's name.
DEFAULT = (
    "bhyve -A -H -u -c cpus=2,sockets=1,cores=2,threads=1 -m 512M"
    " -s 0:0:0,hostbridge"
    " -s 0:31:0,lpc"
    " -s 0:2:0,virtio-blk,./disk.img"
    " -s 0:10:0,virtio-net,tap3,mac=52:9e:81:75:bf:89"
    f" -l bootrom,{ROM}"
    " -l com1,stdio"
    " freebsd-test"
)
INSTALL = (
    "bhyve -A -H -u -c cpus=2,sockets=1,cores=2,threads=1 -m 512M"
    " -s 0:0:0,hostbridge"
    " -s 0:31:0,lpc"
    " -s 0:2:0,virtio-blk,./disk.img"
    " -s 0:3:0,ahci-cd,./FreeBSD-13.0-RELEASE-amd64-disc1.iso"
    " -s 0:10:0,virtio-net,tap3,mac=52:9e:81:75:bf:89"
    f" -l bootrom,{ROM}"
    " -l com1,stdio"
    " freebsd-test"
)
EXPLAINED = {
    "-A": "generate_acpi",
    "-H": "yield_on_hlt",
    "-u": "utc_clock",
    "-c cpus=2,sockets=1,cores=2,threads=1": "cpu",
    "-m 512M": "mem",
    "-s 0:0:0,hostbridge": "hostbridge",
    "-s 0:31:0,lpc": "lpc_slot",
    "-s 0:2:0,virtio-blk,./disk.img": "emulations (virtio-blk-0)",
    "-s 0:3:0,ahci-cd,./FreeBSD-13.0-RELEASE-amd64-disc1.iso": "emulations (install-ahci-cd-0)",
    "-s 0:10:0,virtio-net,tap3,mac=52:9e:81:75:bf:89": "emulations (virtio-net-0)",
    f"-l bootrom,{ROM}": "bootrom",
    "-l com1,stdio": "com1",
    "freebsd-test": "name",
}
FILES = ["vmrun-first-generation.json", "vmrun.json"]
LINES = {"default": DEFAULT, "install": INSTALL}


def described(file: str) -> Description:
    text = (HOUSE / "examples" / file).read_text()
    description = loads(text, Context(file=file, user="alice", syntax="json"))
    machine = replace(description.machine, hypervisor=HypervisorName("bhyve"))
    return replace(description, machine=machine)


@pytest.fixture(autouse=True)
def no_program_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BHYVE_BIN", raising=False)


@pytest.mark.parametrize("target", LINES)
@pytest.mark.parametrize("file", FILES)
def test_vmruns_example_is_the_command_line_that_one_would_type(file: str, target: str) -> None:
    description = described(file)
    assert dry_run.dry_run(description, target, [], "shell") == LINES[target]
    words = json.loads(dry_run.dry_run(description, target, [], "json"))
    assert words == shlex.split(LINES[target])


@pytest.mark.parametrize("target", LINES)
@pytest.mark.parametrize("file", FILES)
def test_each_word_of_it_is_explained_by_the_key_that_it_comes_from(file: str, target: str) -> None:
    rows = [
        line.rsplit("  <- ", 1) for line in dry_run.explain(described(file), target).splitlines()
    ]
    shown = {words.rstrip(): key for words, key in rows}
    kept = {words for words in EXPLAINED if words in LINES[target]}
    assert shown == {words: key for words, key in EXPLAINED.items() if words in kept}
    assert " ".join(shown) == LINES[target].removeprefix("bhyve ")


@pytest.mark.parametrize("target", LINES)
def test_bhyve_takes_it_and_reads_each_key(target: str) -> None:
    description = described("vmrun.json")
    found = answer(argv(place(description, select(description, target)))[1:], str)
    assert (found.unread, found.messages) == ((), ())


SECRET = """\
name = "vm"
hypervisor = "bhyve"
[graphic]
password = "s3cret"
"""


@pytest.mark.parametrize("options", [["-d"], ["-d", "--format", "json"], ["--explain"]])
def test_what_is_shown_without_running_has_no_password(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text(SECRET)
    done = vm_run("-c", "vm.toml", *options, folder=tmp_path)
    assert "s3cret" not in done.stdout + done.stderr
    assert "/tmp/vm/vm/secret.conf" in done.stdout


def test_the_file_that_was_asked_for_has_the_password_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text(SECRET)
    done = vm_run("-c", "vm.toml", "-d", "--format", "bhyve-config", folder=tmp_path)
    assert done.stdout.startswith("# A password is in this file")
    assert "pci.0.28.0.password=s3cret\n" in done.stdout


def test_further_arguments_are_named_in_the_file_that_cannot_have_them(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text('name = "vm"\nhypervisor = "bhyve"\n')
    words = ["-c", "vm.toml", "-d", "--format", "bhyve-config", "--", "-p", "0:1"]
    done = vm_run(*words, folder=tmp_path)
    assert done.stdout.startswith("# not in this file: bhyve -k FILE -p 0:1\n")


def vm_run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "vm_run", *words],
        cwd=folder,
        env={"PYTHONPATH": str(HOUSE), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
