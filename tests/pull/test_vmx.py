"""The machine that a .vmx describes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_pull.hardware import vmx
from vm_pull.hardware.hardware import DiskUse, Hardware
from vm_spec import VmError

MIB = 1 << 20
GOOD = """.encoding = "UTF-8"
config.version = "8"
# a comment
displayName = "packer |22box|22"
guestOS = "ubuntu-64"
numvcpus = "2"
memsize = "2048"
firmware = "efi"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "disk.vmdk"
ide1:0.present = "TRUE"
ide1:0.deviceType = "cdrom-image"
ide1:0.fileName = "/home/maker/tools.iso"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "e1000"
ethernet0.generatedAddress = "00:0C:29:AA:BB:CC"
"""


def read(text: str) -> Hardware:
    return vmx.read(text.encode())


def disks(text: str) -> list[tuple[str, str]]:
    return [(disk.member, disk.bus) for disk in read(text).disks]


def problem(text: str | bytes) -> str:
    with pytest.raises(VmError) as caught:
        vmx.read(text if isinstance(text, bytes) else text.encode())
    assert caught.value.status == 65
    return caught.value.faults[0].problem


def test_a_vmx_is_a_machine() -> None:
    assert read(GOOD) == Hardware(
        provider="vmware_desktop",
        cpus=2,
        memory=2048 * MIB,
        firmware="uefi",
        disks=(DiskUse(member="disk.vmdk", bus="ahci-hd"),),
        nic="e1000",
        mac="00:0c:29:aa:bb:cc",
        os="ubuntu-64",
        notes=("a disk of its pvscsi controller is a SATA disk here",),
    )


def test_what_a_vmx_leaves_out_is_one_processor_bios_and_an_e1000() -> None:
    found = read('config.version = "8"\r\n')
    assert found == Hardware(provider="vmware_desktop", cpus=1, firmware="bios", nic="e1000")


@pytest.mark.parametrize(
    ("kind", "bus"), [("sata", "ahci-hd"), ("ide", "ahci-hd"), ("nvme", "nvme")]
)
def test_a_disk_is_on_the_bus_of_its_place(kind: str, bus: str) -> None:
    assert disks(f'{kind}0:0.fileName = "a.vmdk"') == [("a.vmdk", bus)]


def test_disks_are_in_order_of_controller_and_unit_in_numbers() -> None:
    places = ["scsi0:10", "sata0:0", "scsi1:0", "scsi0:2"]
    text = "".join(f'{place}.fileName = "{place[:4]}-{place[4:]}.vmdk"\n' for place in places)
    wanted = ["scsi-0:2.vmdk", "scsi-0:10.vmdk", "scsi-1:0.vmdk", "sata-0:0.vmdk"]
    assert [member for member, _ in disks(text)] == wanted


@pytest.mark.parametrize(
    "line",
    [
        'scsi0:0.present = "FALSE"',
        'scsi0:0.deviceType = "cdrom-raw"',
        'scsi0:0.deviceType = "atapi-cdrom"',
        'scsi0:0.fileName = ""',
    ],
)
def test_what_is_absent_or_a_cd_is_no_disk(line: str) -> None:
    assert disks(GOOD) != []
    assert disks(GOOD + line) == []


def test_keys_are_the_same_in_any_case() -> None:
    assert read(GOOD.replace("memsize", "MemSize")).memory == 2048 * MIB


def test_a_quotation_mark_is_written_with_a_bar() -> None:
    assert disks('ide0:0.fileName = "a|22b.vmdk"') == [('a"b.vmdk', "ahci-hd")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the box's .vmx has no key in it"),
        ("\0" * 99, "the box's .vmx has no key in it"),
        ('encryption.keySafe = "x"', "the box's .vmx is encrypted"),
        ('numvcpus = "-1"', "the box's number of processors is -1, and must be 1 to 1024"),
        ('memsize = "1e9"', "the box's memory in MiB is 1e9, and must be 1 to 16777216"),
        ('scsi00:0.fileName = "x.vmdk"', "the box's .vmx has an odd key: scsi00:0.filename"),
        ('a = "1"\n' * 200_000, "the box's .vmx is longer than 1 MiB"),
    ],
)
def test_a_wrong_vmx_is_refused(text: str, told: str) -> None:
    assert problem(text) == told


def test_more_disks_than_a_machine_takes_are_refused() -> None:
    text = "".join(f'scsi{n}:{m}.fileName = "{n}-{m}"\n' for n in range(4) for m in range(10))
    assert problem(text) == "the box has 40 disks, and the most is 32"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 20), st.binary(max_size=6)), max_size=4)
)
def test_a_mutated_vmx_is_hardware_or_an_error_for_people(
    cuts: list[tuple[int, int, bytes]],
) -> None:
    text = GOOD.encode()
    for place, length, token in cuts:
        text = text[:place] + token + text[place + length :]
    try:
        found = vmx.read(text)
    except VmError as error:
        assert error.status == 65
    else:
        assert found.firmware in ("uefi", "bios")
        assert found.os.isprintable()
