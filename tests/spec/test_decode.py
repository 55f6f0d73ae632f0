# ruff: noqa: E501  a row of a table is one line
"""What is wrong with a description, in the words that a person reads."""

import pytest

from vm_spec import Context, VmError, loads
from vm_spec.frozen import replace

CONTEXT = Context(file="web.toml", name="web", user="u", home="/home/u")
DISK = '[[emulations]]\ndevice = "virtio-blk"\n'

MACHINE: list[tuple[str, str]] = [
    ('memroy = "1G"', "web.toml:1: memroy: is not a known key\n  hint: did you mean mem?"),
    ("zzzzzz = 1", "web.toml:1: zzzzzz: is not a known key"),
    ("utc_clock = 1", "web.toml:1: utc_clock: must be true or false"),
    ("stop_timeout = true", "web.toml:1: stop_timeout: must be a whole number"),
    ("stop_timeout = 1.0", "web.toml:1: stop_timeout: must be a whole number"),
    ('stop_timeout = "1"', "web.toml:1: stop_timeout: must be a whole number"),
    ("stop_timeout = 86401", "web.toml:1: stop_timeout: must be 0 to 86400"),
    ("cmdline = 1", "web.toml:1: cmdline: must be a text"),
    ("cpu = 0", "web.toml:1: cpu.cores: must be 1 to 1024"),
    ("cpu = true", "web.toml:1: cpu: must be a table of keys and values"),
    ("cpu = { core = 1 }", "web.toml:1: cpu.core: is not a known key\n  hint: did you mean cores?"),
    ("mem = 1.5", 'web.toml:1: mem: must be a size such as "512M" or "2G", or a number of bytes'),
    ("mem = 0", "web.toml:1: mem: must be at least 1 byte and less than 8 EiB"),
    ("reboot_on = 0", "web.toml:1: reboot_on: must be a list"),
    ('name = "a/b"', "web.toml:1: name: must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"),
    ('com1 = "tty"', 'web.toml:1: com1: must be "stdio", "socket", "nmdm" or a device\'s absolute path'),
    ('com1 = "stdio"\ncom2 = "stdio"', 'web.toml:1: com1: only one serial port can be "stdio"'),
    ('initrd = "a"', "web.toml:1: initrd: needs a kernel\n  hint: add kernel = PATH"),
    ('varfile = "a"', 'web.toml:1: varfile: needs a bootrom\n  hint: add bootrom = "uefi", or the path of the firmware'),
    ('lpc_slot = "1:0:0"', "web.toml:1: lpc_slot: must be on bus 0"),
    ("utc_clock = true\nutc-clock = true", "web.toml:2: utc-clock: is given twice, as utc_clock too"),
    ("emulations = 1", "web.toml:1: emulations: must be a list of tables: [[emulations]]"),
    ("emulations = [1]", "web.toml:1: emulations[0]: must be a table of keys and values"),
    ("disk = 1", "web.toml:1: disk: must be named: [disk.NAME]"),
    ("targets = 1", "web.toml:1: targets: must be named: [targets.NAME]"),
    ("[targets]\na = 1", "web.toml:2: targets.a: must be a table of keys and values"),
    ('next_target = "a"', "web.toml:1: next_target: there is no target a\n  hint: targets are: default"),
    ('[targets.t]\nremove = ["x"]', "web.toml:2: targets.t.remove: no device of the base has the label x\n  hint: labels are: none"),
    ("[targets.t]\nremove = [1]", "web.toml:2: targets.t.remove: must be a list of labels"),
    ('[targets.t]\nname = "x"', "web.toml:2: targets.t.name: is for the base only, not for a target"),
    ("[targets.t]\nautostart-order = 1", "web.toml:2: targets.t.autostart-order: is for the base only, not for a target"),
    ("autostart = 1", "web.toml:1: autostart: must be true or false"),
    ("autostart_order = 1001", "web.toml:1: autostart_order: must be -1000 to 1000"),
    ('[targets."1 2"]', "web.toml:1: targets.1 2: must be 1 to 48 letters, digits, '.', '_' or '-', the first a letter"),
    ("[qemu]\ncpus = 1", "web.toml:2: qemu.cpus: is not a known key\n  hint: did you mean cpu?"),
    ("[bhyve.config]\na = [1]", "web.toml:1: bhyve.config: a: must be a text, a number, true or false"),
    ("[bhyve.config]\na = nan", "web.toml:1: bhyve.config: a: must be a text, a number, true or false"),
    ('[bhyve.config]\n"a.b" = 1\na = { b = 2 }', "web.toml:1: bhyve.config: has a key twice, once with a dot"),
    ('[bhyve.config]\n"a=b" = 1', "web.toml:1: bhyve.config: a=b: must be the name of a property"),
    ("[qemu]\nargs = 'a \"b'", "web.toml:2: qemu.args: No closing quotation"),
    ("graphic = true", "graphic:\n  web.toml:1: graphic: must be a table of keys and values"),
    ('[graphic]\npassword = "123456789"', "graphic:\n  web.toml:2: graphic.password: must be at most 8 bytes"),
    ("mem = ", "web.toml:1: is not TOML: Invalid value"),
    ("mem = 1\nmem = 2", "web.toml:2: is not TOML: Cannot overwrite a value"),
]  # fmt: skip

