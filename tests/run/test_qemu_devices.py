"""What each device of a description is on QEMU."""

from __future__ import annotations

from typing import Any

import pytest

from tests.run.qemu_machines import IMAGE, MICROVM, A, of, placed, read, refused, said, values
from vm_run.qemu import arguments
from vm_run.resources import Resources
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    AppleSmc,
    ConsolePort,
    Drive,
    DriveInterface,
    Emulation,
    Graphic,
    Hda,
    HexPair,
    ImageFormat,
    Lookup,
    Media,
    Nvme,
    OtherNic,
    Passthru,
    PortName,
    QemuWord,
    Trim,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.machine import Qemu, Tpm, TpmInterface, TpmType
from vm_spec.types import FilePath, IfName, Label, Mac, PciId

MAC = Mac("02:00:5e:10:00:01")
STORAGE = {"id": "a", "bus": "pcie.0", "addr": "2.0"}
NET = {"id": "a", "bus": "pcie.0", "addr": "a.0"}
HOSTS = {"id": "a", "bus": "pcie.0", "addr": "12.0"}
OTHER = {"id": "a", "bus": "pcie.0", "addr": "16.0"}
ROMLESS = {"romfile": "", "netdev": "a"}


def node(**changes: Any) -> dict[str, Any]:
    """A block node of IMAGE: raw, written, cached."""
    file: dict[str, Any] = {
        "driver": "file", "filename": "./a.raw", "aio": "threads", "read-only": False
    }  # fmt: skip
    whole = {"driver": "raw", "node-name": "a", "discard": "unmap", "read-only": False}
    return {**whole, "file": {**file, **changes.pop("file", {})}, **changes}


def readonly(**changes: Any) -> dict[str, Any]:
    """The same, not written."""
    found = node(**{"read-only": True, **changes})
    found["file"]["read-only"] = True
    del found["discard"]
    return found


DIRECT = {"cache": {"direct": True}}
UNCACHED = node(**DIRECT, file={**DIRECT, "aio": "native"})

