"""A bhyve command line, imported: the description gives bhyve the same configuration again.

`data/bhyve-argv.json` holds what bhyve's own parser made of 118 command lines; see
`test_bhyve_model.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.run.bhyve_meaning import emitted, filed, meaning, read_file, with_bridges
from vm_import.bhyve import imported
from vm_import.bhyve_cards import generated
from vm_import.bhyve_config import get
from vm_import.bhyve_model import Answer, answer
from vm_run.bhyve import argv
from vm_run.pci_slots import Placed, place
from vm_spec import Context, loads
from vm_spec.devices import E1000, VirtioBlk
from vm_spec.fault import VmError
from vm_spec.machine import Machine, Tpm, TpmType
from vm_spec.types import FilePath

RECORDS: dict[str, Any] = json.loads((Path(__file__).parent / "data/bhyve-argv.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDS["cases"]}
TAKEN = [name for name, case in CASES.items() if "error" not in case]
REFUSED = [name for name, case in CASES.items() if "error" in case]


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
    return answer(args, read_file)


@pytest.mark.parametrize("name", TAKEN)
def test_what_was_imported_gives_bhyve_the_same_configuration(name: str) -> None:
    args: list[str] = CASES[name]["argv"]
    again, theirs = emitted(machine(imported(["bhyve", *args]))), answer(args, read_file)
    assert meaning(again) == with_bridges(meaning(theirs), meaning(again))
    assert again.unread == ()
    assert theirs.dumped or again.preloaded == theirs.preloaded


@pytest.mark.parametrize("name", TAKEN)
def test_what_was_imported_gives_the_same_as_a_file(name: str) -> None:
    placed = machine(imported(["bhyve", *CASES[name]["argv"]]))
    assert meaning(filed(placed)) == meaning(emitted(placed))


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
        (
            "no bootrom",
            '# It has no bootrom: loader = "bhyveload" loads a kernel before each start\n',
        ),
        (
            "tpm swtpm version",
            "# Its TPM is the swtpm that listens at /run/swtpm.sock: start it before\n",
        ),
        (
            "virtio-blk path=",
            "# Relative paths start at this file's folder, not where bhyve was started:"
            " path=/d.img\n",
        ),
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
    with pytest.raises(VmError, match=r"none\.conf: cannot be read") as raised:
        imported(["bhyve", "-k", "none.conf"])
    assert raised.value.status == 66


def test_a_line_break_in_a_name_does_not_leave_its_comment() -> None:
    text = imported(["bhyve", "vm\nevil = 1"])
    assert 'name = "vm-evil---1"' in text
    note = r"# The name was vm\nevil = 1, and bhyve makes its UUID from the name"
    assert note in text.splitlines()


def test_a_percent_sign_that_is_no_variable_means_itself_again() -> None:
    args = ["-s", "3,virtio-blk,/a%(name)b,ser=5%", "-o", "system.sku=%(name)", "vm"]
    again = made(argv(machine(imported(["bhyve", *args])))[1:]).tree
    keys = ("pci.0.3.0.path", "pci.0.3.0.ser", "system.sku")
    assert [get(again, key) for key in keys] == ["/avmb", "5%", "vm"]


ROM = ("-l", "bootrom,/rom")


def described(*args: str) -> Machine:
    return loads(imported(["bhyve", *args])).machine


@pytest.mark.parametrize(
    ("place", "name", "address"),
    [
        ((2, 0), "vm", "00:a0:98:4d:81:48"),
        ((5, 1), "a guest", "00:a0:98:e4:6d:19"),
    ],
)
def test_a_card_keeps_the_address_that_bhyve_made_for_it(
    place: tuple[int, int], name: str, address: str
) -> None:
    # the first three bytes of what md5sum says of "2-0-vm" and of "5-1-a guest"
    assert generated(*place, name) == address
    assert generated(2, 0, "n" * 200) == generated(2, 0, "n" * 75)
    machine = described(*ROM, "-s", f"3:{place[0]}:{place[1]},e1000,tap1", name)
    assert [one.mac for one in machine.emulations if isinstance(one, E1000)] == [address]


def test_a_card_in_bhyves_words_keeps_its_address_when_the_vm_has_another_name() -> None:
    machine = described(*ROM, "-s", "5:1,virtio-net,ngd0", "a guest")
    assert machine.name == "a-guest"
    assert dict(machine.bhyve.config)["pci.0.5.1.mac"] == "00:a0:98:e4:6d:19"


def test_monitor_mode_is_vm_runs_own_choice() -> None:
    text = imported(["bhyve", "-M", *ROM, "vm"])
    assert "# Left out: -M, which vm-run gives bhyve where it is needed\n" in text
    assert "monitor" not in text
    assert "-M" not in imported(["bhyve", *ROM, "-o", "monitor=false", "vm"])


@pytest.mark.parametrize(
    "args",
    [
        ("-l", "tpm,passthru,/dev/tpm1"),
        ("-o", "tpm.type=passthru", "-o", "tpm.version=2.0", "-o", "tpm.path=/dev/tpm1"),
        ("-l", "tpm,passthru,/dev/tpm1,intf=crb,ppi=qemu"),
    ],
    ids=" ".join,
)
def test_the_hosts_tpm_is_in_our_words(args: tuple[str, ...]) -> None:
    machine = described(*ROM, *args, "vm")
    assert machine.tpm == Tpm(type=TpmType("passthru"), path=FilePath("/dev/tpm1"))
    assert machine.bhyve.config == ()


def test_a_path_that_is_too_long_for_our_words_stays_a_key() -> None:
    machine = described(*ROM, "-l", f"tpm,passthru,/{'a' * 4096}", "vm")
    assert machine.tpm is None
    assert dict(machine.bhyve.config)["tpm.path"] == f"/{'a' * 4096}"


def test_devices_beyond_those_that_a_description_has_stay_keys() -> None:
    slots = [f"{number // 30}:{1 + number % 30}:0" for number in range(260)]
    args = [*ROM, *(word for slot in slots for word in ("-s", f"{slot},virtio-rnd")), "vm"]
    placed = machine(imported(["bhyve", *args]))
    assert len(placed.machine.emulations) == 256
    assert len(placed.machine.bhyve.config) == 4
    theirs = meaning(made(args))
    assert meaning(emitted(placed)) == with_bridges(theirs, meaning(emitted(placed)))


def test_what_is_too_much_for_us_is_not_said_to_be_refused_by_bhyve() -> None:
    words = [word for number in range(4096) for word in ("-o", f"a{number}=1")]
    with pytest.raises(VmError) as raised:
        imported(["bhyve", *ROM, *words, "vm"])
    assert str(raised.value).startswith("there are more than 4096 keys\n  hint: ")
    assert raised.value.status == 65


def test_somebody_elses_swtpm_stays_where_it_is() -> None:
    machine = described(*ROM, "-l", "tpm,swtpm,/run/s", "vm")
    assert machine.tpm is None
    keys = (("tpm.type", "swtpm"), ("tpm.path", "/run/s"), ("tpm.version", "2.0"))
    assert machine.bhyve.config == keys


def test_what_has_no_word_of_ours_is_a_key_of_bhyves() -> None:
    args = ["-c", "4", "-p", "0-1:4-5", "-p", "0:7", "-n", "id=0,size=256M,cpus=0-3", "-K", "us"]
    args += ["-s", "31,lpc", "-l", "com3,tcp=[::1]:44", "-o", "system.sku=a%b", "-G", "[::1]:9"]
    assert dict(described(*ROM, *args, "vm").bhyve.config) == {
        "vcpu.0.cpuset": "4,7",
        "vcpu.1.cpuset": "5",
        "domains.0.size": "256M",
        "domains.0.cpus": "0-3",
        "keyboard.layout": "us",
        "lpc.com3.path": "tcp=[::1]:44",
        "system.sku": "a\\%b",
        "gdb.address": "[::1]",
        "gdb.port": "9",
    }


def test_a_debugger_is_in_our_words_where_they_say_the_same() -> None:
    assert described(*ROM, "-G", "w127.0.0.1:99", "vm").gdb == "w127.0.0.1:99"
    # without the letter w this is an address that begins with one
    assert described(*ROM, "-o", "gdb.address=west", "-o", "gdb.port=1", "vm").gdb is None


def test_a_debugger_without_a_port_stays_as_it_is() -> None:
    placed = machine(imported(["bhyve", *ROM, "-o", "gdb.port=0", "vm"]))
    assert meaning(emitted(placed))["gdb.port"] == "0"


@pytest.mark.parametrize("where", ["tcp=0.0.0.0:5900", "rfb=unix:/run/vnc"])
def test_a_password_of_a_command_line_is_in_no_command_line_of_ours(where: str) -> None:
    args = [*ROM, "-s", f"29,fbuf,{where},password=geheim", "vm"]
    placed = machine(imported(["bhyve", *args]))
    assert not [word for word in argv(placed) if "geheim" in word]
    assert meaning(emitted(placed))["pci.0.29.0.password"] == "geheim"
    graphic = placed.machine.graphic
    assert (graphic is not None and graphic.password == "geheim") == (where[0] == "t")


def test_files_called_as_words_of_ours_are_files_still() -> None:
    args = ["-s", "31,lpc", "-l", "bootrom,uefi", "-s", "3,virtio-blk,~/a", "-l", "com1,nmdm", "vm"]
    found = machine(imported(["bhyve", *args])).machine
    assert (found.bootrom, found.com1) == ("./uefi", None)
    assert dict(found.bhyve.config) == {"lpc.com1.path": "nmdm"}
    assert [one.path for one in found.emulations if isinstance(one, VirtioBlk)] == ["./~/a"]


def test_two_ports_of_a_console_may_have_one_name() -> None:
    text = imported(["bhyve", *ROM, "-s", "3,virtio-console,a=/x,a=/y", "vm"])
    tree = meaning(emitted(machine(text)))
    assert [tree[f"pci.0.3.0.port.{number}.path"] for number in (0, 1)] == ["/x", "/y"]


def test_more_processors_than_our_words_have_are_bhyves_keys() -> None:
    text = imported(["bhyve", *ROM, "-c", "2000", "vm"])
    assert meaning(emitted(machine(text)))["topology"] == "2000 x 1 x 1"


def test_what_vm_run_would_refuse_stands_behind_its_own_keys() -> None:
    text = imported(["bhyve", *ROM, "-s", "0,virtio-rnd", "-p", "0:1", "vm"])
    own = machine(text).machine.bhyve
    assert own.args == ("-o", "pci.0.0.0.device=virtio-rnd")
    assert own.config == (("vcpu.0.cpuset", "1"),)
    assert "# In [bhyve] args, for vm-run would refuse it elsewhere: pci.0.0.0.device\n" in text


def test_an_empty_value_cannot_be_carried_and_that_is_told() -> None:
    text = imported(["bhyve", *ROM, "-s", "3,virtio-blk,/a,ser=", "vm"])
    assert "# Could not be carried: pci.0.3.0.ser, whose value is ''\n" in text
    assert [one.kind for one in machine(text).machine.emulations] == ["virtio-blk"]


def test_a_second_card_that_forwards_the_same_port_stays_in_bhyves_words() -> None:
    rules = ["tcp:127.0.0.1:22-:22", "udp:0.0.0.0:53-:53", "tcp:127.0.0.1:22-:23"]
    cards = [";".join(rules[:2]), rules[1], rules[2] + ";" + rules[2], "tcp:127.0.0.1:23-:23"]
    slots = [f"{n},virtio-net,slirp,open,hostfwd={rule}" for n, rule in enumerate(cards, 3)]
    args = [*ROM, *(word for one in slots for word in ("-s", one)), "vm"]
    text = imported(["bhyve", *args])
    kept = [str(one.slot) for one in machine(text).machine.emulations]
    assert kept == ["0:3:0", "0:6:0"]
    again = meaning(answer(argv(machine(text))[1:], str))
    assert with_bridges(meaning(answer(args, str)), again) == again


def test_a_full_bus_has_no_room_for_the_bridge_that_vm_run_gives() -> None:
    full = [word for slot in range(1, 32) for word in ("-s", f"{slot},virtio-rnd")]
    with pytest.raises(VmError, match="bus 0 is full"):
        imported(["bhyve", *ROM, *full, "vm"])


def test_an_isa_bridge_where_the_host_bridge_always_is_cannot_be_said() -> None:
    with pytest.raises(VmError, match="slot 0 has an lpc"):
        imported(["bhyve", *ROM, "-s", "0,lpc", "vm"])


@pytest.mark.parametrize("word", ["\udcff", "a\0"])
def test_threat_b7_words_that_are_no_text_are_refused(word: str) -> None:
    with pytest.raises(VmError, match="is not text in UTF-8"):
        imported(["bhyve", *ROM, word])
