"""The command line of QEMU: what the machine itself says, and the laws of the whole."""

from __future__ import annotations

import json

import pytest

from tests.run.qemu_given import A, IMAGE, MICROVM, placed, said, values
from vm_run.qemu import arguments, argv
from vm_run.wiring import Wiring
from vm_spec.devices import Drive, DriveInterface, Graphic, Virtio9p, VirtioBlk, VirtioNet
from vm_spec.machine import Accelerator, Com, Gdb, Qemu, Uuid
from vm_spec.words import Cpu, FilePath, Forward, IfName, Label, PciSlot, Size

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
TEMPLATE = [
    "/usr/bin/qemu-system-x86_64",
    "-nodefaults",
    "-no-user-config",
    "-sandbox", SANDBOX,
    "-name", "guest=web",
    "-machine", "q35",
    "-accel", "kvm",
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
def test_each_key_has_its_option(fields: dict[str, object], option: str, expected: str) -> None:
    assert values(said(**fields), option) == [expected]


@pytest.mark.parametrize(
    ("fields", "wiring", "expected"),
    [
        ({}, Wiring(accel=("tcg",)), ["tcg"]),
        ({"qemu": Qemu(accel=Accelerator("tcg"))}, Wiring(), ["tcg"]),
        ({"qemu": Qemu(machine="q35,accel=kvm")}, Wiring(), []),
    ],
)
def test_the_accelerator_is_named_once(
    fields: dict[str, object], wiring: Wiring, expected: list[str]
) -> None:
    assert values(said(wiring=wiring, **fields), "-accel") == expected


def test_a_hidden_hypervisor_shows_neither_its_bit_nor_its_name() -> None:
    line = said(qemu=Qemu(cpu="host", hide_hypervisor=True))
    assert values(line, "-cpu") == ["host,kvm=off,hypervisor=off,tcg-cpuid=off"]


def test_memory_of_huge_pages_is_the_machines_memory() -> None:
    line = said(qemu=Qemu(hugepages=FilePath("/dev/hugepages")))
    assert values(line, "-machine") == ["q35,memory-backend=ram"]
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
    fields: dict[str, object], code: str, variables: str
) -> None:
    line = said(**fields)
    assert values(line, "-machine") == ["q35,pflash0=firmware,pflash1=variables"]
    nodes = values(line, "-blockdev")
    shown = [(n["node-name"], n["driver"], n["file"]["filename"], n["read-only"]) for n in nodes]
    assert shown == [("firmware", "raw", code, True), ("variables", "raw", variables, False)]


def test_pflash_drives_are_the_machines_flash_in_order() -> None:
    flash = DriveInterface("pflash")
    line = said(
        Drive(label=Label("code"), interface=flash, path=IMAGE),
        Drive(label=Label("vars"), interface=flash, path=IMAGE),
    )
    assert values(line, "-machine") == ["q35,pflash0=code,pflash1=vars"]


@pytest.mark.parametrize(
    ("com", "wiring", "expected"),
    [
        ("stdio", Wiring(), "stdio,id=com1,signal=off,mux=off"),
        ("stdio", Wiring(attached=False),
         "socket,id=com1,path=/tmp/vm/web/com1.sock,server=on,wait=off"),
        ("socket", Wiring(state="/run/a,b"),
         "socket,id=com1,path=/run/a,,b/com1.sock,server=on,wait=off"),
        ("/dev/ttyS1", Wiring(), "serial,id=com1,path=/dev/ttyS1"),
        ("socket", Wiring(state="/r", logged=True),
         "socket,id=com1,path=/r/com1.sock,server=on,wait=off,"
         "logfile=/r/console.log,logappend=on"),
    ],
)  # fmt: skip
def test_a_serial_port_has_this_end_on_the_host(com: str, wiring: Wiring, expected: str) -> None:
    line = said(com1=Com(com), wiring=wiring)
    assert values(line, "-chardev") == [expected]
    assert {"driver": "isa-serial", "index": 0, "chardev": "com1"} in values(line, "-device")


def test_the_second_port_has_the_second_index_and_a_log_of_its_own() -> None:
    line = said(com2=Com("socket"), wiring=Wiring(state="/r", logged=True))
    assert values(line, "-chardev")[0].endswith("logfile=/r/com2.log,logappend=on")
    assert {"driver": "isa-serial", "index": 1, "chardev": "com2"} in values(line, "-device")