GOLDEN: list[tuple[Emulation, list[tuple[str, Any]]]] = [
    (
        VirtioBlk(label=A, path=IMAGE),
        [
            ("-blockdev", node()),
            ("-device", {"driver": "virtio-blk-pci", **STORAGE, "drive": "a", "bootindex": 1}),
        ],
    ),
    (
        VirtioBlk(
            label=A, path=IMAGE, format=ImageFormat("qcow2"), ro=True, direct=True, ser="S1",
            logical_sector_size=512, physical_sector_size=4096, qemu=(("num-queues", 4),),
        ),
        [
            ("-blockdev", readonly(driver="qcow2")),
            ("-device", {
                "driver": "virtio-blk-pci", **STORAGE, "serial": "S1", "logical_block_size": 512,
                "physical_block_size": 4096, "write-cache": "off", "drive": "a", "bootindex": 1,
                "num-queues": 4,
            }),
        ],
    ),
    (
        AhciHd(label=A, path=IMAGE, nmrr=1, rev="r", model="m", nodelete=True),
        [
            ("-blockdev", {k: v for k, v in node().items() if k != "discard"}),
            ("-device", {"driver": "ich9-ahci", **STORAGE}),
            ("-device", {
                "driver": "ide-hd", "bus": "a.0", "model": "m", "ver": "r", "rotation_rate": 1,
                "drive": "a", "bootindex": 1,
            }),
        ],
    ),
    (
        AhciCd(label=A, path=IMAGE, ser="S1"),
        [
            ("-blockdev", readonly()),
            ("-device", {"driver": "ich9-ahci", **STORAGE}),
            ("-device", {
                "driver": "ide-cd", "bus": "a.0", "serial": "S1", "drive": "a", "bootindex": 1,
            }),
        ],
    ),
    (
        Nvme(label=A, path=IMAGE, maxq=4, sectsz=4096),
        [
            ("-blockdev", node()),
            ("-device", {
                "driver": "nvme", **STORAGE, "serial": "a", "max_ioqpairs": 4,
                "logical_block_size": 4096, "physical_block_size": 4096, "drive": "a",
                "bootindex": 1,
            }),
        ],
    ),
    (
        Nvme(label=A, path=IMAGE, eui64=7, ser="S1", dsm=Trim("disable")),
        [
            ("-blockdev", {k: v for k, v in node().items() if k != "discard"}),
            ("-device", {"driver": "nvme", **STORAGE, "serial": "S1"}),
            ("-device", {
                "driver": "nvme-ns", "bus": "a", "eui64": 7, "drive": "a", "bootindex": 1,
            }),
        ],
    ),
    (
        VirtioScsi(label=A, path=IMAGE, media=Media("cdrom")),
        [
            ("-blockdev", readonly()),
            ("-device", {"driver": "virtio-scsi-pci", **STORAGE}),
            ("-device", {"driver": "scsi-cd", "bus": "a.0", "drive": "a", "bootindex": 1}),
        ],
    ),
    (
        Drive(label=A, path=IMAGE, nocache=True),
        [
            ("-blockdev", UNCACHED),
            ("-device", {
                "driver": "ide-hd", "bus": "ide.0", "unit": 0, "drive": "a", "bootindex": 1,
            }),
        ],
    ),
    (
        Drive(label=A, path=IMAGE, interface=DriveInterface("floppy")),
        [
            ("-blockdev", node()),
            ("-device", {"driver": "isa-fdc"}),
            ("-global", "isa-fdc.bootindexA=1"),
            ("-device", {"driver": "floppy", "unit": 0, "drive": "a"}),
        ],
    ),
    (Drive(label=A, path=IMAGE, interface=DriveInterface("none")), [("-blockdev", node())]),
    (
        VirtioNet(label=A, mac=MAC, mtu=9000),
        [
            ("-netdev", "user,id=a"),
            ("-device", {
                "driver": "virtio-net-pci", **NET, "host_mtu": 9000, **ROMLESS, "mac": MAC,
            }),
        ],
    ),
    (
        E1000(label=A, name=PortName("tap0")),
        [
            ("-netdev", "tap,id=a,ifname=tap0,script=no,downscript=no"),
            ("-device", {"driver": "e1000", **NET, **ROMLESS}),
        ],
    ),
    (
        OtherNic(label=A, model=QemuWord("rtl8139"), qemu=(("romfile", "x.rom"),)),
        [
            ("-netdev", "user,id=a"),
            ("-device", {"driver": "rtl8139", **NET, "romfile": "x.rom", "netdev": "a"}),
        ],
    ),
    (
        VirtioConsole(label=A, ports=(ConsolePort(name=Label("p"), path=FilePath("./p,1")),)),
        [
            ("-device", {"driver": "virtio-serial-pci", **OTHER}),
            ("-chardev", "socket,id=a.1,path=./p,,1,server=on,wait=off"),
            ("-device", {
                "driver": "virtserialport", "bus": "a.0", "nr": 1, "chardev": "a.1", "name": "p",
            }),
        ],
    ),
    (
        Virtio9p(label=A, sharename=Label("home"), path=FilePath("/home"), ro=True),
        [
            ("-fsdev",
             "local,security_model=mapped-xattr,multidevs=remap,id=a,path=/home,readonly=on"),
            ("-device", {"driver": "virtio-9p-pci", **OTHER, "fsdev": "a", "mount_tag": "home"}),
        ],
    ),
    (
        VirtioRnd(label=A),
        [
            ("-object", {"qom-type": "rng-builtin", "id": "a.rng"}),
            ("-device", {"driver": "virtio-rng-pci", **OTHER, "rng": "a.rng"}),
        ],
    ),
    (
        VirtioInput(label=A, path=FilePath("/dev/input/event3")),
        [("-device", {"driver": "virtio-input-host-pci", **OTHER, "evdev": "/dev/input/event3"})],
    ),
    (
        Xhci(label=A),
        [
            ("-device", {"driver": "qemu-xhci", **OTHER}),
            ("-device", {"driver": "usb-tablet", "bus": "a.0"}),
        ],
    ),
    (Xhci(label=A, tablet=False), [("-device", {"driver": "qemu-xhci", **OTHER})]),
    (
        Hda(label=A),
        [
            ("-audiodev", "none,id=a"),
            ("-device", {"driver": "ich9-intel-hda", **OTHER}),
            ("-device", {"driver": "hda-duplex", "bus": "a.0", "audiodev": "a"}),
        ],
    ),
    (
        Passthru(label=A, src=PciId.parse("01:00.0"), rom=FilePath("./r")),
        [("-device", {"driver": "vfio-pci", **HOSTS, "host": "0000:01:00.0", "romfile": "./r"})],
    ),
    (
        AppleSmc(label=A, osk="k, k"),
        [("-device", {"driver": "isa-applesmc", "id": "a", "osk": "k, k"})],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("device", "expected"),
    GOLDEN,
    ids=[f"{device.kind}-{n}" for n, (device, _) in enumerate(GOLDEN)],
)
def test_a_device_is_this_on_qemu(device: Emulation, expected: list[tuple[str, Any]]) -> None:
    assert of(device) == expected


@pytest.mark.parametrize(
    ("path", "driver", "native"),
    [
        ("./a.raw", "file", False),
        ("/dev/shm/a.raw", "file", False),
        ("/dev/sda", "host_device", True),
        ("/dev/zvol/tank/a", "host_device", True),
    ],
)
def test_a_block_device_is_used_without_the_hosts_page_cache(
    path: str, driver: str, native: bool
) -> None:
    (_, found), _ = of(VirtioBlk(label=A, path=FilePath(path)))
    file = found["file"]
    assert (file["driver"], file["aio"] == "native", "cache" in file) == (driver, native, native)


def test_the_hosts_cdrom_drive_is_one_to_the_guest() -> None:
    (_, found), *_ = of(AhciCd(label=A, path=FilePath("/dev/sr0")))
    assert (found["file"]["driver"], found["file"]["aio"]) == ("host_cdrom", "threads")


def test_drives_of_a_pc_share_two_channels_and_it_has_a_floppy_controller() -> None:
    floppy = DriveInterface("floppy")
    line = said(
        *(Drive(label=Label(f"d{number}"), path=IMAGE) for number in range(3)),
        Drive(label=Label("f"), path=IMAGE, interface=floppy),
        qemu=Qemu(machine="pc"),
    )
    devices = values(line, "-device")
    assert [(d["bus"], d["unit"]) for d in devices if d["driver"] == "ide-hd"] == [
        ("ide.0", 0), ("ide.0", 1), ("ide.1", 0)
    ]  # fmt: skip
    assert "isa-fdc" not in [d["driver"] for d in devices]


def test_macvtaps_come_as_descriptors_numbered_from_10_in_a_dry_run() -> None:
    cards = [VirtioNet(label=Label(n), host_interface=IfName("eth0")) for n in ("m", "n")]
    assert values(said(*cards), "-netdev") == ["tap,id=m,fd=10", "tap,id=n,fd=11"]
    resources = Resources(fds={"m": 5, "n": 7}, vhost=True)
    assert values(said(*cards, resources=resources), "-netdev") == [
        "tap,id=m,fd=5,vhost=on", "tap,id=n,fd=7,vhost=on"
    ]  # fmt: skip


def test_vhost_is_for_virtio_cards_on_a_tap() -> None:
    line = said(
        VirtioNet(label=A, name=PortName("tap0")),
        E1000(label=Label("b"), name=PortName("tap1")),
        VirtioNet(label=Label("c")),
        resources=Resources(vhost=True),
    )
    assert [word.endswith(",vhost=on") for word in values(line, "-netdev")] == [True, False, False]


def test_a_device_that_is_looked_up_is_where_the_host_has_it() -> None:
    pair = Lookup(vendor=HexPair("0x10de0000"), device=HexPair("0x1b800000"))
    device = Passthru(label=A, lookup=pair)
    ((_, nominal),) = of(device)
    assert nominal["host"] == "lookup:0x10de0000:0x1b800000"
    ((_, real),) = of(device, resources=Resources(pci={"a": "0000:02:00.0"}))
    assert real["host"] == "0000:02:00.0"


@pytest.mark.parametrize(
    ("host", "port", "password", "expected"),
    [
        ("127.0.0.1", 5900, "", "vnc=127.0.0.1:0"),
        ("::1", 5901, "", "vnc=[::1]:1"),
        ("0.0.0.0", 5910, "p", "vnc=0.0.0.0:10,password-secret=vnc-password"),  # noqa: S104  data
    ],
)
def test_a_screen_is_a_vga_seen_through_vnc(
    host: str, port: int, password: str, expected: str
) -> None:
    screen = Graphic(label=Label("g"), host=host, port=port, password=password)
    line = said(graphic=screen)
    assert values(line, "-vnc") == [expected]
    assert values(line, "-device")[-3:] == [
        {"driver": "VGA", "id": "graphic", "bus": "pcie.0", "addr": "1c.0",
         "xres": 1024, "yres": 768, "edid": True},
        {"driver": "qemu-xhci", "id": "tablet", "bus": "pcie.0", "addr": "1d.0"},
        {"driver": "usb-tablet", "bus": "tablet.0"},
    ]  # fmt: skip


def tpm_of(tpm: Tpm, resources: Resources) -> list[tuple[str, object]]:
    found = [one for one in arguments(placed(tpm=tpm), resources) if one.key == "tpm"]
    return [(one.words[0], read(one.words[1])) for one in found]


@pytest.mark.parametrize(("interface", "driver"), [("crb", "tpm-crb"), ("tis", "tpm-tis")])
def test_qemu_connects_to_the_swtpm_in_the_state_folder(interface: str, driver: str) -> None:
    tpm = Tpm(path=FilePath("/home/a/web.tpm"), interface=TpmInterface(interface))
    assert tpm_of(tpm, Resources(state="/run/vm/web")) == [
        ("-chardev", "socket,id=tpm,path=/run/vm/web/swtpm.sock"),
        ("-tpmdev", "emulator,id=tpm,chardev=tpm"),
        ("-device", {"driver": driver, "tpmdev": "tpm"}),
    ]


def test_a_comma_in_the_state_folder_is_no_new_option() -> None:
    first, *_ = tpm_of(Tpm(), Resources(state="/run/a,server=on"))
    assert first == ("-chardev", "socket,id=tpm,path=/run/a,,server=on/swtpm.sock")


@pytest.mark.parametrize("path", [None, FilePath("/dev/tpm7")])
def test_the_hosts_tpm_is_passed_through_without_a_file_to_cancel_its_commands(
    path: FilePath | None,
) -> None:
    device = path or "/dev/tpm0"
    assert tpm_of(Tpm(type=TpmType("passthru"), path=path), Resources()) == [
        ("-tpmdev", f"passthrough,id=tpm,path={device},cancel-path=/dev/null"),
        ("-device", {"driver": "tpm-crb", "tpmdev": "tpm"}),
    ]


def test_a_machine_without_a_tpm_has_nothing_of_one() -> None:
    assert not [word for word in said() if "tpm" in word]


def test_a_microvm_has_no_tpm() -> None:
    assert refused(**MICROVM, tpm=Tpm()).startswith("tpm: is not seen by a guest of microvm\n")