DEVICES: list[tuple[str, str]] = [
    ("[[emulations]]", "web.toml:1: emulations[0].device: is missing\n  hint: name the device, for instance virtio-blk"),
    (DISK, "virtio-blk virtio-blk-0:\n  web.toml:1: emulations[0].path: is missing"),
    ('[[emulations]]\ndevice = "virtio-blc"', "virtio-blc virtio-blc-0:\n  web.toml:2: emulations[0].device: is not a known device\n    hint: did you mean virtio-blk?"),
    ('[[emulations]]\ndevice = "fbuf"', "fbuf fbuf-0:\n  web.toml:2: emulations[0].device: is not a device here\n    hint: a screen is described by [graphic]"),
    (f'{DISK}path = 1', "virtio-blk virtio-blk-0:\n  web.toml:3: emulations[0].path: must be a path"),
    (f'{DISK}path = "a"\nslot = 32', "virtio-blk virtio-blk-0:\n  web.toml:4: emulations[0].slot: must be a PCI slot: 0 to 31, or slot:function, or bus:slot:function"),
    (f'{DISK}path = "a"\nlabel = "1"', "virtio-blk 1:\n  web.toml:4: emulations[0].label: must be 1 to 48 letters, digits, '.', '_' or '-', the first a letter"),
    (f'{DISK}path = "a"\nlogical_sector_size = 513', "virtio-blk virtio-blk-0:\n  web.toml:1: emulations[0]: logical_sector_size must be a power of two"),
    ('[disk.a]\npath = "a"\n[net.a]', "virtio-net a:\n  web.toml:3: net.a: has a label that another device has too"),
    ('[cd.a]\ndevice = "nvme"\npath = "a"', "web.toml:2: cd.a.device: does not stand for a cd\n  hint: a cd is one of: ahci-cd, virtio-scsi, drive"),
    ('[disk.a]\ndevice = "nvme"', "nvme a:\n  web.toml:1: disk.a: needs either path or ram"),
    ('[net.a]\nbridge = "br0"\nforward = ["1:1"]', "virtio-net a:\n  web.toml:1: net.a: forward is for user networking, and this card is a tap\n    hint: take away forward, or name, bridge and type"),
    ('[net.a]\nbridge = "br0"\nhost-interface = "eno1"', "virtio-net a:\n  web.toml:1: net.a: has both a bridge and a host-interface\n    hint: keep one of them"),
    ('[net.a]\ntype = "vale"', "virtio-net a:\n  web.toml:1: net.a: needs a name: the host's vale port"),
    ('[net.a]\nname = "vale0:x"\ntype = "tap"', "virtio-net a:\n  web.toml:1: net.a: has the name of a port, vale0:x, and is a tap"),
    ('[net.a]\nmac = "01:00:00:00:00:00"', "virtio-net a:\n  web.toml:2: net.a.mac: must be a unicast Ethernet address such as 02:00:5e:10:00:01"),
    ('[[emulations]]\ndevice = "passthru"', "passthru passthru-0:\n  web.toml:1: emulations[0]: needs either src or lookup"),
    ('[[emulations]]\ndevice = "virtio-console"\nports = []', "virtio-console virtio-console-0:\n  web.toml:3: emulations[0].ports: must be a list of 1 to 16 socket paths, or a table of name = path"),
    ('[graphic]\n[disk.graphic]\npath = "a"', "virtio-blk graphic:\n  web.toml:2: disk.graphic: has the label of the screen's own\n    hint: choose another label"),
    ('[targets.t.disk.a]', "virtio-blk a:\n  web.toml:1: targets.t.disk.a.path: is missing"),
]  # fmt: skip


