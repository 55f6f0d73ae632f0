"""Descriptions, generated: the tables of good ones, and what is left after something broke."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from vm_spec import Context
from vm_spec.devices import KINDS, Graphic, Nic, Nvme, Passthru
from vm_spec.frozen import Value, is_list, is_table
from vm_spec.limits import TEXT_LIMITS, WHOLE_LIMITS
from vm_spec.machine import BASE_ONLY, Bhyve, CloudInit, Machine, Qemu, Tpm

Table = dict[str, Any]
Raw = st.SearchStrategy[Any]

EMPTY: Table = {}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def escaped(text: str) -> str:
    """A text that variables leave as it is."""
    return text.replace("%", "%%")


TEXTS = st.text(ANY, max_size=12).map(escaped)
WORDS = st.builds(
    "{}{}".format, st.sampled_from(LETTERS), st.text(LETTERS + "0123456789_.-", max_size=12)
)
LABELS = WORDS.filter(lambda word: word not in ("graphic", "tablet", "cloud-init"))
INTERFACES = WORDS.filter(lambda word: word not in ("all", "default"))
PATHS = st.builds(
    "{}{}".format, st.sampled_from(["", "/", "./", "~/", "../", "./~/"]), TEXTS
).filter(bool)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300) | TEXTS
KEYS = st.text(LETTERS, min_size=1, max_size=6)
PROPERTIES = st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, max_size=2), max_size=3)
SLOTS = st.integers(0, 31) | st.builds(
    "{}:{}:{}".format, st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)
)
MACS = st.binary(min_size=5, max_size=5).map(lambda octets: "02:" + octets.hex(":"))


def choice(*words: object) -> Raw:
    return st.sampled_from(words)


def whole(field: str) -> Raw:
    return st.integers(*WHOLE_LIMITS.get(field, (-(2**63), 2**63 - 1)))


def text(field: str) -> Raw:
    return st.text(LETTERS + "0123456789 ,=\"'\\", max_size=TEXT_LIMITS.get(field, 40))


def table(cls: type[Value], *without: str) -> Raw:
    """Tables of a class's fields: the required ones, and any of the others."""
    fields = {
        field: value(kind, field) for field, kind in cls.fields.items() if field not in without
    }
    needed = {field: fields.pop(field) for field in [*fields] if field not in cls.defaults}
    return st.fixed_dictionaries(needed, optional=fields)


OF: Mapping[str, Raw] = {
    "Label": LABELS,
    "VmName": WORDS,
    "IfName": INTERFACES,
    "PortName": INTERFACES,
    "Mac": MACS | MACS.map(str.upper),
    "Forward": choice("2222:22", "udp:5353:53", "tcp:0.0.0.0:8080:80"),
    "FilePath": PATHS,
    "FirmwarePath": PATHS | choice("uefi"),
    "Size": st.integers(1, 2**63 - 1) | choice("512M", "2g", "1T", "4096", "64MB"),
    "PciSlot": SLOTS,
    "PciId": choice("0000:01:00.0", "01:00.1", "1:0:0", "1/0/0"),
    "Cpu": st.integers(1, 1024)
    | st.fixed_dictionaries({}, optional={key: whole(key) for key in ("cores", "threads")}),
    "HexPair": choice("0x10de1b80", "0xABCDEF01"),
    "Lookup": st.just({"vendor": "0x10de1b80", "device": "0x10de1b80"}),
    "ImageFormat": choice("raw", "qcow2", "vmdk"),
    "Trim": choice("auto", "enable", "disable"),
    "Media": choice("disk", "cdrom"),
    "DriveInterface": choice("ide", "floppy", "pflash", "none"),
    "QemuWord": choice("rtl8139", "vmxnet3"),
    "VgaMode": choice("io", "on", "off"),
    "NicType": choice("tap"),
    "Com": choice("socket", "nmdm", "/dev/ttyS0"),
    "HypervisorName": choice("qemu", "bhyve"),
    "HostBridge": choice("hostbridge", "amd_hostbridge"),
    "Uuid": st.uuids().map(str),
    "Gdb": choice("1234", "w127.0.0.1:1234"),
    "Outcome": choice("reboot", "halt", "crash", "killed", 0, 5, "3"),
    "Accelerator": choice("kvm", "tcg"),
    "LoaderName": choice("bhyveload", "grub-bhyve", "none"),
    "TpmType": choice("swtpm", "passthru"),
    "TpmInterface": choice("crb", "tis"),
    "Properties": PROPERTIES,
    "bool": st.booleans(),
    "Blanks": st.lists(TEXTS, max_size=3) | choice("a  b", ""),
    "Arguments": st.lists(TEXTS, max_size=3) | choice("a 'b c'"),
    "tuple[ConsolePort, ...]": st.lists(PATHS, min_size=1, max_size=3)
    | st.dictionaries(LABELS, PATHS, min_size=1, max_size=3),
}


