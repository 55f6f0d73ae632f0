"""Vmman's dialect: each section, and what it means here."""

from typing import Any

import pytest
import tomli_w

from vm_spec import Context, Description, VmError, loads
from vm_spec.devices import Device
from vm_spec.frozen import items

CONTEXT = Context(file="web.toml", name="web", user="u")
MACHINE = {"machine": "q35", "smp": "2", "mem": "512"}


def described(**sections: dict[str, dict[str, Any]]) -> Description:
    named = {kind.replace("_", "-"): section for kind, section in sections.items()}
    return loads(tomli_w.dumps({"base": {"main": MACHINE}} | named), CONTEXT)


def only(kind: str, **keys: str) -> dict[str, Any]:
    """The one device of a section: its kind, and each field that is not as by default."""
    written = {key.replace("_", "-"): value for key, value in keys.items()}
    device: Device = described(**{kind: {"one": written}}).machine.emulations[0]
    differing = {
        field: value
        for field, value in items(device).items()
        if (field not in type(device).defaults or type(device).defaults[field] != value)
        and field not in ("mac", "label", "path")
    }
    return {
        "device": device.kind,
        "label": str(device.label),
        "path": getattr(device, "path", None),
    } | differing


def test_the_base_is_a_machine_of_qemu_in_qemus_own_words() -> None:
    more = {
        "cpu": "host,kvm=off", "smbios": "type=1", "serial": "mon:stdio", "vga": "std",
        "display": "gtk", "mempath": "/dev/hugepages",
    }  # fmt: skip
    machine = loads(tomli_w.dumps({"base": {"x": MACHINE | more}}), CONTEXT).machine
    assert machine.name == "web"
    assert machine.hypervisor == "qemu"
    assert machine.mem.mib == 512
    qemu = machine.qemu
    assert (qemu.machine, qemu.smp, qemu.cpu) == ("q35", "2", "host,kvm=off")
    assert (qemu.smbios, qemu.serial) == (("type=1",), ("mon:stdio",))
    assert (qemu.vga, qemu.display, qemu.hugepages) == ("std", "gtk", "/dev/hugepages")


def test_a_serial_port_on_this_terminal_is_com1() -> None:
    machine = loads(tomli_w.dumps({"base": {"x": MACHINE | {"serial": "stdio"}}}), CONTEXT).machine
    assert machine.com1 == "stdio"
    assert machine.qemu.serial == ()


STORAGE: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"driver": "virtio"}, {"device": "virtio-blk", "nocache": True, "format": "raw"}),
    (
        {"driver": "virtio", "media": "cdrom"},
        {"device": "virtio-blk", "nocache": True, "format": "raw", "ro": True},
    ),
    (
        {"driver": "scsi", "media": "cdrom"},
        {"device": "virtio-scsi", "format": "raw", "media": "cdrom"},
    ),
    ({"driver": "ide"}, {"device": "drive", "format": "raw", "nocache": True}),
    (
        {"driver": "pflash", "media": "disk"},
        {"device": "drive", "format": "raw", "nocache": True, "interface": "pflash"},
    ),
]


@pytest.mark.parametrize(("keys", "meant"), STORAGE)
def test_storage_is_a_raw_image_past_the_hosts_cache(
    keys: dict[str, str], meant: dict[str, Any]
) -> None:
    found = only("storage", file="a.img", **keys)
    assert found == {"label": "one", "path": "./a.img"} | meant


NIC = {"interface": "tap7", "mac": "02:00:5e:10:00:01"}


@pytest.mark.parametrize(
    ("driver", "meant"),
    [
        ("virtio-net-pci", {"device": "virtio-net"}),
        ("e1000", {"device": "e1000"}),
        ("rtl8139", {"device": "nic", "model": "rtl8139"}),
    ],
)
def test_tapbridge_is_a_card_with_a_tap_on_a_bridge(driver: str, meant: dict[str, Any]) -> None:
    found = only("tapbridge", bridge="br0", driver=driver, **NIC)
    rest = {"label": "one", "path": None, "name": "tap7", "type": "tap", "bridge": "br0"}
    assert found == rest | meant