def refusal(text: str, context: Context = CONTEXT) -> str:
    with pytest.raises(VmError) as caught:
        loads(text, context)
    return str(caught.value)


@pytest.mark.parametrize(("text", "report"), MACHINE + DEVICES)
def test_what_is_wrong_is_told_with_its_place_and_the_next_step(text: str, report: str) -> None:
    assert refusal(text) == report


def test_everything_is_told_at_once_grouped_by_device_the_machine_first() -> None:
    text = f'{DISK}pth = "a"\n[disk.b]\npath = ""\n[qemu]\nfoo = 1\n[targets.t]\nmem = "x"\n'
    assert refusal(f"memroy = 1\n{text}") == (
        "web.toml:1: memroy: is not a known key\n"
        "  hint: did you mean mem?\n"
        "web.toml:8: qemu.foo: is not a known key\n"
        'web.toml:10: targets.t.mem: must be a size such as "512M" or "2G", or a number of bytes\n'
        "virtio-blk virtio-blk-0:\n"
        "  web.toml:4: emulations[0].pth: is not a known key\n"
        "    hint: did you mean path?\n"
        "  web.toml:2: emulations[0].path: is missing\n"
        "virtio-blk b:\n"
        "  web.toml:6: disk.b.path: must be a path"
    )


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("", "web.toml:1: is not JSON: Expecting value"),
        ("[]", "web.toml:1: must be a table of keys and values"),
        ('{"mem": 1,\n "mem": 2}', "web.toml: mem: is given twice in one table"),
        ('{\n"mem": true}', 'web.toml:2: mem: must be a size such as "512M" or "2G", or a number of bytes'),
    ],
)  # fmt: skip
def test_json_is_judged_as_toml_is(text: str, report: str) -> None:
    assert refusal(text, replace(CONTEXT, syntax="json")) == report


@pytest.mark.parametrize("name", ["", "\x1b[2J", "a\nb", "\u202e"])
def test_what_is_shown_of_a_key_cannot_move_the_cursor(name: str) -> None:
    text = refusal(
        '{"' + name.encode("unicode_escape").decode().replace("\\x", "\\u00") + '": 1}',
        replace(CONTEXT, syntax="json"),
    )
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    "text",
    ['host-interface = "eno1"', 'host_interface = "eno1"'],
)
def test_a_hyphen_may_stand_for_an_underscore(text: str) -> None:
    plain = loads('[net.a]\nhost_interface = "eno1"', CONTEXT)
    assert loads(f"[net.a]\n{text}", CONTEXT) == plain
    assert loads("utc-clock = false", CONTEXT) == loads("utc_clock = false", CONTEXT)


def test_labels_are_made_from_kind_and_number_and_the_targets_name() -> None:
    text = f'{DISK}path = "a"\n{DISK}path = "b"\n[[targets.t.emulations]]\ndevice = "virtio-rnd"'
    found = loads(text, CONTEXT)
    assert [device.label for device in found.machine.emulations] == ["virtio-blk-0", "virtio-blk-1"]
    assert [device.label for device in found.targets[0].emulations] == ["t-virtio-rnd-0"]


