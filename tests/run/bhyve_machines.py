"""Machines of what bhyve has, generated: every device, slots, own tables, loaders, a TPM.

Left out is what bhyve has not (kernels, image formats, devices of QEMU's), what it is not told
(when to start again), and line breaks, which its files cannot carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests import strategies
from tests.strategies import PATHS, Raw, Table, choice, joined, table
from vm_run.pci_slots import Placed, place
from vm_run.resources import Resources
from vm_spec import Context, loads
from vm_spec.devices import E1000, Graphic, VirtioNet
from vm_spec.frozen import is_list, is_table
from vm_spec.machine import Machine, Tpm

NOT_TOLD = (
    *("hypervisor", "reboot_on", "reboot_limit", "stop_timeout", "next_target", "autostart"),
    *("autostart_order", "post_start_script", "qemu"),
)
MINE = (  # what bhyve takes less of, or what depends on another field
    *("name", "emulations", "graphic", "kernel", "initrd", "cmdline", "varfile", "bootrom"),
    *(
        "bhyve",
        "tpm",
        "mem",
        "cpu",
        "uuid",
        "lpc_slot",
        "com1",
        "com2",
        "cloud_init",
        "extra_options",
    ),
)
DEVICE = ("qemu", "bhyve", "slot", "fix", "format")
NONE: Table = {}

CARD_ENDS: Raw = (
    st.just(NONE)
    | st.fixed_dictionaries({"name": strategies.INTERFACES.map(lambda name: f"tap{name}"[:15])})
    | st.fixed_dictionaries({"bridge": strategies.INTERFACES})
    | choice(
        {"network": "lan", "type": "tap"},
        {"name": "port0", "type": "tap"},
        {"type": "user", "forward": ["2222:22", "udp:5353:53"]},
        {"name": "vale0:x"},
        {"name": "em0", "type": "netmap"},
        {"name": "vmnet0"},
        {"name": "netgraph", "bhyve": {"path": "br0:", "peerhook": "link2", "hook": "h"}},
    )
)
NVME: Raw = choice(
    {"maxq": 16, "sectsz": 512},
    {"sectsz": 4096, "eui64": (1 << 64) - 1},
    {"maxq": 1, "sectsz": 8192},
    NONE,
)
OWN: dict[str, Raw] = {  # a device's own table
    "virtio-blk": choice(NONE, {"sync": True}, {"sectorsize": "512/4096", "serial": "a,b"}),
    "ahci-hd": choice(NONE, {"port.1.type": "cd", "port.1.path": "/c,d"}, {"sync": "on"}),
    "ahci-cd": choice(NONE, {"ro": True}, {"port.0.nocache": "yes"}),
    "nvme": choice(NONE, {"sync": True, "nodelete": "off"}),
    "virtio-console": choice(NONE, {"port.9.name": "n", "port.9.path": "/p,q"}),
    "virtio-rnd": choice(NONE, {"pcireg.vendor": "0x1af4", "pcireg.revid": "1"}),
    "virtio-scsi": choice(NONE, {"target.1": "/dev/cam/a,b", "seg_max": 64}, {"iid": 3}),
    "xhci": choice(NONE, {"slot.2.device": "tablet"}),
    "passthru": choice(NONE, {"bootindex": 99}),
    "fbuf": choice(NONE, {"rfb": "unix:/run/a,b"}, {"password": "p,w"}),
}
RAW: Raw = choice(
    "uart,/dev/nmdm5A",
    "ahci,hd:/a,ser=A,cd:/c.iso",
    "virtio-net,ngd0",
    "virtio-9p,s=/srv,ro",
    "virtio-console,a=/a,b=/b",
    "virtio-scsi,/dev/cam/ctl,iid=2",
    "passthru,ppt0,rom=/r",
    "hostbridge,vendor=1,devid=2",
)


def _whole(config: Table) -> Table:
    """With a variable exactly when it is named."""
    named = "mine" in str(config.get("system.sku"))
    rest = {key: text for key, text in config.items() if key != "mine"}
    return rest | {"mine": config.get("mine", "x")} if named else rest


CONFIG: Raw = st.fixed_dictionaries(
    {},
    optional={
        "x86.strictmsr": st.booleans(),
        "x86.x2apic": choice("yes", 0),
        "system.sku": choice("%%(name)-%%(mine)", "5%%", "a,b"),
        "mine": choice("x", "%%(uuid)"),
        "keyboard.layout": choice("de_noacc"),
        "lpc.fwcfg": choice("qemu"),
        "lpc.pcireg.vendor": choice("host"),
        "pci.0.0.0.pcireg.device": choice("0x7432"),
        "pci.9.3.0.device": choice("virtio-rnd"),
        "vcpu.0.cpuset": choice("0,2-3"),
        "config.dump": choice("no"),
    },
).map(_whole)
SIZES = st.integers(256, 1 << 20).map(lambda pages: pages * 4096)
UUIDS: Raw = st.uuids().map(lambda uuid: f"{uuid}"[:19] + "8" + f"{uuid}"[20:])
COMS = choice("socket", "nmdm", "/dev/nmdm7A", "/dev/a,b", r"/dev/%%(name)\5")
SOCKETS = PATHS.map(lambda path: f"{path}s")
FIRMWARE: Raw = (
    st.just(NONE)
    | st.fixed_dictionaries(
        {"bootrom": PATHS | choice("uefi", r"/%%(name)\a,b")}, optional={"varfile": PATHS}
    )
    | choice(
        {"bhyve": {"loader": "none"}},
        {"bhyve": {"loader": "bhyveload", "loader_disk": "/d", "loader_args": "-v"}},
        {"bhyve": {"loader": "grub-bhyve", "grub_root": "hd0"}},
    )
)


def _tables(kind: str, key: str, values: Raw) -> Raw:
    return st.fixed_dictionaries({"device": st.just(kind), key: values})


def _device(kind: str) -> Raw:
    if kind in ("virtio-net", "e1000"):
        cls, without = (VirtioNet, ()) if kind == "virtio-net" else (E1000, ("mtu",))
        plain = table(cls, "label", *DEVICE, *strategies.ENDS, *without)
        return st.builds(joined, st.just({"device": kind}), plain, CARD_ENDS)
    if kind == "raw":
        return _tables(kind, "value", RAW)
    if kind == "virtio-scsi":
        return _tables(
            kind, "path", choice("/dev/cam/ctl", "/dev/cam/a,b", r"/dev/cam/%%(name)\%%")
        )
    if kind == "virtio-console":
        listed: Raw = st.lists(SOCKETS, min_size=1, max_size=3)
        named: Raw = st.dictionaries(strategies.LABELS, SOCKETS, min_size=1, max_size=3)
        return _tables(kind, "ports", listed | named)
    if kind == "nvme":
        plain = strategies.device(kind, *DEVICE, "maxq", "sectsz", "eui64")
        return st.builds(joined, plain, NVME)
    return strategies.device(kind, *DEVICE)


KINDS = (
    *("virtio-blk", "ahci-hd", "ahci-cd", "nvme", "virtio-scsi", "virtio-net", "e1000"),
    *("virtio-console", "virtio-9p", "virtio-rnd", "virtio-input", "xhci", "hda", "passthru"),
    "raw",
)


def _with_own(device: Table, own: Table) -> Table:
    return device | {"bhyve": own | device.get("bhyve", {})}


def _of_kind(kind: str) -> Raw:
    return st.builds(_with_own, _device(kind), OWN.get(kind, st.just(NONE)))


DEVICES: Raw = st.sampled_from(KINDS).flatmap(_of_kind)
SCREEN: Raw = st.builds(
    joined,
    table(Graphic, "label", "host", *DEVICE),
    st.fixed_dictionaries(
        {"host": choice("127.0.0.1", "::1", "[fe80::1]", "0.0.0.0")},  # noqa: S104
        optional={"slot": choice("0:30:1", "5:0:0"), "bhyve": OWN["fbuf"]},
    ),
)
MORE: Raw = st.fixed_dictionaries(
    {"mem": SIZES},
    optional={
        "cpu": st.integers(1, 1024) | choice({"sockets": 2, "cores": 3, "threads": 2}),
        "uuid": UUIDS,
        "lpc_slot": choice("0:26:0", "0:30:0", 31),
        "com1": COMS | choice("stdio"),
        "com2": COMS,
        "cloud_init": choice({"user_data": "u"}, {"instance_id": "i"}),
        "tpm": table(Tpm, "interface"),
        "extra_options": choice("-p 0:1", "-C"),
        "graphic": SCREEN,
    },
)
# each device's own four slots, so that none are claimed twice
PLACES: Raw = st.none() | st.tuples(choice(0, 0, 1, 255), st.integers(0, 3), st.integers(0, 7))


@st.composite
def machines(draw: Callable[[Raw], Any]) -> tuple[Placed, Resources]:
    """A machine, and the ends that a host has for it."""
    import tomli_w

    base: Table = draw(table(Machine, *NOT_TOLD, *MINE)) | draw(MORE) | draw(FIRMWARE)
    devices: list[Table] = draw(st.lists(st.tuples(DEVICES, PLACES), max_size=4).map(_placed))
    if base.get("graphic", {}).get("xhci_table", True) and "graphic" in base:
        devices = [one for one in devices if one["device"] != "xhci"]
    own: Table = {"config": draw(CONFIG)} | draw(choice(NONE, {"args": ["-w", "-x"]}))
    base["bhyve"] = base.get("bhyve", {}) | own
    text = tomli_w.dumps(
        _unbroken(base | {"name": "vm", "hypervisor": "bhyve", "emulations": _single(devices)})
    )
    description = loads(text, Context(folder=draw(choice("", "a,b", "/vm"))))
    labels = [device.label for device in description.machine.emulations]
    resources = Resources(
        state=draw(choice("", "/run/a,b")),
        attached=draw(st.booleans()),
        monitor=draw(st.booleans()),
        pci=dict.fromkeys(labels, "0000:01:00.0"),
    )
    return place(description, description.machine), resources


def _placed(drawn: list[tuple[Table, tuple[int, int, int] | None]]) -> list[Table]:
    devices: list[Table] = []
    for number, (device, at) in enumerate(drawn):
        slot = {"slot": f"{at[0]}:{2 + 4 * number + at[1]}:{at[2]}"} if at else {}
        devices.append({**device, **slot, "label": f"own{number}"})
    return devices


def _single(devices: list[Table]) -> list[Table]:
    """Without what bhyve has only one of: xhci, and a number in the order to boot."""
    seen: set[str] = set()
    kept: list[Table] = []
    for device in devices:
        alone = {"xhci"} & {device["device"]} | {"forward", "bootindex"} & {
            *device,
            *device["bhyve"],
        }
        if not alone & seen:
            kept.append(device)
        seen |= alone
    return kept


def _unbroken(found: Any) -> Any:
    """The same without line breaks."""
    if is_table(found):
        return {_unbroken(key): _unbroken(item) for key, item in found.items()}
    if is_list(found):
        return [_unbroken(item) for item in found]
    return found.replace("\n", ",") if isinstance(found, str) else found
