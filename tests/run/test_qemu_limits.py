"""What a description may say and QEMU cannot do is refused, each thing with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.run.qemu_machines import IMAGE, MICROVM, A, refused
from vm_spec.devices import (
    AhciCd,
    AhciHd,
    Drive,
    Emulation,
    Graphic,
    Hda,
    NicType,
    Nvme,
    Raw,
    VirtioBlk,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.machine import Com, Qemu
from vm_spec.types import FilePath, Label, PciSlot


def screen(**fields: Any) -> dict[str, Any]:
    return {"graphic": Graphic(label=Label("g"), **fields)}


REFUSED: list[tuple[Sequence[Emulation], dict[str, Any], str]] = [
    ([Nvme(label=A, ram=64)], {}, "nvme a:\n  ram: a drive of memory exists on bhyve only"),
    ([Raw(label=A, value="x")], {}, "raw a:\n  value: is in bhyve's own words"),
    ([Hda(label=A, play=IMAGE)], {}, "play: a sound device by its path exists on bhyve only"),
    ([AhciHd(label=A, path=IMAGE, ro=True)], {}, "ro: a SATA disk of QEMU is always writable"),
    ([AhciHd(label=A, path=IMAGE, logical_sector_size=4096)], {}, "has sectors of 512"),
    ([AhciCd(label=A, path=IMAGE, nmrr=1)], {}, "nmrr: a CD-ROM of QEMU has no rotation rate"),
    ([VirtioScsi(label=A, path=FilePath("/dev/cam/ctl"))], {}, "which exists on FreeBSD only"),
    *(
        ([VirtioNet(label=A, type=NicType(kind))], {}, f"type: {kind} exists on FreeBSD only")
        for kind in ("netgraph", "netmap", "vale", "vmnet")
    ),
    ([VirtioBlk(label=Label("ide"), path=IMAGE)], {}, "nothing"),
    ([VirtioBlk(label=Label("tablet"), path=IMAGE)], {}, "is a name that QEMU itself uses"),
    ([VirtioBlk(label=Label("pci.1"), path=IMAGE)], {}, "is a name that QEMU itself uses"),
    ([Xhci(label=Label("ide"))], {}, "is a name that QEMU itself uses"),
    ([Nvme(label=Label("pcie.0"), path=IMAGE)], {}, "is a name that QEMU itself uses"),
    ([VirtioRnd(label=A, slot=PciSlot(bus=9, slot=1))], {}, "is on a bus past 8"),
    ([VirtioRnd(label=A, slot=PciSlot(slot=31, function=1))], {}, "is the board's own"),
    ([VirtioRnd(label=A, slot=PciSlot(slot=1))], {"qemu": Qemu(machine="pc")}, "board's own"),
    ([VirtioRnd(label=A, slot=PciSlot(slot=9, function=1))], {}, "nothing is at function 0"),
    ([Drive(label=Label(f"d{n}"), path=IMAGE) for n in range(7)], {}, "this machine takes 6"),
    ([Xhci(label=A)], MICROVM, "is no virtio device, and microvm has no other"),
    (
        [],
        {"qemu": Qemu(machine="microvm")},
        "boots a kernel directly, and none is set",
    ),
    ([], {**MICROVM, "bootrom": IMAGE}, "bootrom: is not used by microvm"),
    ([], {**MICROVM, **screen()}, "graphic: needs a PCI bus"),
    ([], screen(port=80), "graphic.port: is outside VNC's 5900 to 65535"),
    ([], screen(wait=True), "graphic.wait: waiting for a viewer exists on bhyve only"),
    ([], screen(host="0.0.0.0"), "graphic.host: lets anyone who reaches it use"),  # noqa: S104
    ([], screen(host="127.evil.org"), "graphic.host: lets anyone"),
    ([], screen(host=""), "graphic.host: lets anyone"),
    ([], screen(host="localhost"), "nothing"),
    ([], {"com2": Com("nmdm")}, "com2: is a null modem, which exists on FreeBSD only"),
    ([], {"com1": Com("/dev/nmdm0A")}, "com1: is a null modem"),
    ([], {"com1": Com("stdio"), "com2": Com("stdio")}, "com2: is a second port on the one"),
    ([], {"initrd": IMAGE}, "initrd: needs a kernel to go with"),
    ([], {"cmdline": "quiet"}, "cmdline: needs a kernel to go with"),
    ([], {"varfile": IMAGE}, "varfile: needs a bootrom to go with"),
    ([], {"extra_options": ("-x",)}, "extra_options: holds arguments of bhyve\n  hint: use [qemu]"),
]


@pytest.mark.parametrize(("devices", "fields", "expected"), REFUSED)
def test_what_qemu_cannot_do_is_said(
    devices: Sequence[Emulation], fields: dict[str, Any], expected: str
) -> None:
    assert expected in refused(*devices, **fields)


def test_all_that_qemu_cannot_do_is_said_at_once() -> None:
    report = refused(Raw(label=A, value="x"), Nvme(label=Label("b"), ram=1), initrd=IMAGE)
    assert [line.strip() for line in report.splitlines() if "hint" not in line] == [
        "initrd: needs a kernel to go with",
        "raw a:",
        "value: is in bhyve's own words",
        "nvme b:",
        "ram: a drive of memory exists on bhyve only",
    ]