def test_a_made_address_depends_on_user_machine_and_label_only() -> None:
    def mac(text: str, context: Context = CONTEXT) -> object:
        return [getattr(one, "mac", None) for one in loads(text, context).machine.emulations][-1]

    assert mac("[net.a]") == mac('[disk.d]\npath = "x"\n[net.a]\nbridge = "br0"')
    others = [
        mac("[net.b]"),
        mac('name = "x"\n[net.a]'),
        mac("[net.a]", replace(CONTEXT, user="v")),
    ]
    assert len({mac("[net.a]"), *others}) == 4


OVERRIDES: list[tuple[str, str, str]] = [
    ("mem", "1G", 'mem = "1G"'),
    ("mem", '"1G"', 'mem = "1G"'),
    ("cpu", "2", "cpu = 2"),
    ("cpu.cores", "2", "cpu = 2"),
    ("qemu.args", '["-x"]', 'qemu.args = ["-x"]'),
    ("utc_clock", "false", "utc_clock = false"),
    ("cmdline", "a=b c", 'cmdline = "a=b c"'),
]


@pytest.mark.parametrize(("key", "value", "text"), OVERRIDES)
def test_an_override_is_as_if_it_were_written(key: str, value: str, text: str) -> None:
    kernel = 'kernel = "k"\n'
    over = replace(CONTEXT, overrides=((key, value),))
    assert loads(kernel, over) == loads(kernel + text, CONTEXT)


def test_an_override_reaches_into_devices() -> None:
    text = f'{DISK}path = "a"\n[disk.b]\npath = "b"'
    over = (("emulations.0.path", "/x"), ("disk.b.path", "/y"), ("mem", "1G"), ("mem", "2G"))
    machine = loads(text, replace(CONTEXT, overrides=over)).machine
    assert [getattr(device, "path", "") for device in machine.emulations] == ["/x", "/y"]
    assert machine.mem.mib == 2048


@pytest.mark.parametrize(
    ("key", "value", "report"),
    [
        ("emulations.1.path", "x", "-o emulations.1.path: there are 1 of them, numbered from 0"),
        ("emulations.1", "x", "-o emulations.1: there are 1 of them, numbered from 0"),
        ("mem.x", "1", "-o mem.x: there is no such key"),
        ("", "1", "-o : there is no such key"),
        ("cpu", "[" * 5000, "web.toml: is nested too deeply"),
        (
            "mem",
            "1X",
            'web.toml:1: mem: must be a size such as "512M" or "2G", or a number of bytes',
        ),
    ],
)
def test_a_wrong_override_is_refused(key: str, value: str, report: str) -> None:
    text = f'mem = "1G"\n{DISK}path = "a"'
    assert refusal(text, replace(CONTEXT, overrides=((key, value),))) == report


def test_the_first_generation_of_vmrun_means_what_the_second_does() -> None:
    context = replace(CONTEXT, syntax="json")
    first = """{"emulations": [
        {"frontend": "virtio-net", "backend": "tap", "name": "tap3"},
        {"frontend": "virtio-blk", "device": "disk.img"}]}"""
    second = """{"emulations": [
        {"device": "virtio-net", "type": "tap", "name": "tap3"},
        {"device": "virtio-blk", "path": "disk.img"}]}"""
    assert loads(first, context) == loads(second, context)


def test_a_port_of_the_host_leads_to_one_place() -> None:
    text = '[net.a]\nforward = ["2222:22"]\n[net.b]\nforward = ["2222:22", "udp:2222:22"]\n'
    with pytest.raises(VmError) as caught:
        loads(text, CONTEXT)
    assert str(caught.value) == (
        "virtio-net b:\n  web.toml:3: net.b: forwards tcp port 2222\n"
        "    hint: a forwards it already: choose another port"
    )