def test_control_sockets_come_as_descriptors_and_the_guest_waits_for_them() -> None:
    line = said(wiring=Wiring(fds={"supervisor": 6, "qmp": 5}))
    assert line[line.index("-chardev") :] == [
        "-chardev", "socket,id=qmp,fd=5,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
        "-chardev", "socket,id=supervisor,fd=6,server=on,wait=off",
        "-mon", "chardev=supervisor,mode=control",
        "-S",
    ]  # fmt: skip


def test_a_debugger_that_is_waited_for_stops_the_guest_once() -> None:
    assert said(gdb=Gdb("w99")).count("-S") == 1
    assert said(gdb=Gdb("w99"), wiring=Wiring(fds={"qmp": 5})).count("-S") == 1
    assert "-S" not in said(gdb=Gdb("99"))


# B29
def test_the_sandbox_is_there_unless_the_description_takes_it_away() -> None:
    assert values(said(), "-sandbox") == [SANDBOX]
    assert "-sandbox" not in said(qemu=Qemu(sandbox=False))


# B28
def test_no_file_of_the_users_configures_qemu() -> None:
    assert said()[:2] == ["-nodefaults", "-no-user-config"]


# B24
def test_a_comma_in_a_path_stays_in_the_path() -> None:
    path = FilePath("./a.raw,format=qcow2")
    line = said(VirtioBlk(label=A, path=path), Virtio9p(label=Label("s"), sharename=A, path=path))
    (node,) = values(line, "-blockdev")
    assert node["driver"] == "raw"
    assert node["file"]["filename"] == path
    assert values(line, "-fsdev") == [
        "local,security_model=mapped-xattr,multidevs=remap,id=s,path=./a.raw,,format=qcow2"
    ]


# B24
def test_no_text_leaves_the_value_it_was_given_for() -> None:
    text = '"},x=y,,id=evil\n'
    line = said(
        VirtioBlk(label=A, path=FilePath("./" + text), ser=text, qemu=(("x", text),)),
        kernel=FilePath("./" + text),
        graphic=Graphic(label=Label("g"), host=text, password="p"),
    )
    (node,) = values(line, "-blockdev")
    assert node["file"]["filename"] == "./" + text
    (disk,) = [one for one in values(line, "-device") if one.get("id") == "a"]
    assert (disk["serial"], disk["x"]) == (text, text)
    assert values(line, "-kernel") == ["./" + text]
    assert values(line, "-vnc")[0].startswith("vnc=" + text.replace(",", ",,"))


# B25
@pytest.mark.parametrize("path", ["json:{}", "nbd:h:1", "fat:rw:.", "http://h/", "ssh://h/"])
def test_a_path_is_a_files_name_and_no_protocol(path: str) -> None:
    (node,) = values(said(VirtioBlk(label=A, path=FilePath(path))), "-blockdev")
    assert (node["file"]["driver"], node["file"]["filename"]) == ("file", path)


# B26
@pytest.mark.parametrize("name", ["a.raw", "a.img", "a", "a.iso", "a.qcow2", "a.vmdk"])
def test_an_images_format_is_always_said(name: str) -> None:
    (node,) = values(said(VirtioBlk(label=A, path=FilePath("./" + name))), "-blockdev")
    assert node["driver"] == {"a.qcow2": "qcow2", "a.vmdk": "vmdk"}.get(name, "raw")


def test_a_password_never_stands_on_the_command_line() -> None:
    line = said(graphic=Graphic(label=A, password="secret-7"), wiring=Wiring())
    assert not any("secret-7" in word for word in line)
    assert values(line, "-object") == [
        {"qom-type": "secret", "id": "vnc-password", "file": "/dev/fd/9"}
    ]


def test_the_users_own_arguments_come_last() -> None:
    line = said(qemu=Qemu(args=("-device", "x")), wiring=Wiring(fds={"qmp": 5}))
    assert line[-2:] == ["-device", "x"]


@pytest.mark.parametrize(
    "field",
    ["yield_on_hlt", "force_msi", "disable_mptable_gen", "power_off_destroy_vm"],
)
def test_what_only_bhyve_heeds_changes_nothing(field: str) -> None:
    assert said(**{field: True}) == said(**{field: False}) == TEMPLATE[1:]


def test_the_same_description_gives_the_same_line() -> None:
    devices = (VirtioBlk(label=A, path=IMAGE), VirtioNet(label=Label("n")))
    assert said(*devices) == said(*devices)


