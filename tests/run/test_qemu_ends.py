"""What QEMU finds at the host's ends of cards, screens and passed-through devices."""

from __future__ import annotations

import pytest

from tests.run.qemu_given import A, of, said, values
from vm_run.wiring import Wiring
from vm_spec.devices import E1000, Graphic, HexPair, Lookup, Passthru, PortName, VirtioNet
from vm_spec.types import IfName, Label


def test_macvtaps_come_as_descriptors_numbered_from_10_in_a_dry_run() -> None:
    cards = [VirtioNet(label=Label(n), host_interface=IfName("eth0")) for n in ("m", "n")]
    assert values(said(*cards), "-netdev") == ["tap,id=m,fd=10", "tap,id=n,fd=11"]
    wiring = Wiring(fds={"m": 5, "n": 7}, vhost=True)
    assert values(said(*cards, wiring=wiring), "-netdev") == [
        "tap,id=m,fd=5,vhost=on", "tap,id=n,fd=7,vhost=on"
    ]  # fmt: skip


def test_vhost_is_for_virtio_cards_on_a_tap() -> None:
    line = said(
        VirtioNet(label=A, name=PortName("tap0")),
        E1000(label=Label("b"), name=PortName("tap1")),
        VirtioNet(label=Label("c")),
        wiring=Wiring(vhost=True),
    )
    assert [word.endswith(",vhost=on") for word in values(line, "-netdev")] == [True, False, False]


def test_a_device_that_is_looked_up_is_where_the_host_has_it() -> None:
    pair = Lookup(vendor=HexPair("0x10de0000"), device=HexPair("0x1b800000"))
    device = Passthru(label=A, lookup=pair)
    ((_, nominal),) = of(device)
    assert nominal["host"] == "lookup:0x10de0000:0x1b800000"
    ((_, real),) = of(device, wiring=Wiring(pci={"a": "0000:02:00.0"}))
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