# a meta_data excludes an instance_id of base or target
REMOVABLE: dict[str, tuple[type[Value], *tuple[str, ...]]] = {
    "Graphic": (Graphic, "label"),
    "CloudInit": (CloudInit, "meta_data"),
    "Tpm": (Tpm,),
}


def value(kind: str, field: str) -> Raw:
    """What a field of this annotation may be given as."""
    kind = kind.removesuffix(" | None")
    if kind in OF:
        return OF[kind]
    if kind == "str":
        return text(field)
    if kind == "int":
        return whole(field)
    if kind in ("Qemu", "Bhyve"):
        return table(Qemu if kind == "Qemu" else Bhyve)
    if kind in REMOVABLE:
        return st.just(False) | table(*REMOVABLE[kind])
    element = kind.removeprefix("tuple[").removesuffix(", ...]")
    return st.lists(value(element, field), max_size=3)


# what keys of one device exclude or ask of each other

SECTORS = choice({}, {"logical_sector_size": 4096, "physical_sector_size": 8192})
NIC_ENDS: Raw = (
    st.just(EMPTY)
    | st.fixed_dictionaries({"name": INTERFACES.map(lambda name: f"tap{name}"[:15])})
    | st.fixed_dictionaries({"bridge": INTERFACES}, optional={"name": INTERFACES})
    | st.fixed_dictionaries({"network": LABELS, "type": choice("tap")})
    | st.fixed_dictionaries({"host-interface": INTERFACES}, optional={"type": choice("macvtap")})
    | st.fixed_dictionaries({"type": choice("user"), "forward": st.lists(OF["Forward"])})
    | st.fixed_dictionaries({"name": choice("vale0:x", "netmap:em0", "netgraph0")})
)
ENDS = ("name", "type", "bridge", "network", "host_interface", "forward")
SIZES = ("logical_sector_size", "physical_sector_size")


@cache
def device(kind: str, *others: str) -> Raw:
    """The verbose tables of one kind of device, without a label and without other fields."""
    cls = KINDS[kind]
    needs: Raw = st.just(EMPTY)
    without: tuple[str, ...] = ()
    if issubclass(cls, Nic):
        needs, without = NIC_ENDS, ENDS
    elif issubclass(cls, Nvme):
        needs, without = choice({"path": "nvme.img"}, {"ram": 64}), ("path", "ram")
    elif issubclass(cls, Passthru):
        lookup = {"vendor": "0x10de1b80", "device": "0x10de1b80"}
        needs, without = choice({"src": "1:0:0"}, {"lookup": lookup}), ("src", "lookup")
    elif "logical_sector_size" in cls.fields:
        needs, without = SECTORS, SIZES
    return st.builds(
        joined, st.just({"device": kind}), table(cls, "label", *without, *others), needs
    )


def joined(*tables: Table) -> Table:
    return {key: item for one in tables for key, item in one.items()}


DEVICES: Raw = st.sampled_from(sorted(KINDS)).flatmap(device)


def devices(most: int = 5) -> Raw:
    """Lists of devices, some of them labelled."""
    labelled = st.tuples(DEVICES, st.booleans())
    return st.lists(labelled, max_size=most).map(
        lambda items: [
            one | ({"label": f"own{number}"} if named else {})
            for number, (one, named) in enumerate(items)
        ]
    )


PLAIN = ("name", "emulations", "graphic", "kernel", "initrd", "cmdline", "varfile", "bootrom")


