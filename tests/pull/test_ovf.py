"""The machine that an OVF describes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pull.ovfs import (
    ADAPTER,
    DISK,
    FILE,
    IDE_CD,
    ITEMS,
    item,
    machine,
    ovf,
    prefixed,
    rasd,
    sata,
    second,
    vbox_disk,
)
from vm_pull.hardware import ovf as reader
from vm_pull.hardware.hardware import DiskUse, Hardware
from vm_pull.hardware.ovf_hardware import bytes_in
from vm_spec import VmError

MIB, GIB = 1 << 20, 1 << 30
FIRST = DiskUse(member="box-disk001.vmdk", bus="ahci-hd", capacity=40 * GIB)


def problem(data: bytes) -> str:
    with pytest.raises(VmError) as caught:
        reader.read(data)
    assert caught.value.status == 65
    return caught.value.faults[0].problem


def disks(data: bytes) -> list[tuple[str, str]]:
    return [(disk.member, disk.bus) for disk in reader.read(data).disks]


def test_what_virtualbox_notes_is_the_machine() -> None:
    assert reader.read(ovf(vbox=machine())) == Hardware(
        provider="virtualbox",
        cpus=2,
        memory=1024 * MIB,
        firmware="bios",
        disks=(FIRST,),
        nic="e1000",
        nic_slot=3,
        mac="08:00:27:a1:b2:c3",
        os="Ubuntu_64",
    )


def test_what_virtualbox_notes_stands_over_the_ovf_s_own_hardware() -> None:
    with_both, without = reader.read(ovf(vbox=machine())), reader.read(ovf())
    assert (with_both.cpus, with_both.memory) == (2, 1024 * MIB)
    assert (without.cpus, without.memory, without.firmware) == (1, 512 * MIB, "")
    assert without.disks == (FIRST,)
    assert without.os == "Ubuntu_64"


@pytest.mark.parametrize("vbox", ["", machine()], ids=["plain", "virtualbox"])
def test_an_ovf_means_the_same_with_its_namespace_as_a_prefix(vbox: str) -> None:
    text = ovf(vbox=vbox)
    assert b"<ovf:Disk " in prefixed(text)
    assert reader.read(prefixed(text)) == reader.read(text)


def test_ovf_2_has_disks_and_cards_in_elements_of_their_own() -> None:
    old = ovf()
    new = old.replace(
        b"http://schemas.dmtf.org/ovf/envelope/1", b"http://schemas.dmtf.org/ovf/envelope/2"
    )
    shown = new.decode()
    for kind, name in ((17, "StorageItem"), (10, "EthernetPortItem")):
        whole = next(one for one in ITEMS if f"<rasd:ResourceType>{kind}<" in one)
        renamed = whole.replace("<Item>", f"<{name}>").replace("</Item>", f"</{name}>")
        assert whole in shown
        shown = shown.replace(whole, renamed)
    assert reader.read(shown.encode()) == reader.read(old)


@pytest.mark.parametrize(
    ("kind", "firmware"),
    [("EFI", "uefi"), ("EFI32", "uefi"), ("EFI64", "uefi"), ("EFIDUAL", "uefi"), ("BIOS", "bios")],
)
def test_the_firmware_is_virtualbox_s(kind: str, firmware: str) -> None:
    found = reader.read(ovf(vbox=machine(hardware=f'<Firmware type="{kind}"/>')))
    assert (found.firmware, found.cpus, found.memory) == (firmware, 1, 0)


def test_an_unknown_firmware_is_refused() -> None:
    told = problem(ovf(vbox=machine(hardware='<Firmware type="Coreboot"/>')))
    assert told == "the box's firmware is COREBOOT, and must be BIOS or EFI"


@pytest.mark.parametrize(
    ("value", "firmware"), [("efi", "uefi"), ("bios", "bios"), ("EFI", "uefi")]
)
def test_the_firmware_is_vmware_s(value: str, firmware: str) -> None:
    config = f'<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{value}"/>'
    assert reader.read(ovf(more=config)).firmware == firmware


CONTROLLERS = [
    ("PIIX3", "ahci-hd"), ("PIIX4", "ahci-hd"), ("ICH6", "ahci-hd"), ("AHCI", "ahci-hd"),
    ("NVMe", "nvme"), ("VirtioSCSI", "virtio-scsi"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bus"), CONTROLLERS)
def test_a_disk_is_on_the_bus_of_its_controller(kind: str, bus: str) -> None:
    by_virtualbox = ovf(vbox=machine(controllers=sata(vbox_disk(0, 1), kind=kind)))
    assert disks(by_virtualbox) == [("box-disk001.vmdk", bus)]
    assert reader.read(by_virtualbox).notes == ()
    subtype = rasd(ResourceSubType=kind)
    by_items = ovf(item(20, 5, subtype), item(17, 7, rasd(Parent=5, HostResource="/disk/vmdisk1")))
    assert disks(by_items) == [("box-disk001.vmdk", bus)]


@pytest.mark.parametrize("kind", ["LsiLogic", "BusLogic", "LsiLogicSas", "USB", "Floppy2000"])
def test_a_controller_that_nobody_has_here_becomes_sata_and_is_told(kind: str) -> None:
    found = reader.read(ovf(vbox=machine(controllers=sata(vbox_disk(0, 1), kind=kind))))
    assert found.disks == (FIRST,)
    assert found.notes == (f"a disk of its {kind} controller is a SATA disk here",)


def test_an_item_without_a_subtype_is_of_its_type_s_kind() -> None:
    told = {5: "ahci-hd", 20: "ahci-hd", 6: "ahci-hd"}
    for kind, bus in told.items():
        disk = item(17, 7, rasd(Parent=5, HostResource="ovf:/disk/vmdisk1"))
        assert disks(ovf(item(kind, 5), disk)) == [("box-disk001.vmdk", bus)]


def test_disks_are_in_the_order_of_their_places_and_not_of_the_file() -> None:
    file2, disk2 = second(2)
    file3, disk3 = second(3)
    texts = {"files": file3 + file2 + FILE, "disks": disk3 + disk2 + DISK}
    controllers = sata(vbox_disk(10, 3), vbox_disk(2, 2), kind="AHCI") + sata(vbox_disk(0, 1))
    wanted = ["box-disk002.vmdk", "box-disk003.vmdk", "box-disk001.vmdk"]
    by_virtualbox = reader.read(ovf(vbox=machine(controllers=controllers), **texts))
    assert [disk.member for disk in by_virtualbox.disks] == wanted

    def attach(number: int, parent: int, place: int) -> str:
        more = rasd(Parent=parent, AddressOnParent=place, HostResource=f"/disk/vmdisk{number}")
        return item(17, 10 + number, more)

    items = (item(20, 5), item(20, 6), attach(1, 6, 0), attach(3, 5, 10), attach(2, 5, 2))
    by_items = reader.read(ovf(*items, **texts))
    assert [disk.member for disk in by_items.disks] == wanted


def test_the_controllers_of_virtualbox_7_are_below_its_hardware() -> None:
    inside = f"<StorageControllers>{sata(vbox_disk(0, 1), kind='NVMe')}</StorageControllers>"
    text = ovf(vbox=machine(hardware=inside, controllers=""))
    assert disks(text) == [("box-disk001.vmdk", "nvme")]


def test_a_cd_and_an_nvram_in_the_references_are_no_disks() -> None:
    others = '<File ovf:id="f2" ovf:href="tools.iso"/><File ovf:id="f3" ovf:href="box.nvram"/>'
    cd = item(15, 9, rasd(Parent=5, HostResource="/file/f2"))
    assert disks(ovf(*ITEMS, cd, files=others + FILE)) == [("box-disk001.vmdk", "ahci-hd")]
    assert disks(
        ovf(vbox=machine(controllers=IDE_CD + sata(vbox_disk(0, 1))), files=others + FILE)
    ) == [("box-disk001.vmdk", "ahci-hd")]


def test_a_cd_among_the_disks_is_left_out_with_a_note() -> None:
    file, disk = second(2)
    ecma = "http://www.ecma-international.org/publications/standards/Ecma-119.htm"
    cd = disk.replace("vbox:uuid", f'ovf:format="{ecma}" vbox:uuid')
    drive = item(15, 9, rasd(Parent=5, HostResource="/disk/vmdisk2"))
    dvd = vbox_disk(1, 2).replace("HardDisk", "DVD")
    for text in (
        ovf(*ITEMS, drive, files=FILE + file, disks=cd + DISK),
        ovf(
            vbox=machine(controllers=sata(dvd, vbox_disk(0, 1))), files=FILE + file, disks=cd + DISK
        ),
    ):
        found = reader.read(text)
        assert found.disks == (FIRST,)
        assert found.notes == ("a CD of the box was left out",)


def test_an_empty_disk_is_left_out_with_a_note() -> None:
    empty = '<Disk ovf:capacity="10" ovf:diskId="empty"/>'
    attach = item(17, 9, rasd(Parent=5, AddressOnParent=1, HostResource="/disk/empty"))
    found = reader.read(ovf(*ITEMS, attach, disks=empty + DISK))
    assert found.disks == (FIRST,)
    assert found.notes == ("a disk of the box is empty and was left out",)


def test_a_disk_on_no_controller_is_left_out_with_a_note() -> None:
    file2, disk2 = second(2)
    found = reader.read(ovf(vbox=machine(), files=FILE + file2, disks=DISK + disk2))
    assert found.disks == (FIRST,)
    assert found.notes == ("a disk of the box hangs on no controller and was left out",)


def test_without_any_attachment_the_disks_are_as_listed() -> None:
    found = reader.read(ovf(item(3, 1, rasd(VirtualQuantity=1))))
    assert found.disks == (FIRST,)
    assert found.notes == ("the box does not say where its disks are attached",)


def test_an_attachment_that_virtualbox_cannot_mean_is_looked_up_in_the_ovf() -> None:
    unknown = machine(controllers=sata(vbox_disk(0, 8), kind="NVMe"))
    assert disks(ovf(vbox=unknown)) == [("box-disk001.vmdk", "ahci-hd")]
    one_of_two = machine(controllers=sata(vbox_disk(0, 1), vbox_disk(1, 8), kind="NVMe"))
    assert disks(ovf(vbox=one_of_two)) == [("box-disk001.vmdk", "ahci-hd")]


CARDS = [
    ("82540EM", "e1000"), ("82543GC", "e1000"), ("82545EM", "e1000"), ("virtio", "virtio-net"),
    ("E1000e", "e1000"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "nic"), CARDS)
def test_a_card_is_of_its_model(model: str, nic: str) -> None:
    found = reader.read(ovf(vbox=machine(network=ADAPTER.replace("82540EM", model))))
    assert (found.nic, found.notes) == (nic, ())
    items = (*(one for one in ITEMS if ">10<" not in one), item(10, 6, rasd(ResourceSubType=model)))
    assert reader.read(ovf(*items)).nic == nic


@pytest.mark.parametrize("model", ["Am79C970A", "VmxNet3", "nonsense"])
def test_a_card_that_nobody_has_here_becomes_an_e1000_and_is_told(model: str) -> None:
    found = reader.read(ovf(vbox=machine(network=ADAPTER.replace("82540EM", model))))
    assert found.nic == "e1000"
    assert found.notes == (f"its network card {model} is an e1000 here",)


def test_the_card_is_the_first_that_is_plugged_in() -> None:
    off = ADAPTER.replace('enabled="true"', 'enabled="false"').replace("A1B2C3", "000000")
    third = ADAPTER.replace('slot="0"', 'slot="2"').replace("82540EM", "virtio")
    fourth = ADAPTER.replace('slot="0"', 'slot="3"')
    found = reader.read(ovf(vbox=machine(network=off + fourth + third)))
    assert (found.nic, found.nic_slot) == ("virtio-net", 9)
    none = reader.read(ovf(vbox=machine(network=off)))
    assert (none.nic, none.nic_slot, none.mac) == ("e1000", 0, "")


UNITS = [
    ("byte", 1), ("byte * 2^10", 1 << 10), ("byte * 2^20", MIB), ("byte*2^30", GIB),
    ("byte * 2^40", 1 << 40), ("MegaBytes", MIB), ("MB", MIB), ("GigaBytes", GIB), ("GB", GIB),
    ("KiloBytes", 1 << 10), ("bytes", 1), ("furlongs", 0), ("byte * 3^20", 0), ("byte * 2^99", 0),
]  # fmt: skip


@pytest.mark.parametrize(("units", "count"), UNITS)
def test_a_unit_is_so_many_bytes(units: str, count: int) -> None:
    assert bytes_in(units) == count


@pytest.mark.parametrize(
    ("units", "amount", "memory"),
    [("GB", 2, 2 * GIB), ("byte * 2^20", 768, 768 * MIB), ("byte", GIB, GIB)],
)
def test_memory_is_in_its_unit(units: str, amount: int, memory: int) -> None:
    more = rasd(AllocationUnits=units, VirtualQuantity=amount)
    assert reader.read(ovf(item(4, 2, more))).memory == memory


def test_a_capacity_is_in_its_unit_and_nothing_where_it_is_not_understood() -> None:
    unit = ' ovf:capacityAllocationUnits="byte * 2^30"'
    shown = DISK.replace('capacity="42949672960"', f'capacity="40"{unit}')
    assert reader.read(ovf(disks=shown)).disks == (FIRST,)
    for odd in ("many", "", "-1", "9" * 30):
        found = reader.read(ovf(disks=DISK.replace("42949672960", odd)))
        assert found.disks[0].capacity == 0


WRONG = {
    "a unit of memory": (
        ovf(item(4, 2, rasd(AllocationUnits="stones", VirtualQuantity=1))),
        "the box's memory is in an unknown unit: stones",
    ),
    "memory of nothing": (
        ovf(vbox=machine(hardware='<Memory RAMSize="0"/>')),
        "the box's memory in MiB is 0, and must be 1 to 16777216",
    ),
    "too much memory": (
        ovf(item(4, 2, rasd(AllocationUnits="byte * 2^40", VirtualQuantity=1000000))),
        "the box's memory in bytes is 1099511627776000000, and must be 1048576 to 17592186044416",
    ),
    "too many processors": (
        ovf(vbox=machine(hardware='<CPU count="5000"/>')),
        "the box's number of processors is 5000, and must be 1 to 1024",
    ),
    "no number of processors": (
        ovf(item(3, 1, rasd(VirtualQuantity="\u0663"))),
        "the box's number of processors is \u0663, and must be 1 to 1024",
    ),
    "a delta": (
        ovf(disks=DISK.replace("ovf:fileRef", 'ovf:parentRef="base" ovf:fileRef')),
        "a disk of the box is only what differs from another one (parentRef)",
    ),
    "a delta without a file": (
        ovf(disks='<Disk ovf:capacity="1" ovf:diskId="vmdisk1" ovf:parentRef="base"/>'),
        "a disk of the box is only what differs from another one (parentRef)",
    ),
    "a compressed file": (
        ovf(files=FILE.replace("ovf:size", 'ovf:compression="gzip" ovf:size')),
        "the box's box-disk001.vmdk is compressed once more",
    ),
    "a file in chunks": (
        ovf(files=FILE.replace("ovf:size", 'ovf:chunkSize="1000" ovf:size')),
        "the box's box-disk001.vmdk is cut into chunks",
    ),
    "a disk that is not listed": (
        ovf(*ITEMS, item(17, 9, rasd(Parent=5, HostResource="/disk/other"))),
        "the box attaches /disk/other, which it does not list",
    ),
    "a file that is not listed": (
        ovf(files=""),
        "a disk of the box is of the file file1, which it does not list",
    ),
    "a disk of the host": (
        ovf(item(17, 9, rasd(HostResource="/dev/sda"))),
        "the box attaches /dev/sda, which it does not list",
    ),
    "one file twice": (
        ovf(*ITEMS, item(17, 9, rasd(Parent=5, HostResource="/file/file1"))),
        "the box attaches box-disk001.vmdk twice",
    ),
    "two files of one id": (ovf(files=FILE + FILE), "the box has two of File file1"),
    "two disks of one id": (ovf(disks=DISK + DISK), "the box has two of Disk vmdisk1"),
    "another root": (b"<html/>", "box.ovf is no OVF: it begins with html"),
    "no machine": (b"<Envelope/>", "box.ovf describes 0 machines, and a box has one"),
    "two machines": (
        b"<Envelope><VirtualSystemCollection><VirtualSystem/><VirtualSystem/>"
        b"</VirtualSystemCollection></Envelope>",
        "box.ovf describes 2 machines, and a box has one",
    ),
    "an odd place": (
        ovf(vbox=machine(controllers=sata(vbox_disk(0, 1).replace('port="0"', 'port="x"')))),
        "the box's port is x, and must be 0 to 255",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_no_disk_can_be_made_of_is_refused(kind: str) -> None:
    data, told = WRONG[kind]
    assert problem(data) == told


def test_more_disks_than_a_machine_takes_are_refused() -> None:
    more = [second(number) for number in range(2, 41)]
    text = ovf(
        item(3, 1, rasd(VirtualQuantity=1)),
        files="".join(file for file, _ in more),
        disks="".join(disk.replace(' vbox:uuid="', ' x="') for _, disk in more),
    )
    assert problem(text) == "box.ovf has 39 disks, and the most is 32"


def test_a_stranger_s_words_are_escaped_and_cut() -> None:
    told = ovf(vbox=machine().replace("Ubuntu_64", "\u202eevil&#x85;" + "x" * 999))
    assert reader.read(told).os == r"\u202eevil " + "x" * 189 + "..."


GOOD = [ovf(vbox=machine()), ovf(), prefixed(ovf(vbox=machine())), ovf(*ITEMS, files=FILE * 2)]
TOKENS = [
    b"<Item>", b"</Item>", b"<Disk ", b"/>", b'"', b"ovf:", b"vbox:", b"&", b"<", b"\0", b"-1",
    b"99999999999999999999", b"\xff", b"\xc2\x85", b"parentRef", b"x", b"17", b"/disk/vmdisk1",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(GOOD),
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 40), st.sampled_from(TOKENS)), max_size=4
    ),
)
def test_a_mutated_ovf_is_hardware_or_an_error_for_people(
    text: bytes, cuts: list[tuple[int, int, bytes]]
) -> None:
    for place, length, token in cuts:
        text = text[:place] + token + text[place + length :]
    try:
        found = reader.read(text)
    except VmError as error:
        assert error.status == 65
    else:
        assert all(disk.bus and isinstance(disk.member, str) for disk in found.disks)
        assert 0 <= found.memory <= 1 << 44
        assert 0 <= found.cpus <= 1024
