"""What pciconf lists, in the words of FreeBSD 12 and of 13 and later."""

from __future__ import annotations

import pytest

from tests.run.freebsd import DATA
from vm_run.host.pciconf import Card, cards, find

GTX = Card(address="0000:01:00.0", driver="ppt", header=0, ids=("10de", "1043", "1b80", "8591"))


def listed(name: str) -> list[Card]:
    return cards((DATA / f"{name}.txt").read_text())


@pytest.mark.parametrize("name", ["pciconf-l-12", "pciconf-l-13"])
def test_each_form_names_the_same_devices(name: str) -> None:
    found = {card.address: card for card in listed(name)}
    assert found["0000:01:00.0"] == GTX
    assert [*found] == sorted(found)
    assert [card.driver for card in found.values()] == ["hostb", "pcib", "ppt", "", "", "igb"]
    assert [card.header for card in found.values()] == [0, 1, 0, 0, 127, 0]
    assert found["0000:03:10.7"].ids == ("ffff",) * 4  # slots are counted by ten there
    assert found["0000:0a:00.0"].ids == ("8086", "1043", "1533", "85f0")


def test_what_stands_between_with_v_is_no_device() -> None:
    assert listed("pciconf-lv-14") == [GTX]


@pytest.mark.parametrize("text", ["", "ppt0", "ppt0@pci0:1:0:", "@pci0:1:0:0: hdr=0x00", "\0"])
def test_what_is_no_line_of_pciconf_is_passed_over(text: str) -> None:
    assert cards(text) == []


def test_a_driver_may_have_digits_in_its_name() -> None:
    (card,) = cards("e6000sw12@pci0:2:0:0: hdr=0x00")
    assert (card.driver, card.ids) == ("e6000sw", ("0000",) * 4)


def test_a_device_is_found_by_all_four_numbers() -> None:
    every = listed("pciconf-l-13")
    assert find(every, ("0x10de1043", "0x1b808591")) == GTX
    assert find(every, ("0x10DE1043", "0x1B808591")) == GTX
    for lookup in (("0x10de1044", "0x1b808591"), ("0x10de1043", "0x1b808592")):
        assert find(every, lookup) is None