def test_each_argument_says_which_key_it_comes_from() -> None:
    machine = placed(
        VirtioBlk(label=A, path=IMAGE),
        com1=Com("stdio"),
        graphic=Graphic(label=Label("g"), password="p"),
        qemu=Qemu(args=("-x",)),
    )
    keys = [argument.key for argument in arguments(machine)]
    for key in ("cpu", "mem", "com1", "emulations (a)", "graphic", "graphic.password", "qemu.args"):
        assert key in keys


def test_devices_on_further_buses_sit_behind_bridges_of_one_slot() -> None:
    far = VirtioBlk(label=A, path=IMAGE, slot=PciSlot(bus=3, slot=4, function=0))
    devices = values(said(far), "-device")
    bridges = [one for one in devices if one["driver"] == "pci-bridge"]
    assert [(one["id"], one["addr"], one["multifunction"]) for one in bridges] == [
        ("pci.1", "1e.0", True), ("pci.3", "1e.2", True)
    ]  # fmt: skip
    assert (devices[-1]["bus"], devices[-1]["addr"]) == ("pci.3", "4.0")


def test_function_0_of_a_shared_slot_is_multifunction() -> None:
    line = said(
        VirtioBlk(label=A, path=IMAGE, slot=PciSlot(slot=20)),
        VirtioBlk(label=Label("b"), path=IMAGE, slot=PciSlot(slot=20, function=5)),
    )
    first, second = values(line, "-device")[-2:]
    assert (first["addr"], first["multifunction"]) == ("14.0", True)
    assert (second["addr"], "multifunction" in second) == ("14.5", False)


@pytest.mark.parametrize(
    ("machine", "root"),
    [("", "pcie.0"), ("q35,usb=on", "pcie.0"), ("pc-q35-7.2", "pcie.0"), ("type=q35", "pcie.0"),
     ("pc", "pci.0"), ("pc-i440fx-7.2", "pci.0"), ("type=pc,usb=on", "pci.0")],
)  # fmt: skip
def test_the_first_bus_has_the_machine_types_name(machine: str, root: str) -> None:
    devices = values(said(VirtioBlk(label=A, path=IMAGE), qemu=Qemu(machine=machine)), "-device")
    assert devices[-1]["bus"] == root


def test_a_microvm_has_virtio_devices_without_an_address() -> None:
    line = said(VirtioBlk(label=A, path=IMAGE), VirtioNet(label=Label("n")), **MICROVM)
    assert values(line, "-device") == [
        {"driver": "virtio-blk-device", "id": "a", "drive": "a", "bootindex": 1},
        {"driver": "virtio-net-device", "id": "n", "netdev": "n"},
    ]


def test_the_boot_order_is_the_devices_order_past_the_users_own_numbers() -> None:
    line = said(
        VirtioBlk(label=A, path=IMAGE),
        VirtioNet(label=Label("n"), qemu=(("bootindex", 2),)),
        VirtioBlk(label=Label("b"), path=IMAGE),
        VirtioBlk(label=Label("c"), path=IMAGE, qemu=(("bootindex", 9),)),
    )
    found = {one["id"]: one["bootindex"] for one in values(line, "-device") if "bootindex" in one}
    assert found == {"a": 1, "n": 2, "b": 3, "c": 9}


def test_long_labels_have_short_and_different_block_nodes() -> None:
    long = "a" * 47
    labels = [Label(long + "b"), Label(long + "c"), Label("firmware"), Label("a" * 20 + ".1")]
    line = said(*(VirtioBlk(label=label, path=IMAGE) for label in labels))
    names = [node["node-name"] for node in values(line, "-blockdev")]
    assert len(set(names)) == 4
    assert all(len(name) <= 31 and name != "firmware" for name in names)


def test_forwards_and_names_of_the_host_are_said_to_the_backend() -> None:
    card = VirtioNet(
        label=A, forward=(Forward.parse("2222:22"), Forward.parse("udp:10.0.0.1:53:5353"))
    )
    assert values(said(card), "-netdev") == [
        "user,id=a,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:10.0.0.1:53-:5353"
    ]
    tap = VirtioNet(label=A, name=IfName("tap0"))
    assert values(said(tap), "-netdev") == ["tap,id=a,ifname=tap0,script=no,downscript=no"]


def test_json_keeps_letters_of_all_languages_readable() -> None:
    (word,) = [w for w in said(VirtioBlk(label=A, path=FilePath("./é.raw"))) if "é" in w]
    assert json.loads(word)["file"]["filename"] == "./é.raw"
