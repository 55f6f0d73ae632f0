"""The model of bhyve's configuration, against records of its own parser.

`data/bhyve-argv.json` was recorded by running the parser of FreeBSD main (first half of 2026) over
118 command lines: what `config.dump` shows, or its error and exit status.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vm_import.bhyve_config import Tree, get
from vm_import.bhyve_model import Answer, answer
from vm_import.bhyve_options import filed
from vm_spec.fault import VmError

RECORDS: dict[str, Any] = json.loads((Path(__file__).parent / "data/bhyve-argv.json").read_text())
FILES: dict[str, str] = RECORDS["files"]
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDS["cases"]}
TAKEN = [name for name, case in CASES.items() if "error" not in case]
REFUSED = [name for name, case in CASES.items() if "error" in case]


def made(name: str) -> Answer:
    return answer(CASES[name]["argv"], FILES.__getitem__)


def test_there_are_118_records() -> None:
    assert (len(TAKEN), len(REFUSED), len(RECORDS["cases"])) == (66, 52, 118)


@pytest.mark.parametrize("name", TAKEN)
def test_a_command_line_gives_the_configuration_that_bhyve_makes_of_it(name: str) -> None:
    case, found = CASES[name], made(name)
    assert found.tree == case["config"]
    assert list(found.unread) == case.get("never_read", [])
    assert list(found.messages) == case.get("messages", [])
    assert found.dumped == (case.get("exit") == 1)
    assert found.dumped or found.preloaded == case.get("needs_preloaded_vm", False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_bhyve_refuses_is_refused_in_its_words_and_with_its_status(name: str) -> None:
    with pytest.raises(VmError) as raised:
        made(name)
    (fault,) = raised.value.faults
    # the recorder read bhyve's output as text, in which a carriage return became a line feed
    assert fault.problem.replace("\r", "\n") == CASES[name]["error"]
    assert raised.value.status == CASES[name]["exit"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_configuration_written_as_a_file_reads_back_to_the_same(name: str) -> None:
    tree: Tree = {}
    filed(tree, "".join(f"{key}={text}\n" for key, text in made(name).keys), "it.conf")
    assert tree == CASES[name]["config"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("/vm/%(name).img", "/vm/x.img"),
        ("%(both)", "x-x"),
        ("%(none)", ""),
        (r"\%(name)\\b", r"%(name)\b"),
        (r"a\b", r"a\b"),
        ("100%", "100%"),
    ],
)
def test_a_variable_stands_for_its_key_where_it_is_read(text: str, read: str) -> None:
    tree = {"name": "x", "both": "%(name)-%(name)", "it": text}
    assert get(tree, "it") == read


def test_backslashes_are_special_in_what_a_variable_stands_for_even_without_a_percent() -> None:
    # _expand_config_value: only the outermost text is looked through for a % before
    assert get({"a": r"x\y", "it": "%(a)"}, "it") == "xy"
    assert get({"a": r"x\y", "it": "%"}, "a") == r"x\y"


def test_a_variable_that_stands_for_itself_ends_after_fifteen_steps() -> None:
    assert get({"a": "%(a)"}, "a") == "%(a)"


def test_variables_that_double_and_double_end_soon() -> None:
    tree = {f"v{number}": f"%(v{number + 1})" * 10 for number in range(14)}
    with pytest.raises(VmError, match="grows too long"):
        get(tree, "v0")


def test_many_values_that_are_long_only_by_their_variables_are_refused_together() -> None:
    words = [f"-ovcpu.{number}.cpuset=%(x)" for number in range(1, 3)]
    with pytest.raises(VmError, match="grows too long") as raised:
        answer([f"-ox={'y' * 9000}%", *words, "vm"], str)
    assert raised.value.status == 65
    assert answer([f"-ox={'y' * 9000}%", *words[:1], "vm"], str).unread == ()


# What no record covers, from the sources of the same bhyve: bhyverun.c (topology, -p, -n, -G, -k),
# amd64/bhyverun_machdep.c (the letters), amd64/pci_lpc.c (-l), qemu_fwcfg.c (-f), tpm_device.c,
# pci_fbuf.c; expand_number(3) for -m; exit status 64 is EX_USAGE, of an option's own grammar, and 4
# is an error that is found later.
GOOD: list[tuple[str, dict[str, str]]] = [
    ("-c cpus=2,cores=1", {"cpus": "2", "cores": "1"}),
    ("-c sockets=2,threads=2", {"sockets": "2", "threads": "2"}),
    ("-c 0x2", {"cpus": "0x2"}),
    ("-c 010", {"cpus": "010"}),
    ("-c 1,cpus=2", {"cpus": "2"}),
    ("-m 1", {"memory.size": "1"}),
    ("-m 2t", {"memory.size": "2t"}),
    ("-m 4096kB", {"memory.size": "4096kB"}),
    ("-m 0x10M", {"memory.size": "0x10M"}),
    ("-m 1048576", {"memory.size": "1048576"}),
    ("-G w1234", {"gdb.wait": "true", "gdb.port": "1234"}),
    ("-G ::1:99", {"gdb.address": "::1", "gdb.port": "99"}),
    ("-G localhost:99", {"gdb.address": "localhost", "gdb.port": "99"}),
    ("-G ww:1", {"gdb.wait": "true", "gdb.address": "w", "gdb.port": "1"}),
    ("-U A5A5A5A5-0001-4002-8003-00000000000F", {"uuid": "A5A5A5A5-0001-4002-8003-00000000000F"}),
    ("-U a5a5a5a5-0001-4002-d003-000000000001", {"uuid": "a5a5a5a5-0001-4002-d003-000000000001"}),
    ("-p 0:12-15", {"vcpu.0.cpuset": "12"}),
    ("-p 1:2x", {"vcpu.1.cpuset": "2"}),
    ("-p 7:1023", {"vcpu.7.cpuset": "1023"}),
    ("-o vcpu.0.cpuset=0x1,2-3", {"vcpu.0.cpuset": "0x1,2-3"}),
    ("-o vcpu.9.cpuset=rubbish", {"vcpu.9.cpuset": "rubbish"}),
    ("-n id=0,cpus=0-1,size=1G,what=ever", {"domains.0.cpus": "0-1", "domains.0.size": "1G"}),
    ("-n id=0x0,cpus=0", {"domains.0.cpus": "0"}),
    ("-o domains.7.size=rubbish", {"domains.7.size": "rubbish"}),
    ("-f name=opt/a,string=", {}),
    ("-f ,file=/f", {}),
    (f"-f {'n' * 55},string=x", {}),
    ("-l BOOTROM,/b", {"bootrom": "/b"}),
    ("-l bootrom,/b,/v,fwcfg=qemu", {"bootvars": "/v", "lpc.fwcfg": "qemu"}),
    ("-l bootrom,/b,fwcfg=qemu", {"bootrom": "/b", "lpc.fwcfg": "qemu"}),
    ("-l tpm,passthru,/dev/tpm0", {"tpm.version": "2.0", "tpm.path": "/dev/tpm0"}),
    ("-l tpm,swtpm,/s,intf=crb", {"tpm.intf": "crb", "tpm.version": "2.0"}),
    ("-l pc-testdev", {"lpc.pc-testdev": "true"}),
    ("-s 29,fbuf,w=800x,h=600.5", {"pci.0.29.0.w": "800x"}),
    ("-AxM -e", {"x86.x2apic": "true", "monitor": "true", "x86.strictio": "true"}),
    ("-x -a", {"x86.x2apic": "false"}),
    ("-KUS", {"keyboard.layout": "US"}),
    ("--", {"name": "vm"}),
]


@pytest.mark.parametrize(("line", "keys"), GOOD, ids=[line for line, _ in GOOD])
def test_what_bhyves_sources_take_is_taken(line: str, keys: dict[str, str]) -> None:
    found = answer(["-o", "bootrom=/rom", *line.split(), "vm"], str).tree
    assert keys.items() <= found.items()


BAD: list[tuple[str, int, str]] = [
    ("-c cpus=4,cores=2", 4, "Topology (4 sockets, 2 cores, 1 threads) does not match 4 vCPUs"),
    ("-c sockets=256,cores=256", 4, "Computed number of vCPUs too high: 65536"),
    ("-c 2,", 4, "Invalid value for cpus: ''"),
    ("-c -1", 4, "Invalid value for cpus: '-1'"),
    ("-c 08", 4, "Invalid value for cpus: '08'"),
    ("-c 2,maxcpus", 4, "Invalid value for cpus: 'maxcpus'"),
    ("-c Cpus=2", 64, "invalid cpu topology 'Cpus=2'"),
    ("-m 1.5G", 64, "invalid memsize '1.5G'"),
    ("-m -1", 64, "invalid memsize '-1'"),
    ("-m 1Z", 64, "invalid memsize '1Z'"),
    ("-m 16E", 64, "invalid memsize '16E'"),
    ("-m 08", 64, "invalid memsize '08'"),
    (f"-m {'1' * 5000}", 64, "invalid memsize '1111"),
    (f"-s {'1' * 5000},hda", 4, "Invalid PCI slot info field"),
    (f"-s 3,passthru,{'1' * 5000}/0/0", 4, "passthru: invalid options"),
    ("-s 3,e1000,tap0,mac=", 4, "Invalid MAC "),
    ("-s 3,virtio-net,tap0,mtu=", 4, "Invalid argument"),
    ("-m 1048577", 4, "Unable to setup memory (22)"),
    ("-U a5a5a5a5-0001-4002-e003-000000000001", 4, "Invalid UUID"),
    ("-U a5a5a5a500014002d003000000000001", 4, "Invalid UUID"),
    ("-p 0-1:3", 64, "invalid format: 0-1:3"),
    ("-p 1-0:4-3", 64, "invalid range (must be ascending): 1-0:4-3"),
    ("-p 0:1024", 64, "hostcpu '1024' outside valid range from 0 to 1023"),
    ("-p -1:0", 64, "invalid vcpu '-1'"),
    ("-o vcpu.0.cpuset=1,,2", 4, "invalid cpuset for vcpu 0: '1,,2'"),
    ("-o vcpu.0.cpuset=3-1", 4, "Invalid hostcpu range 3-1"),
    ("-o vcpu.0.cpuset=9999", 4, "hostcpu '9999' outside valid range from 0 to 1023"),
    ("-n cpus=0", 64, "Missing NUMA domain ID in 'cpus=0'"),
    ("-n id=256,cpus=0", 4, "Invalid value for id: '256'"),
    ("-n id=0,size=x,cpus=0", 64, "invalid memsize for domain 0: 'x'"),
    ("-o acpi_tables=no -n id=0,cpus=0", 64, "NUMA emulation requires ACPI"),
    ("-f opt/a", 64, 'Invalid fw_cfg option "opt/a"'),
    ("-f opt/a,text=b", 64, "invalid fwcfg item 'opt/a,text=b'"),
    (f"-f {'n' * 56},string=x", 64, "fw_cfg name too long"),
    ("-l tpm", 4, 'invalid tpm type "tpm"'),
    ("-l tpm,swtpm", 4, 'invalid tpm path "tpm,swtpm"'),
    ("-l tpm,swtpm,/s,intf=tis", 4, 'TPM interface "tis" not found'),
    ("-l tpm,swtpm,/s,ppi=none", 4, 'TPM PPI "none" not found'),
    ("-o tpm.type=swtpm", 134, "without a version"),
    ("-o tpm.version=2.0", 134, "without a type"),
    ("-l com5,stdio", 64, "invalid lpc device configuration 'com5,stdio'"),
    ("-s 29,fbuf,w=0x400", 4, "minimum resolution"),
    ("-o memory.wired=2", 4, "Invalid value 2 for boolean variable memory.wired"),
    ("-k vm.conf extra", 1, "Usage: ..."),
    ("-m", 1, "Usage: ..."),
]


@pytest.mark.parametrize(("line", "status", "said"), BAD, ids=[line[:40] for line, _, _ in BAD])
def test_what_bhyves_sources_refuse_is_refused_with_their_status(
    line: str, status: int, said: str
) -> None:
    with pytest.raises(VmError) as raised:
        answer(["-o", "bootrom=/rom", *line.split(), "vm"], {"vm.conf": "name=a\n"}.__getitem__)
    assert said in raised.value.faults[0].problem
    assert raised.value.status == status


def test_a_domain_without_a_size_gets_its_share_which_bhyve_says() -> None:
    words = ["-o", "bootrom=/rom", "-m", "1G", "-c", "2", "-n", "id=0,cpus=0"]
    found = answer([*words, "-n", "id=1,size=1M,cpus=1", "vm"], str)
    assert [said.partition(",")[0] for said in found.messages] == [
        "bhyve: At least one domain memory size was not specified"
    ]


def test_what_the_last_option_says_counts_whatever_option_that_is() -> None:
    # facts of bhyve_config(5): all options are applied in the order of the command line
    files = {"a": "cpus=8\nmemory.size=3G\n"}
    words = ["-o", "bootrom=/rom", "-c", "2", "-m", "1G", "-k", "a", "-o", "memory.size=4G", "vm"]
    found = answer(words, files.__getitem__).tree
    assert (found["cpus"], found["memory.size"]) == ("8", "4G")
