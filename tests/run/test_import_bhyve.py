"""A bhyve command line, imported: the description gives bhyve the same configuration again.

`data/bhyve-argv.json` holds what bhyve's own parser made of 118 command lines; see
`test_bhyve_model.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vm_run.bhyve import argv
from vm_run.bhyve_config import flat
from vm_run.imports.bhyve import imported
from vm_run.imports.bhyve_known import devices
from vm_run.imports.bhyve_model import Answer, answer, memory
from vm_run.imports.bhyve_same import read_as
from vm_run.imports.bhyve_tree import Tree, get, is_true
from vm_run.slots import Placed, place
from vm_run.wiring import Wiring
from vm_spec import Context, loads
from vm_spec.fault import VmError

RECORDS: dict[str, Any] = json.loads((Path(__file__).parent / "data/bhyve-argv.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDS["cases"]}
TAKEN = [name for name, case in CASES.items() if "error" not in case]
REFUSED = [name for name, case in CASES.items() if "error" in case]

# record -> the keys that are not the same, for this reason:
NOT_THE_SAME = {
    # without firmware bhyve needs a loader: vm-run gives it firmware
    "config.dump": {"bootrom"},
    "no bootrom": {"bootrom"},
    # vm-run gives each card an address of its own, stable for ever
    "e1000 mtu is not read": {"pci.0.2.0.mac"},
    "virtio-net netgraph": {"pci.0.2.0.mac"},
    "virtio-net slirp": {"pci.0.2.0.mac"},
    # ./path=/d.img: the same file
    "virtio-blk path=": {"pci.0.3.0.path"},
}

TOPOLOGY = ("cpus", "sockets", "cores", "threads")
FALSE = ("memory.wired", "x86.vmexit_on_hlt", "destroy_on_poweroff", "x86.x2apic")
TRUE = ("acpi_tables", "virtio_msix", "x86.mptable", "rtc.use_localtime", "x86.strictmsr")
BRIDGES = {"pci.0.0.0.device": "hostbridge", "pci.0.31.0.device": "lpc"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of -k, where the records' command lines look for them."""
    for name, text in RECORDS["files"].items():
        (tmp_path / name).write_text(text, newline="")
    monkeypatch.chdir(tmp_path)


def machine(text: str) -> Placed:
    description = loads(text, Context(name="vm"))
    return place(description, description.machine)


def made(args: list[str]) -> Answer:
    return answer(args, lambda name: Path(name).read_bytes().decode())


def meaning(found: Answer) -> Tree:
    """What bhyve reads of a configuration, each thing in one way of several that mean the same.

    The two bridges are there for they always are in ours.
    """
    ignored = {line.partition("=")[0] for line in found.unread} | {"config.dump"}
    tree = {key: get(found.tree, key) for key in found.tree if key not in ignored}
    tree.pop("disk", None)  # a variable of one record's own
    numbers = {key: int(tree.pop(key, "0")) for key in TOPOLOGY}
    if not numbers["sockets"] | numbers["cores"] | numbers["threads"]:
        numbers["sockets"] = numbers["cpus"]
    tree["topology"] = "x".join(str(numbers[key] or 1) for key in TOPOLOGY[1:])
    tree["memory.size"] = str(memory(tree["memory.size"]))
    for keys, default in ((FALSE, False), (TRUE, True)):
        tree |= {key: str(is_true(tree, key, default=default)) for key in keys}
    for one in devices(tree):
        node = "pci.{}.{}.{}".format(*one)
        tree |= {f"{node}.{key}": text for key, text in read_as(tree, node).items()}
        tree.pop(f"{node}.rfb", None)
    return BRIDGES | tree


@pytest.mark.parametrize("name", TAKEN)
def test_what_was_imported_gives_bhyve_the_same_configuration(name: str) -> None:
    args: list[str] = CASES[name]["argv"]
    again = made(argv(machine(imported(["bhyve", *args])), Wiring(attached=True))[1:])
    ours, theirs = meaning(again), meaning(made(args))
    differ = {key for key in ours | theirs if ours.get(key) != theirs.get(key)}
    assert differ == NOT_THE_SAME.get(name, set())
    assert again.unread == ()


@pytest.mark.parametrize("name", TAKEN)
def test_what_was_imported_gives_the_same_as_a_file(name: str) -> None:
    placed = machine(imported(["bhyve", *CASES[name]["argv"]]))
    line = made(argv(placed, Wiring(attached=True))[1:])
    text = flat(placed, Wiring(attached=True))
    assert meaning(answer(["-k", "it"], {"it": text}.__getitem__)) == meaning(line)


