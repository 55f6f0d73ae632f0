"""Which machine a target is."""

import pytest

from vm_spec import Context, Description, Machine, VmError, loads, select

BASE = """
mem = "1G"
cpu = 2
next_target = "b"
[qemu]
cpu = "host"
args = ["-x"]
[graphic]
port = 5901
width = 800
[disk.root]
path = "/root.img"
[disk.data]
path = "/data.img"
[net.lan]
"""
TARGETS = """
[targets.a]
mem = "2G"
[targets.b]
remove = ["data"]
[targets.b.disk.root]
path = "/other.img"
[targets.b.cd.installer]
path = "/a.iso"
[targets.c]
graphic = false
qemu = { cpu = "max", hide-hypervisor = true }
[targets.d.graphic]
port = 5902
[targets.e]
next_target = "default"
reboot_on = []
"""


def description() -> Description:
    return loads(BASE + TARGETS, Context(file="web.toml", name="web"))


def labels(machine: Machine) -> list[str]:
    return [device.label for device in machine.emulations]


def test_default_is_the_base() -> None:
    assert select(description()) is not None
    assert select(description(), "default") == description().machine


def test_a_target_named_default_is_chosen_first() -> None:
    found = loads("[targets.default]\nmem = '2G'", Context(name="web"))
    assert select(found).mem.mib == 2048


def test_a_target_replaces_what_it_names_and_keeps_the_rest() -> None:
    machine = select(description(), "a")
    assert machine.mem.mib == 2048
    assert machine.cpu == description().machine.cpu
    assert machine.emulations == description().machine.emulations


def test_devices_are_replaced_in_place_removed_and_added_last() -> None:
    machine = select(description(), "b")
    assert labels(description().machine) == ["root", "data", "lan"]
    assert labels(machine) == ["root", "lan", "installer"]
    assert getattr(machine.emulations[0], "path", None) == "/other.img"


def test_a_targets_table_completes_the_bases() -> None:
    qemu = select(description(), "c").qemu
    assert (qemu.cpu, qemu.args, qemu.hide_hypervisor) == ("max", ("-x",), True)
    graphic = select(description(), "d").graphic
    assert graphic is not None
    assert (graphic.port, graphic.width) == (5902, 800)


def test_a_target_takes_the_screen_away() -> None:
    assert select(description(), "c").graphic is None


def test_a_selection_never_depends_on_an_earlier_one() -> None:
    """Vmrun accumulated targets over reboots."""
    one = description()
    alone = {name: select(description(), name) for name in "abcde"}
    for first in "abcde":
        for second in "abcde":
            select(one, first)
            assert select(one, second) == alone[second]


def test_an_empty_list_replaces_the_bases() -> None:
    machine = select(description(), "e")
    assert machine.reboot_on == ()
    assert machine.next_target == "default"


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("instal", "web.toml: there is no target instal\n  hint: did you mean install?"),
        ("zzz", "web.toml: there is no target zzz\n  hint: targets are: default, install"),
    ],
)
def test_an_unknown_target_is_refused(name: str, report: str) -> None:
    found = loads("[targets.install]", Context(file="web.toml", name="web"))
    with pytest.raises(VmError) as caught:
        select(found, name)
    assert str(caught.value) == report
