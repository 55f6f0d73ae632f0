"""The command line of QEMU: what the machine itself says, and the laws of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.run.qemu_machines import IMAGE, placed, said, values
from vm_run.qemu import argv
from vm_run.resources import Resources
from vm_spec.devices import Drive, DriveInterface
from vm_spec.machine import Accelerator, Com, Gdb, Qemu, Uuid
from vm_spec.types import Cpu, FilePath, Label, Size

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
TEMPLATE = [
    "/usr/bin/qemu-system-x86_64",
    "-nodefaults",
    "-no-user-config",
    "-sandbox", SANDBOX,
    "-name", "guest=web",
    "-machine", "q35,sata=off",
    "-accel", "tcg",
    "-cpu", "max",
    "-smp", "1,sockets=1,cores=1,threads=1",
    "-m", "256M",
    "-rtc", "base=utc",
    "-display", "none",
    "-action", "reboot=shutdown",
    "-device", '{"driver": "pvpanic"}',
]  # fmt: skip


def test_an_empty_machine_says_this() -> None:
    assert argv(placed()) == TEMPLATE


def test_the_binary_is_what_the_caller_names() -> None:
    assert argv(placed(), binary="/opt/qemu")[0] == "/opt/qemu"


@pytest.mark.parametrize(
    ("fields", "option", "expected"),
    [
        ({"cpu": Cpu(sockets=2, cores=3, threads=2)}, "-smp", "12,sockets=2,cores=3,threads=2"),
        ({"qemu": Qemu(smp="4,maxcpus=8")}, "-smp", "4,maxcpus=8"),
        ({"mem": Size.parse("2G")}, "-m", "2048M"),
        ({"mem": Size.parse((512 << 20) + 8192)}, "-m", "536879104B"),
        ({"utc_clock": False}, "-rtc", "base=localtime"),
        ({"wire_guest_mem": True}, "-overcommit", "mem-lock=on"),
        ({"uuid": Uuid("0f3dbd4a-3a5e-11ee-be56-0242ac120002")}, "-uuid",
         "0f3dbd4a-3a5e-11ee-be56-0242ac120002"),
        ({"qemu": Qemu(smbios=("type=1,serial=7",))}, "-smbios", "type=1,serial=7"),
        ({"qemu": Qemu(vga="std")}, "-vga", "std"),
        ({"qemu": Qemu(display="gtk,gl=on")}, "-display", "gtk,gl=on"),
        ({"qemu": Qemu(serial=("mon:stdio",))}, "-serial", "mon:stdio"),
        ({"qemu": Qemu(cpu="host,+vmx")}, "-cpu", "host,+vmx"),
        ({"qemu": Qemu(machine="pc,usb=on")}, "-machine", "pc,usb=on"),
        ({"qemu": Qemu(machine="pc"), "generate_acpi": False}, "-machine", "pc,acpi=off"),
        ({"bootrom": FilePath("./bios.bin")}, "-bios", "./bios.bin"),
        ({"kernel": FilePath("./k,1")}, "-kernel", "./k,1"),
        ({"kernel": IMAGE, "initrd": FilePath("./i")}, "-initrd", "./i"),
        ({"kernel": IMAGE, "cmdline": "console=ttyS0,115200"}, "-append", "console=ttyS0,115200"),
        ({"gdb": Gdb("1234")}, "-gdb", "tcp:127.0.0.1:1234"),
        ({"gdb": Gdb("w0.0.0.0:99")}, "-gdb", "tcp:0.0.0.0:99"),
    ],
)  # fmt: skip
def test_each_key_has_its_option(fields: dict[str, Any], option: str, expected: str) -> None:
    assert values(said(**fields), option) == [expected]


@pytest.mark.parametrize(
    ("fields", "resources", "expected"),
    [
        ({}, Resources(accel="kvm"), ["kvm"]),
        ({"qemu": Qemu(accel=Accelerator("tcg"))}, Resources(), ["tcg"]),
        ({"qemu": Qemu(machine="q35,accel=kvm")}, Resources(), []),
        ({"qemu": Qemu(cpu="host,pmu=off")}, Resources(), ["kvm"]),
        ({"qemu": Qemu(cpu="hostile")}, Resources(), ["tcg"]),
    ],
)
def test_the_accelerator_is_named_once(
    fields: dict[str, Any], resources: Resources, expected: list[str]
) -> None:
    assert values(said(resources=resources, **fields), "-accel") == expected


def test_a_hidden_hypervisor_shows_neither_its_bit_nor_its_name() -> None:
    line = said(qemu=Qemu(cpu="host", hide_hypervisor=True))
    assert values(line, "-cpu") == ["host,kvm=off,hypervisor=off,tcg-cpuid=off"]


def test_memory_of_huge_pages_is_the_machines_memory() -> None:
    line = said(qemu=Qemu(hugepages=FilePath("/dev/hugepages")))
    assert values(line, "-machine") == ["q35,sata=off,memory-backend=ram"]
    assert values(line, "-object") == [
        {
            "qom-type": "memory-backend-file", "id": "ram", "size": 256 << 20,
            "mem-path": "/dev/hugepages", "share": False, "prealloc": True,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code", "variables"),
    [
        ({"bootrom": FilePath("uefi")}, "/usr/share/OVMF/OVMF_CODE_4M.fd", "./web.vars.fd"),
        ({"bootrom": FilePath("uefi"), "varfile": FilePath("/v")},
         "/usr/share/OVMF/OVMF_CODE_4M.fd", "/v"),
        ({"bootrom": FilePath("/c.fd"), "varfile": FilePath("/v")}, "/c.fd", "/v"),
    ],
)  # fmt: skip
def test_uefi_reads_its_code_and_writes_its_variables(
    fields: dict[str, Any], code: str, variables: str
) -> None:
    line = said(**fields)
    assert values(line, "-machine") == ["q35,sata=off,pflash0=firmware,pflash1=variables"]
    nodes = values(line, "-blockdev")
    shown = [(n["node-name"], n["driver"], n["file"]["filename"], n["read-only"]) for n in nodes]
    assert shown == [("firmware", "raw", code, True), ("variables", "raw", variables, False)]


def test_pflash_drives_are_the_machines_flash_in_order() -> None:
    flash = DriveInterface("pflash")
    line = said(
        Drive(label=Label("code"), interface=flash, path=FilePath("/usr/share/c.fd")),
        Drive(label=Label("vars"), interface=flash, path=IMAGE),
    )
    assert values(line, "-machine") == ["q35,sata=off,pflash0=code,pflash1=vars"]
    # what the host's packages brought is no user's to write
    assert [node["read-only"] for node in values(line, "-blockdev")] == [True, False]


@pytest.mark.parametrize(
    ("com", "resources", "expected"),
    [
        ("stdio", Resources(), "stdio,id=com1,signal=off,mux=off"),
        ("stdio", Resources(attached=False),
         "socket,id=com1,path=/tmp/vm/web/com1.sock,server=on,wait=off"),
        ("socket", Resources(state="/run/a,b"),
         "socket,id=com1,path=/run/a,,b/com1.sock,server=on,wait=off"),
        ("/dev/ttyS1", Resources(), "serial,id=com1,path=/dev/ttyS1"),
        ("socket", Resources(state="/r", logged=True),
         "socket,id=com1,path=/r/com1.sock,server=on,wait=off,"
         "logfile=/r/console.log,logappend=on"),
    ],
)  # fmt: skip
def test_a_serial_port_has_this_backend(com: str, resources: Resources, expected: str) -> None:
    line = said(com1=Com(com), resources=resources)
    assert values(line, "-chardev") == [expected]
    assert {"driver": "isa-serial", "index": 0, "chardev": "com1"} in values(line, "-device")


def test_the_second_port_has_the_second_index_and_a_log_of_its_own() -> None:
    line = said(com2=Com("socket"), resources=Resources(state="/r", logged=True))
    assert values(line, "-chardev")[0].endswith("logfile=/r/com2.log,logappend=on")
    assert {"driver": "isa-serial", "index": 1, "chardev": "com2"} in values(line, "-device")


def test_control_sockets_come_as_descriptors_and_the_guest_waits_for_them() -> None:
    line = said(resources=Resources(fds={"supervisor": 6, "qmp": 5}))
    assert line[line.index("-chardev") :] == [
        "-chardev", "socket,id=qmp,fd=5,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
        "-chardev", "socket,id=supervisor,fd=6,server=on,wait=off",
        "-mon", "chardev=supervisor,mode=control",
        "-S",
    ]  # fmt: skip


def test_a_debugger_that_is_waited_for_stops_the_guest_once() -> None:
    assert said(gdb=Gdb("w99")).count("-S") == 1
    assert said(gdb=Gdb("w99"), resources=Resources(fds={"qmp": 5})).count("-S") == 1
    assert "-S" not in said(gdb=Gdb("99"))


def test_the_users_own_arguments_come_last() -> None:
    line = said(qemu=Qemu(args=("-device", "x")), resources=Resources(fds={"qmp": 5}))
    assert line[-2:] == ["-device", "x"]


@pytest.mark.parametrize(
    "field",
    ["yield_on_hlt", "force_msi", "disable_mptable_gen", "power_off_destroy_vm"],
)
def test_what_only_bhyve_heeds_changes_nothing(field: str) -> None:
    fields: dict[str, Any] = {field: True}
    assert said(**fields) == TEMPLATE[1:]


@pytest.mark.parametrize(
    ("devices", "args", "kept"),
    [
        ((), (), False),
        ((Drive(label=Label("d"), path=FilePath("/d")),), (), True),
        ((), ("-hda", "x"), True),
    ],
)
def test_the_boards_sata_controller_is_there_where_something_can_be_on_it(
    devices: tuple[Drive, ...], args: tuple[str, ...], kept: bool
) -> None:
    line = said(*devices, qemu=Qemu(args=args))
    assert values(line, "-machine") == ["q35" if kept else "q35,sata=off"]
