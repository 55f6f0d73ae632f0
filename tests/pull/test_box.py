"""What a box says of its machine, whichever provider it was made for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pull.ovfs import DISK, FILE, ITEMS, item, machine, ovf, rasd, second
from vm_pull import providers
from vm_pull.hardware import box
from vm_pull.hardware.hardware import DiskUse, Hardware
from vm_spec import VmError

MIB, GIB = 1 << 20, 1 << 30
OVF = ovf(vbox=machine())
VMX = b'scsi0.virtualDev = "lsilogic"\nscsi0:0.fileName = "disk.vmdk"\nmemsize = "1024"\n'


def metadata(**keys: object) -> dict[str, bytes]:
    return {"metadata.json": json.dumps(keys).encode()}


def problem(texts: dict[str, bytes], *members: str, asked: str = "") -> str:
    with pytest.raises(VmError) as caught:
        box.hardware(texts, members, asked)
    assert caught.value.status == 65
    return caught.value.faults[0].problem


def disks(found: Hardware) -> list[tuple[str, str]]:
    return [(disk.member, disk.bus) for disk in found.disks]


def test_a_virtualbox_box_is_what_its_ovf_says() -> None:
    texts = metadata(provider="virtualbox", architecture="amd64") | {"box.ovf": OVF}
    found = box.hardware(texts, ["box-disk001.vmdk"])
    assert (found.provider, found.cpus, found.memory) == ("virtualbox", 2, GIB)
    assert disks(found) == [("box-disk001.vmdk", "ahci-hd")]
    assert found.notes == ()


def test_a_box_of_vagrant_1_0_has_an_ovf_and_no_metadata() -> None:
    found = box.hardware({"box.ovf": OVF}, ["box-disk001.vmdk"])
    assert found == box.hardware({"other.ovf": OVF}, ["box-disk001.vmdk"])
    assert found.provider == "virtualbox"


def test_box_ovf_is_preferred_and_of_others_there_must_be_one() -> None:
    texts = {"a.ovf": b"<x/>", "box.ovf": OVF}
    assert box.hardware(texts, ["box-disk001.vmdk"]).cpus == 2
    told = problem({"a.ovf": OVF, "b.ovf": OVF}, "box-disk001.vmdk")
    assert told == "the box has 2 members that end in .ovf, and must have one"


def test_a_libvirt_box_of_version_1_has_one_image() -> None:
    found = box.hardware(metadata(provider="libvirt", format="qcow2", virtual_size=16), ["box.img"])
    wanted = DiskUse(member="box.img", bus="virtio-blk")
    assert found == Hardware(provider="libvirt", disks=(wanted,))


def test_a_libvirt_box_of_version_2_has_its_disks_as_listed() -> None:
    listed = [{"path": "box_1.img"}, {"path": "box_0.img", "format": "qcow2", "name": "x"}]
    texts = metadata(provider="libvirt", format="qcow2", disks=listed)
    found = box.hardware(texts, ["box_0.img", "box_1.img"])
    assert disks(found) == [("box_1.img", "virtio-blk"), ("box_0.img", "virtio-blk")]
    assert (found.firmware, found.nic) == ("", "virtio-net")


def test_a_qemu_box_is_as_a_libvirt_one() -> None:
    found = box.hardware(metadata(provider="qemu"), ["box.img"])
    assert (found.provider, disks(found)) == ("qemu", [("box.img", "virtio-blk")])


@pytest.mark.parametrize(("others", "firmware"), [((), ""), (("uefi.fd",), "uefi")])
def test_a_bhyve_box_is_for_uefi_if_it_brings_that(others: tuple[str, ...], firmware: str) -> None:
    found = box.hardware(metadata(provider="bhyve"), ["disk.img", *others])
    assert (found.firmware, disks(found)) == (firmware, [("disk.img", "virtio-blk")])


@pytest.mark.parametrize(
    "name", ["vmware_desktop", "vmware_fusion", "vmware_workstation", "vmware"]
)
def test_a_vmware_box_is_what_its_vmx_says(name: str) -> None:
    texts = metadata(provider=name) | {"box.vmx": VMX, "disk.vmdk": b"# Disk DescriptorFile\n"}
    found = box.hardware(texts, ["disk-s001.vmdk"])
    assert (found.provider, found.memory) == ("vmware_desktop", GIB)
    assert disks(found) == [("disk.vmdk", "ahci-hd")]
    told = problem(texts | {"b.vmx": VMX}, "disk-s001.vmdk")
    assert told == "the box has 2 members that end in .vmx, and must have one"


def test_what_vagrant_would_change_is_changed() -> None:
    lines = b'config.vm.provider "virtualbox" do |v|\nv.memory = 4096\nv.cpus = 4\n'
    found = box.hardware({"box.ovf": OVF, "Vagrantfile": lines}, ["box-disk001.vmdk"])
    assert (found.memory, found.cpus) == (4 * GIB, 4)


@pytest.mark.parametrize("name", ["docker", "lxc", "aws", "hyperv", "parallels", "utm", "x\x1b["])
def test_another_provider_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(VmError) as caught:
        box.hardware(metadata(provider=name), ["box.img"])
    fault = caught.value.faults[0]
    assert fault.problem.startswith(f"boxes for {name if name.isprintable() else 'x'}")
    assert fault.problem.isprintable()
    assert all(usable in fault.hint for usable in providers.USABLE)


def test_every_provider_that_can_be_chosen_has_a_reader() -> None:
    for name in providers.USABLE:
        told = problem(metadata(provider=name), "other")
        assert "boxes for" not in told


def test_a_box_without_a_provider_is_what_it_was_asked_for() -> None:
    assert box.hardware({}, ["box.img"], "libvirt").provider == "libvirt"
    assert problem({}, "box.img") == "the box does not say which provider it is for"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "the box's metadata.json is not JSON"),
        (b"\xff", "the box's metadata.json is not JSON"),
        (b"[" * 100_000, "the box's metadata.json is not JSON"),
        (b'{"virtual_size": ' + b"9" * 5000 + b"}", "the box's metadata.json is not JSON"),
        (b"[]", "the box's metadata.json must be a table"),
        (b'{"provider": 1}', "the box's metadata.json names no provider, but something else"),
        (
            b'{"provider": "libvirt", "disks": []}',
            "disks of the box's metadata.json must be a list of 1 to 32",
        ),
        (
            b'{"provider": "libvirt", "disks": {"path": "box.img"}}',
            "disks of the box's metadata.json must be a list of 1 to 32",
        ),
        (
            b'{"provider": "libvirt", "disks": ["box.img"]}',
            "a disk of the box's metadata.json has no path",
        ),
        (
            b'{"provider": "libvirt", "disks": [{"path": 1}]}',
            "a disk of the box's metadata.json has no path",
        ),
        (
            b'{"provider": "libvirt", "disks": [{"path": "box.img"}, {"path": "./box.img"}]}',
            "the box has one image as two disks",
        ),
    ],
)
def test_wrong_metadata_is_refused(content: bytes, told: str) -> None:
    assert problem({"metadata.json": content}, "box.img") == told


def test_a_box_without_a_disk_is_refused() -> None:
    empty = ovf(ITEMS[0], vbox=machine(controllers=""), files="", disks="")
    assert problem({"box.ovf": empty}) == "the box has no disk"


OUTSIDE = [
    "../../etc/passwd", "/etc/passwd", "http://example.com/x.vmdk", "file:///etc/passwd", "-O",
    "nbd:x", "a/../../b", "a//b", "..", ".", "", "./../x", "json:{}", "x\x07y", "a\u202eb",
]  # fmt: skip
SHELL = [
    "%2e%2e/etc/passwd", "..%2f..%2fetc/passwd", "x;rm -rf ~", "$(id).vmdk", "`id`", "a|b",
    "a b.vmdk", "~/.ssh/id", "other.vmdk",
]  # fmt: skip


def boxes_naming(name: str) -> list[dict[str, bytes]]:
    """A box of each kind that names a file as its disk."""
    from xml.sax.saxutils import quoteattr

    quoted = quoteattr(name).encode() if name.isprintable() else b'"a\x08b"'
    href = OVF.replace(b'"box-disk001.vmdk"', quoted)
    assert href != OVF
    vmx = VMX.replace(b"disk.vmdk", name.encode())
    return [
        {"box.ovf": href},
        metadata(provider="libvirt", disks=[{"path": name}]),
        metadata(provider="vmware_desktop") | {"box.vmx": vmx},
    ]


@pytest.mark.parametrize("name", OUTSIDE)
def test_threat_b13_a_name_that_leads_outside_is_no_disk_even_if_it_is_there(name: str) -> None:
    for texts in boxes_naming(name):
        told = problem(texts, name, "box-disk001.vmdk", "disk.vmdk", "box.img")
        assert told.isprintable()
        assert not told.startswith("the box has one image")


@pytest.mark.parametrize("name", [*OUTSIDE, *SHELL])
def test_threat_b13_a_name_that_is_not_in_the_box_is_no_disk(name: str) -> None:
    for texts in boxes_naming(name):
        assert problem(texts, "box-disk001.vmdk", "disk.vmdk", "box.img").isprintable()


def test_threat_b13_a_way_outside_that_is_written_as_a_uri_is_no_disk() -> None:
    for texts in boxes_naming("%2e%2e/%2e%2e/etc/passwd"):
        assert "that is not in it" in problem(texts, "../../etc/passwd", "box.img")


def test_threat_b13_an_href_is_refused_in_these_words() -> None:
    away, missing, _ = (boxes_naming(name)[0] for name in ("../../etc/passwd", "x;rm -rf ~", "x"))
    told = "the box names a file outside of itself as a disk: ../../etc/passwd"
    assert problem(away, "../../etc/passwd") == told
    assert problem(missing, "box.img") == "the box names a disk that is not in it: x;rm -rf ~"


def test_threat_b13_a_text_of_the_box_is_no_disk() -> None:
    texts = metadata(provider="libvirt", disks=[{"path": "Vagrantfile"}]) | {"Vagrantfile": b"x"}
    assert problem(texts) == "the box names a disk that is not in it: Vagrantfile"


def test_an_href_may_be_written_as_a_uri() -> None:
    spaced = ovf(vbox=machine(), files=FILE.replace("box-disk001", "./my%20box"))
    assert disks(box.hardware({"box.ovf": spaced}, ["my box.vmdk"])) == [("my box.vmdk", "ahci-hd")]
    exact = box.hardware({"box.ovf": spaced}, ["my%20box.vmdk", "my box.vmdk"])
    assert disks(exact) == [("my%20box.vmdk", "ahci-hd")]


def test_a_guest_of_another_processor_is_told() -> None:
    told = ("the box is for arm64, and vm-run runs guests of amd64",)
    by_name = box.hardware(metadata(provider="libvirt", architecture="arm64"), ["box.img"])
    assert by_name.notes == told
    arm = OVF.replace(b"Ubuntu_64", b"Ubuntu_arm64")
    assert box.hardware({"box.ovf": arm}, ["box-disk001.vmdk"]).notes == told


def test_a_disk_of_another_size_than_the_box_says_is_told() -> None:
    file2, disk2 = second(2)
    attach = item(17, 9, rasd(Parent=5, AddressOnParent=1, HostResource="/disk/vmdisk2"))
    text = ovf(*ITEMS, attach, files=FILE + file2, disks=DISK + disk2)
    found = box.hardware({"box.ovf": text}, ["box-disk001.vmdk", "box-disk002.vmdk"])
    sizes = {"box-disk001.vmdk": 40 * GIB, "box-disk002.vmdk": 2048}
    assert box.other_sizes(found, sizes) == (
        "box-disk002.vmdk has 2048 bytes, and the box says 1024",
    )
    assert box.other_sizes(found, {}) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("libvirt"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "disks", "provider", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "provider": st.sampled_from([*providers.USABLE, "docker", 1]),
            "disks": JSON,
            "architecture": JSON,
        },
    )
    | JSON
)
def test_any_metadata_is_hardware_or_an_error_for_people(table: object) -> None:
    texts = {"metadata.json": json.dumps(table).encode(), "box.ovf": OVF, "b.vmx": VMX}
    members = ["box.img", "disk.img", "disk.vmdk", "box-disk001.vmdk"]
    try:
        found = box.hardware(texts, members)
    except VmError as error:
        assert error.status == 65
    else:
        assert {disk.member for disk in found.disks} <= set(members)
