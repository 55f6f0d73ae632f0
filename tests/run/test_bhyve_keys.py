"""Every key that bhyve reads can be said, and each key that it would not read is refused."""

from __future__ import annotations

import pytest

from vm_import.bhyve_known import BOARD, LPC, OF
from vm_import.bhyve_model import Answer, answer
from vm_import.bhyve_options import FLAGS, KEYS
from vm_run.bhyve import argv
from vm_run.bhyve.config import beside, flat
from vm_run.bhyve.names import spelled
from vm_run.pci_slots import Placed, place
from vm_spec import VmError
from vm_spec.device import Properties
from vm_spec.devices import (
    E1000,
    AhciHd,
    ConsolePort,
    Emulation,
    Graphic,
    Hda,
    Nvme,
    Passthru,
    PortName,
    Raw,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.machine import Bhyve, Description, Machine
from vm_spec.types import FilePath, Label, PciId, VmName

IT = Label("it")
FILE = FilePath("/d.img")
BOARD_KEYS = [key for key in spelled(BOARD.pattern) if key != "name"]
LPC_KEYS = spelled(LPC.pattern)
DEVICE_KEYS = [
    (kind, key.replace("slot.0", "slot.1"))
    for kind, pattern in OF.items()
    for key in spelled(pattern)
]
# the last word of a key -> a value that bhyve takes; any other key takes 1
VALUES = {
    "uuid": "a5a5a5a5-0001-4002-8003-000000000001",
    "size": "256M",
    "fwcfg": "qemu",
    "version": "2.0",
    "intf": "crb",
    "ppi": "qemu",
    "sectorsize": "512/4096",
    "mac": "02:00:00:00:00:01",
    "mtu": "9000",
    "backend": "tap0",
    "type": "tap",
    "rfb": "127.0.0.1:5901",
    "tcp": "127.0.0.1:5901",
    "w": "1280",
    "h": "800",
    "vga": "off",
    "sectsz": "4096",
    "dsm": "auto",
    "path": "/dev/nmdm7A",
    "seg_max": "3",
    "ctl_ringsz": "4",
    "evt_ringsz": "4",
    "req_ringsz": "4",
}
EXACT = {"tpm.type": "swtpm", "port.0.type": "cd", "slot.1.device": "tablet"}
# what a key asks for beside it
BOARD_NEEDS = {
    "tpm.": {"tpm.type": "passthru", "tpm.path": "/dev/tpm0", "tpm.version": "2.0"},
    "domains.": {"domains.0.size": "256M", "domains.0.cpus": "0"},
}
NEEDS = {
    "ahci": {"port.0.type": "hd", "port.0.path": "/d"},
    "e1000": {"backend": "tap0"},
    "nvme": {"path": "/d"},
    "passthru": {"bus": "1", "slot": "0", "func": "0"},
    "uart": {"path": "/dev/nmdm0A"},
    "virtio-9p": {"sharename": "s", "path": "/srv"},
    "virtio-blk": {"path": "/d"},
    "virtio-console": {"port.0.name": "p", "port.0.path": "/p"},
    "virtio-input": {"path": "/dev/input/event0"},
    "virtio-net": {"backend": "tap0"},
    "virtio-scsi": {"target.0": "/dev/cam/ctl"},
    "xhci": {"slot.1.device": "tablet"},
}
NODES = {"hostbridge": "pci.0.0.0", "lpc": "pci.0.31.0"}  # there always
OLDER = ("lpc.bootrom", "lpc.bootvars", "pci.0.2.0.dev")  # what bhyve of 15 and older reads


def value(key: str) -> str:
    return EXACT.get(key) or VALUES.get(key.rpartition(".")[2], "1")


def placed(*emulations: Emulation, graphic: Graphic | None = None, **config: str) -> Placed:
    return configured(config, *emulations, graphic=graphic)


def configured(
    config: dict[str, str], *emulations: Emulation, graphic: Graphic | None = None
) -> Placed:
    machine = Machine(
        name=VmName("vm"),
        emulations=emulations,
        graphic=graphic,
        bhyve=Bhyve(config=tuple(config.items())),
    )
    return place(Description(machine=machine), machine)


def fault(machine: Placed) -> str:
    with pytest.raises(VmError) as raised:
        argv(machine)
    return str(raised.value)


def read(machine: Placed) -> tuple[Answer, Answer]:
    """What bhyve makes of the command line, and of the file."""
    from vm_run.bhyve.config import secret

    line = answer(argv(machine)[1:], lambda _: secret(machine), shows=False)
    assert beside(machine) == []
    return line, answer(["-k", "it"], {"it": flat(machine)}.__getitem__, shows=False)


def is_read(machine: Placed, key: str, text: str) -> None:
    for found in read(machine):
        assert found.tree[key] == text
        assert [one for one in found.unread if not one.startswith(OLDER)] == []


@pytest.mark.parametrize("key", BOARD_KEYS + LPC_KEYS)
def test_each_key_of_the_machine_can_be_said_and_is_read(key: str) -> None:
    config: dict[str, str] = {}
    for start, needs in BOARD_NEEDS.items():
        config |= needs if key.startswith(start) else {}
    is_read(configured(config | {key: value(key)}), key, value(key))


@pytest.mark.parametrize(("kind", "key"), DEVICE_KEYS)
def test_each_key_of_each_device_can_be_said_and_is_read(kind: str, key: str) -> None:
    node = NODES.get(kind, "pci.0.5.0")
    more = NEEDS.get(kind, {}) | {key: value(key)}
    config = {f"{node}.{one}": text for one, text in more.items()}
    if kind not in NODES:
        config = {f"{node}.device": kind, **config}
    is_read(configured({"memory.wired": "true", **config}), f"{node}.{key}", value(key))


OURS: dict[str, Emulation] = {
    "ahci": AhciHd(label=IT, path=FILE),
    "e1000": E1000(label=IT, name=PortName("tap0")),
    "fbuf": Graphic(label=Label("graphic")),
    "hda": Hda(label=IT),
    "nvme": Nvme(label=IT, path=FILE),
    "passthru": Passthru(label=IT, src=PciId(bus=1, slot=0, function=0)),
    "virtio-9p": Virtio9p(label=IT, sharename=Label("s"), path=FilePath("/srv")),
    "virtio-blk": VirtioBlk(label=IT, path=FILE),
    "virtio-console": VirtioConsole(
        label=IT, ports=(ConsolePort(name=Label("p"), path=FilePath("/p")),)
    ),
    "virtio-input": VirtioInput(label=IT, path=FilePath("/dev/input/event0")),
    "virtio-net": VirtioNet(label=IT, name=PortName("tap0")),
    "virtio-rnd": VirtioRnd(label=IT),
    "virtio-scsi": VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl")),
    "xhci": Xhci(label=IT),
}


@pytest.mark.parametrize(("kind", "key"), [pair for pair in DEVICE_KEYS if pair[0] in OURS])
def test_each_key_of_a_device_of_ours_can_stand_in_its_own_table(kind: str, key: str) -> None:
    from vm_spec.frozen import replace

    device = replace(OURS[kind], bhyve=((key, value(key)),))
    if isinstance(device, Graphic):
        machine, node = placed(graphic=device), "pci.0.28.0"
    else:
        machine = placed(device)
        slot = machine.slots["it"]
        node = f"pci.{slot.bus}.{slot.slot}.{slot.function}"
    is_read(machine, f"{node}.{key}", value(key))


def test_every_device_of_bhyve_is_one_of_ours_or_can_be_said_raw() -> None:
    assert OF.keys() - OURS.keys() == {"hostbridge", "lpc", "uart"}
    machine = placed(Raw(label=IT, value="uart,/dev/nmdm0A"))
    is_read(machine, "pci.0.22.0.path", "/dev/nmdm0A")


def test_every_flag_of_bhyve_sets_a_key_that_can_be_said() -> None:
    flags = {setting[0] for setting in FLAGS.values() if setting} | {*KEYS.values()}
    assert flags <= {*BOARD_KEYS}


NEVER_READ: list[tuple[dict[str, str], str]] = [
    ({"memory.sise": "1G"}, "bhyve never reads memory.sise\n  hint: did you mean memory.size?"),
    ({"lpc.com5.path": "/dev/nmdm0A"}, "never reads lpc.com5.path\n  hint: did you mean lpc.com"),
    ({"lpc.pcireg.vendr": "1"}, "hint: did you mean lpc.pcireg.vendor?"),
    ({"a": "b"}, "bhyve never reads a\n  hint: see bhyve_config(5), or use [bhyve] args"),
    ({"pci.0.05.0.device": "virtio-rnd"}, "bhyve never reads pci.0.05.0.device"),
    ({"vcpu.1.cpuset": "0"}, "vcpu.1: the machine has 1 processors"),
    ({"domains.1.size": "1G", "domains.1.cpus": "0"}, "bhyve looks for domains 0, 1 and so on"),
    ({"domains.0.size": "1G"}, "Missing CPU set for domain 0"),
    ({"pci.0.31.0.device": "virtio-rnd"}, "the slot is taken by lpc"),
    ({"name": "other"}, "the VM's name is the description's"),
    ({"config.dump": "maybe"}, "config.dump 'maybe' is nothing that bhyve takes"),
    ({"memory.size": "1" * 5000}, "would end bhyve: bhyve: invalid memsize '111"),
    ({"a" + ".b" * 65: "1"}, "a key has more than 64 dots"),
    ({f"a{n}": "1" for n in range(4096)}, "there are more than 4096 keys"),
    ({"cpus": "x"}, "would end bhyve: bhyve: Invalid value for cpus: 'x'"),
    ({"x86.x2apic": "maybe"}, "Invalid value maybe for boolean variable x86.x2apic"),
    ({"x86.verbosemsr": "maybe"}, "x86.verbosemsr 'maybe' is nothing that bhyve takes"),
    ({"lpc.com1.path": "tcp=localhost:1"}, "Invalid address localhost:1"),
    ({"tpm.type": "swtpm", "tpm.path": "/s"}, "bhyve crashes on a tpm without a version"),
    ({"uuid.x": "1", "uuid": "1"}, "existing node uuid"),
    ({"pci.0.5.0.device": "ahci-hd"}, 'legacy device "ahci-hd", use "ahci" instead'),
    ({"pci.0.5.0.device": "virtio-net"}, "bhyve crashes on a network card without a backend"),
    ({"pci.0.5.0.device": "uart"}, "bhyve crashes on a uart without its host's end"),
    ({"pci.0.5.0.device": "virtio-scsi"}, "pci.0.5.0.target.0 is missing"),
    ({"pci.0.5.0.device": "virtio-input"}, "pci.0.5.0.path is missing"),
    ({"pci.0.5.0.device": "passthru", "pci.0.5.0.bus": "1"}, "pci.0.5.0.func is missing"),
    (
        {
            "pci.0.5.0.device": "virtio-console",
            "pci.0.5.0.port.0.name": "a",
            "pci.0.5.0.port.0.path": "/a",
            "pci.0.5.0.port.1.name": "b",
        },
        "pci.0.5.0.port.1.path is missing",
    ),
    (
        {"pci.0.5.0.device": "e1000", "pci.0.5.0.backend": "netgraph"},
        "pci.0.5.0.peerhook is missing",
    ),
    ({"pci.0.5.0.device": "lpc"}, "Only one LPC bridge is allowed"),
    (
        {"pci.0.5.0.device": "xhci", "pci.0.6.0.device": "xhci"},
        "bhyve has one xhci only, and this is another",
    ),
]


@pytest.mark.parametrize(("config", "said"), NEVER_READ, ids=[said for _, said in NEVER_READ])
def test_a_key_that_bhyve_would_not_read_or_end_at_is_refused(
    config: dict[str, str], said: str
) -> None:
    report = fault(configured(config))
    assert report.startswith("bhyve.config: ")
    assert said in report
    assert "\n  hint: " in report


def test_of_many_keys_that_are_never_read_the_first_are_told_and_the_others_counted() -> None:
    report = fault(configured({f"no.{number}": "1" for number in range(100)}))
    assert "bhyve never reads no.63\n" in report
    assert "no.64" not in report
    assert "bhyve never reads 36 keys more\n  hint: " in report


def test_numa_needs_acpi() -> None:
    machine = Machine(
        name=VmName("vm"),
        generate_acpi=False,
        bhyve=Bhyve(config=(("domains.0.size", "256M"), ("domains.0.cpus", "0"))),
    )
    assert "domains need ACPI tables" in fault(place(Description(machine=machine), machine))


TABLES: list[tuple[Emulation, str]] = [
    (VirtioRnd(label=IT, bhyve=(("x", 1),)), "bhyve never reads x"),
    (
        VirtioBlk(label=IT, path=FILE, bhyve=(("bootidx", 1),)),
        "bhyve never reads bootidx\n    hint: did you mean bootindex?",
    ),
    (E1000(label=IT, name=PortName("tap0"), bhyve=(("mtu", 9000),)), "bhyve never reads mtu"),
    (VirtioBlk(label=IT, path=FILE, bhyve=(("sync", "perhaps"),)), "it takes true or false"),
    (VirtioBlk(label=IT, path=FILE, bhyve=(("sectorsize", "512/1000"),)), "sectorsize '512/1000'"),
    (VirtioBlk(label=IT, path=FILE, ser="S" * 21), "it takes at most 20 bytes"),
    (VirtioBlk(label=IT, path=FILE, logical_sector_size=1000), "sectorsize '1000'"),
    (AhciHd(label=IT, path=FILE, model="M" * 41), "it takes at most 40 bytes"),
    (AhciHd(label=IT, path=FILE, rev="R" * 9), "it takes at most 8 bytes"),
    (AhciHd(label=IT, path=FILE, bhyve=(("port.32.path", "/d"),)), "ahci has no port 32"),
    (Nvme(label=IT, path=FILE, maxq=17), "maxq '17' is nothing that bhyve takes"),
    (Nvme(label=IT, path=FILE, sectsz=1024), "it takes one of 512, 4096, 8192"),
    (Nvme(label=IT, path=FILE, bhyve=(("dsm", "yes"),)), "it takes one of auto, enable, disable"),
    (
        VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl"), bhyve=(("seg_max", 2),)),
        "it takes 3 to 4092",
    ),
    (
        VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl"), bhyve=(("target.256", "/dev/cam/a"),)),
        "virtio-scsi has no target 256",
    ),
    (Xhci(label=IT, bhyve=(("slot.2.device", "mouse"),)), "it takes one of tablet"),
    (Xhci(label=IT, bhyve=(("slot.5.device", "tablet"),)), "number them from 1 to 4"),
    (
        VirtioConsole(
            label=IT,
            ports=(ConsolePort(name=Label("p"), path=FilePath("/p")),),
            bhyve=(("port.1.name", "q"),),
        ),
        "port.1.path is missing, and bhyve would fail or crash",
    ),
    (
        VirtioConsole(
            label=IT, ports=(ConsolePort(name=Label("p"), path=FilePath("/" + "s" * 104)),)
        ),
        "port p's socket needs a name of 1 to 103 bytes",
    ),
    (
        VirtioNet(label=IT, name=PortName("tap0"), bhyve=(("mac", "01:00:00:00:00:01"),)),
        "would end bhyve: Invalid MAC 01:00:00:00:00:01",
    ),
    (VirtioNet(label=IT, name=PortName("tap0"), bhyve=(("type.x", "1"),)), "bhyve never reads"),
    (Raw(label=IT, value="virtio-console"), "bhyve crashes on a virtio-console without ports"),
    (Raw(label=IT, value="virtio-scsi"), "target.0 is missing, and bhyve would fail or crash"),
    (Raw(label=IT, value="virtio-net"), "bhyve crashes on a network card without a backend"),
    (Raw(label=IT, value="virtio-rnd,a=1"), "bhyve never reads a"),
    (Raw(label=IT, value="lpc"), "bhyve has one lpc only"),
    (Raw(label=IT, value=",x"), "has a value without a device's name"),
    (
        Raw(label=IT, value="passthru,0000:01:00.0"),
        "is refused by bhyve: passthru: invalid options",
    ),
]


@pytest.mark.parametrize(("device", "said"), TABLES, ids=[said for _, said in TABLES])
def test_what_a_device_cannot_be_told_is_refused_as_the_devices(
    device: Emulation, said: str
) -> None:
    report = fault(placed(device))
    assert report.startswith(f"{device.kind} it:\n")
    assert said in report
    assert "\n    hint: " in report


@pytest.mark.parametrize("number", ["16", "0x10", "0X10"])
def test_a_number_can_be_hexadecimal(number: str) -> None:
    machine = placed(VirtioBlk(label=IT, path=FILE, bhyve=(("bootindex", number),)))
    is_read(machine, "pci.0.2.0.bootindex", number)
    report = fault(placed(VirtioBlk(label=IT, path=FILE, bhyve=(("bootindex", number + "0000"),))))
    assert "it takes 0 to 65535" in report


def test_a_file_called_xhci_is_no_controller() -> None:
    node = "pci.0.5.0"
    config = {f"{node}.device": "virtio-blk", f"{node}.path": "xhci"}
    is_read(configured(config, Xhci(label=IT)), f"{node}.path", "xhci")


def test_a_screen_can_be_a_socket_whose_path_is_short() -> None:
    good = Graphic(label=IT, bhyve=(("rfb", "unix:/run/vnc"),))
    assert "0:28:0,fbuf,w=1024,h=768,rfb=unix:/run/vnc" in argv(placed(graphic=good))
    long = Graphic(label=IT, bhyve=(("rfb", "unix:/" + "a" * 103),))
    assert "a path of at most 103 bytes" in fault(placed(graphic=long))


def test_a_password_that_bhyve_would_cut_off_is_refused_and_not_repeated() -> None:
    report = fault(placed(graphic=Graphic(label=IT, bhyve=(("password", "s3cret-is-long"),))))
    assert "at most 8 bytes" in report
    assert "s3cret" not in report


def test_a_variable_of_the_users_own_stands_for_a_part_of_a_path() -> None:
    own: Properties = (("sectorsize", "%(sizes)"),)
    machine = configured({"sizes": "512/4096"}, VirtioBlk(label=IT, path=FILE, bhyve=own))
    is_read(machine, "pci.0.2.0.sectorsize", "%(sizes)")


def test_arguments_of_the_users_own_are_not_judged() -> None:
    own = Bhyve(args=("-o", "a.new.key=1", "-Z"))
    machine = Machine(name=VmName("vm"), bhyve=own)
    assert argv(place(Description(machine=machine), machine))[-4:] == [*own.args, "vm"]
