"""Laws of QEMU's command line: no text becomes an option, names and places never meet."""

from __future__ import annotations

import json

import pytest

from tests.run.qemu_machines import IMAGE, MICROVM, A, placed, said, values
from vm_run.qemu import arguments
from vm_run.resources import Resources
from vm_spec.devices import Graphic, PortName, Virtio9p, VirtioBlk, VirtioNet
from vm_spec.machine import Com, Qemu
from vm_spec.types import FilePath, Forward, Label, PciSlot

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


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
    line = said(graphic=Graphic(label=A, password="secret-7"), resources=Resources())
    assert not any("secret-7" in word for word in line)
    assert values(line, "-object") == [
        {"qom-type": "secret", "id": "vnc-password", "file": "/dev/fd/9"}
    ]


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
    tap = VirtioNet(label=A, name=PortName("tap0"))
    assert values(said(tap), "-netdev") == ["tap,id=a,ifname=tap0,script=no,downscript=no"]


def test_json_keeps_letters_of_all_languages_readable() -> None:
    (word,) = [w for w in said(VirtioBlk(label=A, path=FilePath("./é.raw"))) if "é" in w]
    assert json.loads(word)["file"]["filename"] == "./é.raw"