@cache
def machine(most: int = 5) -> Raw:
    """The tables of a machine: what a base has, and a target."""
    plain = table(Machine, *PLAIN, *BASE_ONLY, "next_target", "lpc_slot", "com1")
    more: dict[str, Raw] = {
        "graphic": value("Graphic", "graphic"),
        "com1": choice("stdio", "socket"),
        "lpc_slot": st.integers(0, 31),
        "emulations": devices(most),
    }
    return st.builds(
        joined,
        plain,
        st.fixed_dictionaries({}, optional=more),
        st.fixed_dictionaries({"kernel": PATHS}, optional={"initrd": PATHS, "cmdline": TEXTS})
        | st.just(EMPTY),
        st.fixed_dictionaries({"bootrom": OF["FirmwarePath"]}, optional={"varfile": PATHS})
        | st.just(EMPTY),
    )


TARGETS: Raw = st.dictionaries(LABELS, machine(2), max_size=2)


@st.composite
def tables(draw: Callable[[Raw], Any]) -> Table:
    """The native tables of a good description."""
    base: Table = draw(machine())
    base |= draw(choice({}, {"name": "given"}))
    base |= draw(choice({}, {"autostart": True, "autostart_order": -3}))
    targets: dict[str, Table] = draw(TARGETS)
    labels = [one["label"] for one in base.get("emulations", []) if "label" in one]
    for one in (base, *targets.values()):
        one |= draw(choice({}, {"next_target": draw(choice("default", *targets))}))
    for one in targets.values():
        one |= draw(choice({}, {"remove": labels}, {"remove": []}))
    _part_ports([base, *targets.values()])
    return base | ({"targets": targets} if targets else {})


def _part_ports(machines: list[Table]) -> None:
    """Gives each forward a port of the host that no other one has."""
    port = 1024
    for card in [card for one in machines for card in one.get("emulations", [])]:
        for place, forward in enumerate(card.get("forward", [])):
            port += 1
            *protocol, _, guest_port = forward.split(":")
            card["forward"][place] = ":".join([*protocol, str(port), guest_port])


CONTEXTS = st.builds(
    Context,
    file=st.just("web.toml"),
    name=st.just("web"),
    folder=choice("", "vms", "../vms", "/home/u/vm"),
    user=choice("u", ""),
    home=choice("/home/u", ""),
    confdir=st.just("/home/u/vm"),
)


# --- what breaks ---------------------------------------------------------------------------------

EMPTY_LIST: list[Any] = []
ODD = choice(
    None, True, -1, 0, 2**70, 1.5, float("nan"), "", "x", "\0", "%", "%(none)", "%(", "a" * 5000,
    EMPTY_LIST, [EMPTY_LIST], EMPTY, {"": 1}, [EMPTY], {"a": {"b": EMPTY}}, "uefi", "0:0:0",
    "\ud800", "\x1b[2J", -(2**63),
)  # fmt: skip


@st.composite
def broken(draw: Callable[[Raw], Any], good: Table) -> Table:
    """Tables in which one to three things were changed, anywhere."""
    found: Table = _copy(good)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(found))
        if places:
            _break(draw, *draw(st.sampled_from(places)))
    return found


def _break(draw: Callable[[Raw], Any], holder: Any, key: Any) -> None:
    match draw(st.integers(0, 4)):
        case 0:
            del holder[key]
        case 1 if isinstance(key, str):
            name = draw(st.text(max_size=4) | choice(f"{key}x", key.replace("_", "-")))
            holder[name] = holder.pop(key)
        case 2:
            holder[key] = [holder[key]]
        case 3 if isinstance(key, str):
            holder[draw(WORDS)] = _copy(holder[key])
        case _:
            holder[key] = _copy(draw(ODD))


def _places(found: Any) -> list[tuple[Any, Any]]:
    keys: list[Any] = []
    if is_table(found):
        keys = [*found]
    elif is_list(found):
        keys = [*range(len(found))]
    return [
        *((found, key) for key in keys),
        *(place for key in keys for place in _places(found[key])),
    ]


def _copy(found: Any) -> Any:
    if is_table(found):
        return {key: _copy(item) for key, item in found.items()}
    return [_copy(item) for item in found] if is_list(found) else found
