"""From a description to requests."""

import pytest

from vm_init.description import list_requests
from vm_init.request import parse_line
from vm_spec.decode import loads
from vm_spec.fault import VmError
from vm_spec.syntax import Context


def requests(text: str, address: str = "") -> list[str]:
    description = loads(text, Context(name="web", user="alice"))
    found = list_requests(
        description, lambda _: address, lambda path: path.replace("by-id/kbd", "event3")
    )
    assert [parse_line(line).line for line in found] == found
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("[net.n]", ()),
        ('[net.n]\nname = "tap3"\nbridge = "br0"', ("tap tap3 bridge br0",)),
        ('[net.n]\nname = "tap3"', ("tap tap3 bridge -",)),
        ('[net.n]\nname = "vm0"\nnetwork = "lab"', ("tap vm0 network lab",)),
        (
            '[net.n]\nname = "vm0"\nhost-interface = "eno3"\nmac = "02:00:00:00:00:01"',
            ("macvtap vm0 on eno3 mac 02:00:00:00:00:01",),
        ),
        (
            '[net.n]\ntype = "macvtap"\nname = "vm0"\nnetwork = "lab"\nmac = "02:00:00:00:00:01"',
            ("macvtap vm0 network lab mac 02:00:00:00:00:01",),
        ),
        ('[net.n]\nname = "macvtap4"', ()),
        ('[net.n]\nname = "vale0:web"', ()),
        ('[[emulations]]\ndevice = "passthru"\nsrc = "1:0:0"', ("pci 0000:01:00.0",)),
        (
            '[[emulations]]\ndevice = "virtio-input"\npath = "/dev/input/by-id/kbd"',
            ("node /dev/input/event3",),
        ),
        ('com1 = "/dev/ttyS1"\ncom2 = "stdio"\ncom3 = "/dev/nmdm0A"', ("node /dev/ttyS1",)),
        ('com1 = "/home/alice/tty"', ()),
    ],
)
def test_a_device_is_a_request(text: str, expected: tuple[str, ...]) -> None:
    assert requests(text) == list(expected)


def test_a_macvtap_without_an_address_gets_the_one_that_the_guest_will_have() -> None:
    (found,) = requests('[net.n]\nname = "vm0"\nhost-interface = "eno3"')
    assert len(parse_line(found).mac) == 17


def test_all_targets_are_asked_for_and_each_thing_once() -> None:
    text = """
com1 = "stdio"
[net.one]
name = "tap1"
bridge = "br0"
[targets.a.net.two]
name = "tap2"
bridge = "br0"
[targets.b]
com1 = "/dev/ttyS0"
remove = ["one"]
[targets.b.net.two]
name = "tap2"
bridge = "br0"
"""
    assert requests(text) == ["tap tap1 bridge br0", "tap tap2 bridge br0", "node /dev/ttyS0"]


def test_a_device_that_is_looked_up_is_found_or_a_fault() -> None:
    text = """[[emulations]]
device = "passthru"
lookup = { vendor = "0x10de1462", device = "0x1b803362" }
"""
    assert requests(text, "0000:0a:00.1") == ["pci 0000:0a:00.1"]
    with pytest.raises(VmError, match="there is no PCI device 0x10de1462 0x1b803362") as refused:
        requests(text)
    assert refused.value.status == 69


def test_threat_07_one_interface_wanted_two_ways_is_a_fault() -> None:
    text = """
[net.one]
name = "tap1"
bridge = "br0"
[targets.a.net.one]
name = "tap1"
bridge = "br1"
"""
    with pytest.raises(VmError, match="requests tap1 in another way than another device"):
        requests(text)


@pytest.mark.parametrize(
    "path", ["/dev/../etc/shadow", "/dev/a b", "/dev/kvm", "/dev/sda", "/dev/tty0"]
)
def test_a_node_with_an_odd_path_is_a_fault(path: str) -> None:
    with pytest.raises(VmError, match="neither an input device nor a serial port"):
        requests(f"com1 = '{path}'")


def test_more_than_can_be_asked_for_is_a_fault() -> None:
    text = "".join(f'[net.n{n}]\nname = "vm{n}"\n' for n in range(65))
    with pytest.raises(VmError, match="requests 65 things of root; the limit is 64"):
        requests(text)