@pytest.mark.parametrize("name", REFUSED)
def test_what_bhyve_refuses_is_not_imported(name: str) -> None:
    with pytest.raises(VmError, match="bhyve refuses this: "):
        imported(["bhyve", *CASES[name]["argv"]])


def test_a_whole_guest_is_in_our_own_words() -> None:
    assert (
        imported(["/usr/sbin/bhyve", *CASES["full uefi guest"]["argv"]])
        == """\
# Imported from a bhyve command line.

name = "vm"
hypervisor = "bhyve"
mem = "4G"
bootrom = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
varfile = "/vm/VARS.fd"
com1 = "/dev/nmdm-vm.1A"
uuid = "a5a5a5a5-0001-4002-8003-000000000001"

[cpu]
cores = 2
threads = 2

[graphic]
slot = "0:29:0"
xhci_table = false

[bhyve.config]
"x86.strictmsr" = "false"

[[emulations]]
device = "ahci-cd"
label = "sata0"
slot = "0:3:0"
path = "/iso"

[emulations.bhyve]
ro = "true"

[[emulations]]
device = "virtio-blk"
label = "disk0"
slot = "0:4:0"
path = "/dev/zvol/z/vm"

[[emulations]]
device = "virtio-net"
label = "net0"
slot = "0:5:0"
name = "tap0"
mac = "58:9c:fc:00:00:01"

[[emulations]]
device = "xhci"
label = "xhci0"
slot = "0:30:0"
"""
    )


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("e1000 mtu is not read", "# Left out: bhyve never reads pci.0.2.0.mtu=9000\n"),
        ("no bootrom", "# Not carried: it had no bootrom; vm-run gives it BHYVE_UEFI.fd\n"),
        ("virtio-net slirp", "# net0 has an address of its own, not bhyve's\n"),
        ("defaults", "# Added: a host bridge in slot 0, which vm-run always gives\n"),
    ],
)
def test_a_comment_tells_what_is_not_the_same(name: str, note: str) -> None:
    assert note in imported(["bhyve", *CASES[name]["argv"]])


def test_a_firmware_file_which_has_no_key_stays_an_argument() -> None:
    text = imported(["bhyve", *CASES["-f string"]["argv"]])
    words = argv(machine(text))
    assert words[-3:] == ["-f", "opt/com.example/x,string=hello, world", "vm"]


@pytest.mark.parametrize("words", [[], ["qemu-system-x86_64", "-m", "1G"]])
def test_another_programs_command_line_is_not_taken_for_bhyves(words: list[str]) -> None:
    with pytest.raises(VmError, match="is no command line of bhyve's") as raised:
        imported(words)
    assert raised.value.status == 64


def test_a_key_that_is_neither_yes_nor_no_is_refused_as_bhyve_does() -> None:
    with pytest.raises(VmError, match=r"Invalid value maybe for boolean variable memory\.wired"):
        imported(["bhyve", "-o", "memory.wired=maybe", "vm"])


@pytest.mark.parametrize("key", ["pci.0.3.0.path=/a", "cpus=x", "memory.size=0"])
def test_what_only_shows_its_configuration_is_judged_as_if_it_were_to_start(key: str) -> None:
    with pytest.raises(VmError, match="bhyve refuses this: "):
        imported(["bhyve", "-o", "config.dump=1", "-o", key, "vm"])


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(VmError, match=r"none\.conf cannot be read") as raised:
        imported(["bhyve", "-k", "none.conf"])
    assert raised.value.status == 66


def test_a_line_break_in_a_name_does_not_leave_its_comment() -> None:
    text = imported(["bhyve", "vm\nevil = 1"])
    assert 'name = "vm-evil---1"' in text
    assert r"# The name was vm\nevil = 1" in text.splitlines()


def test_a_percent_sign_that_is_no_variable_means_itself_again() -> None:
    args = ["-s", "3,virtio-blk,/a%(name)b,ser=5%", "-o", "system.sku=%(name)", "vm"]
    again = made(argv(machine(imported(["bhyve", *args])))[1:]).tree
    keys = ("pci.0.3.0.path", "pci.0.3.0.ser", "system.sku")
    assert [get(again, key) for key in keys] == ["/avmb", "5%", "vm"]