@pytest.mark.parametrize("kind", ["macvtap", "bridge"])
def test_macvtap_and_the_deprecated_bridge_are_cards_with_a_macvtap(kind: str) -> None:
    found = only(kind, host_interface="eno3", driver="virtio-net-pci", **NIC)
    assert found == {
        "device": "virtio-net", "label": "one", "path": None,
        "name": "tap7", "type": "macvtap", "host_interface": "eno3",
    }  # fmt: skip


def test_bridge_is_noted_as_deprecated() -> None:
    section = NIC | {"host-interface": "eno3", "driver": "e1000"}
    description = described(bridge={"old": section})
    assert description.notes == ("[bridge.old] is deprecated: write [macvtap.old]",)


def test_passthrough_with_a_rom_has_more_functions_than_one() -> None:
    description = described(
        pcie_passthrough={"a": {"dev": "0000:01:00.0", "romfile": "a.rom"}, "b": {"dev": "01:00.1"}}
    )
    first, second = description.machine.emulations
    assert items(first)["rom"] == "./a.rom"
    assert items(first)["qemu"] == (("multifunction", True),)
    assert (str(items(second)["src"]), items(second)["qemu"]) == ("0000:01:00.1", ())


def test_apple_smc_has_its_key() -> None:
    found = described(apple_smc={"smc": {"osk": "secret"}}).machine.emulations[0]
    assert (found.kind, items(found)["osk"]) == ("apple-smc", "secret")


def test_labels_of_any_kind_become_ids_that_are_told_apart() -> None:
    """In vmman a label is any text, and each kind of section has labels of its own."""
    description = described(
        storage={name: {"driver": "ide", "file": "a"} for name in ("main", "a b", "1", "a,b", "é")},
        apple_smc={"main": {"osk": "x"}},
    )
    labels = [device.label for device in description.machine.emulations]
    assert labels[0] == "main"
    assert len(set(labels)) == 6


def test_a_name_may_be_laid_over_it() -> None:
    text = tomli_w.dumps({"base": {"main": MACHINE}})
    assert loads(text, Context(name="web", overrides=(("name", "other"),))).name == "other"


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            '[base.x]\nmachine = "q35"\nsmp = "2"\n',
            "web.toml:1: base.x.mem: is missing",
        ),
        (
            '[base.x]\nmachine = "q35"\nsmp = 2\nmem = "1"\n',
            "web.toml:3: base.x.smp: must be a text, as all values of vmman's",
        ),
        (
            '[storage.x]\ndriver = "ide"\nfil = "a"\n',
            "web.toml:3: storage.x.fil: is not a known key\n  hint: did you mean file?\n"
            "web.toml:1: storage.x.file: is missing",
        ),
        (
            '[storage.x]\ndriver = "usb"\nfile = "a"\n',
            "drive x:\n"
            "  web.toml:1: storage.x.interface: must be one of ide, floppy, pflash, none",
        ),
        (
            '[base.x]\nmachine = "q35"\nsmp = "2"\nmem = "1"\n[storag.x]\n',
            "web.toml:5: storag: is not a known key\n  hint: did you mean storage?",
        ),
        (
            'storage = 1\n[base.x]\nmachine = "q35"\nsmp = "2"\nmem = "1"\n',
            "web.toml:1: storage: must be named: [storage.NAME]",
        ),
    ],
)  # fmt: skip
def test_a_wrong_section_is_refused(text: str, report: str) -> None:
    with pytest.raises(VmError) as caught:
        loads(text, CONTEXT)
    assert str(caught.value) == report


def test_a_percent_sign_means_itself_for_vmman_had_no_variables() -> None:
    found = loads(
        '[base.a]\nmachine="q35"\nsmp="1"\nmem="64"\nsmbios="type=1,serial=100%"', CONTEXT
    )
    assert found.machine.qemu.smbios == ("type=1,serial=100%",)
