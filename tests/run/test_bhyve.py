"""From a placed machine to bhyve's argv; untested on FreeBSD."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from vm_import.bhyve_config import get
from vm_import.bhyve_model import Answer, answer
from vm_run.bhyve import arguments, argv
from vm_run.bhyve.config import config, flat, secret
from vm_run.pci_slots import Placed, place
from vm_run.resources import Resources
from vm_spec.devices import (
    E1000,
    AhciCd,
    AhciHd,
    AppleSmc,
    ConsolePort,
    Drive,
    DriveInterface,
    Emulation,
    Graphic,
    Hda,
    HexPair,
    ImageFormat,
    Lookup,
    Media,
    NicType,
    Nvme,
    OtherNic,
    Passthru,
    PortName,
    QemuWord,
    Raw,
    Trim,
    VgaMode,
    Virtio9p,
    VirtioBlk,
    VirtioConsole,
    VirtioInput,
    VirtioNet,
    VirtioRnd,
    VirtioScsi,
    Xhci,
)
from vm_spec.fault import VmError
from vm_spec.machine import (
    Bhyve,
    Com,
    Description,
    FirmwarePath,
    Gdb,
    HostBridge,
    LoaderName,
    Machine,
    Qemu,
    Tpm,
    TpmInterface,
    TpmType,
    Uuid,
)
from vm_spec.types import Cpu, FilePath, Forward, Label, Mac, PciId, PciSlot, Size, VmName

IT = Label("it")
ON = Label("graphic")
IMAGE = FilePath("disk.img")
PLAIN = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
CODE = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd"
LOOKUP = Lookup(vendor=HexPair("0x10de1b80"), device=HexPair("0x12345678"))


def placed(*emulations: Emulation, **fields: object) -> Placed:
    given = {"name": VmName("vm"), "emulations": emulations} | fields
    machine = Machine(**given)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return place(Description(machine=machine), machine)


def slots(machine: Placed, resources: Resources | None = None) -> list[str]:
    """What follows each -s, but for the bridges'."""
    words = argv(machine, resources or Resources())
    return [after for word, after in pairwise(words) if word == "-s"][2:]


def fault(machine: Placed) -> str:
    with pytest.raises(VmError) as raised:
        arguments(machine)
    return str(raised.value)


def known(found: Answer) -> dict[str, str]:
    """The configuration without the firmware's older names, which are in files only."""
    return {key: text for key, text in found.keys if not key.startswith("lpc.boot")}


def test_an_empty_machine_has_bridges_firmware_and_a_name() -> None:
    assert argv(placed()) == [
        "bhyve", "-A", "-H", "-u", "-c", "1", "-m", "256M",
        "-s", "0:0:0,hostbridge", "-s", "0:31:0,lpc",
        "-l", f"bootrom,{PLAIN}",
        "vm",
    ]  # fmt: skip


def test_the_program_is_the_one_that_was_named() -> None:
    assert argv(placed(), binary="/opt/bhyve")[0] == "/opt/bhyve"


FLAGS: list[tuple[str, bool, str]] = [
    ("generate_acpi", True, "-A"),
    ("wire_guest_mem", True, "-S"),
    ("yield_on_hlt", True, "-H"),
    ("force_msi", True, "-W"),
    ("disable_mptable_gen", True, "-Y"),
    ("utc_clock", True, "-u"),
    ("power_off_destroy_vm", True, "-D"),
]


@pytest.mark.parametrize(("field", "on", "flag"), FLAGS)
def test_a_flag_is_there_exactly_when_its_key_is_true(field: str, on: bool, flag: str) -> None:
    assert flag in argv(placed(**{field: on}))
    assert flag not in argv(placed(**{field: not on}))


def test_a_guest_never_leaves_its_processor_on_pause() -> None:
    assert "-P" not in argv(placed())


def test_acpi_is_turned_off_by_a_key_too_because_newer_bhyve_ignores_the_flag() -> None:
    assert argv(placed(generate_acpi=False))[-3:] == ["-o", "acpi_tables=false", "vm"]


@pytest.mark.parametrize(
    ("cpu", "shown"),
    [
        (Cpu(), "1"),
        (Cpu(sockets=4), "4"),
        (Cpu(cores=2), "cpus=2,sockets=1,cores=2,threads=1"),
        (Cpu(sockets=2, cores=2, threads=2), "cpus=8,sockets=2,cores=2,threads=2"),
    ],
)
def test_a_number_alone_means_sockets_and_all_else_is_spelled_out(cpu: Cpu, shown: str) -> None:
    words = argv(placed(cpu=cpu))
    assert words[words.index("-c") + 1] == shown


# bhyve(8), -m: a number below 1 MiB is a number of MiB
@pytest.mark.parametrize(
    ("memory", "shown"),
    [(1 << 20, "1M"), (512 << 20, "512M"), (4 << 40, "4T"), (1028 << 10, "1028K")],
)
def test_memory_is_told_in_its_largest_unit(memory: int, shown: str) -> None:
    words = argv(placed(mem=Size(bytes=memory)))
    assert words[words.index("-m") + 1] == shown


def test_more_processors_than_bhyve_can_count_are_refused() -> None:
    assert "at most 65535" in fault(placed(cpu=Cpu(sockets=128, cores=512)))


@pytest.mark.parametrize("memory", [1, 512 << 10, (1 << 20) + 1, (1 << 20) + 1024])
def test_memory_that_bhyve_cannot_set_up_is_refused(memory: int) -> None:
    assert "is not at least 1M in steps of 4K" in fault(placed(mem=Size(bytes=memory)))


def test_debugger_and_identity_are_given_as_they_are() -> None:
    words = argv(placed(gdb=Gdb("w1234"), uuid=Uuid("a5a5a5a5-0001-4002-8003-000000000001")))
    at = words.index("-G")
    assert words[at : at + 4] == ["-G", "w1234", "-U", "a5a5a5a5-0001-4002-8003-000000000001"]


def test_a_uuid_of_the_variant_that_bhyve_refuses_is_refused() -> None:
    machine = placed(uuid=Uuid("a5a5a5a5-0001-4002-F003-000000000001"))
    assert "uuid: bhyve refuses a UUID whose fourth group begins with e or f" in fault(machine)


@pytest.mark.parametrize(
    ("bootrom", "varfile", "shown"),
    [
        (None, None, f"bootrom,{PLAIN}"),
        (None, "v.fd", f"bootrom,{PLAIN},v.fd"),
        ("/ROM.fd", None, "bootrom,/ROM.fd"),
        ("uefi", None, f"bootrom,{CODE},./vm.vars.fd"),
        ("uefi", "/v.fd", f"bootrom,{CODE},/v.fd"),
    ],
)
def test_firmware_and_its_variables(bootrom: str | None, varfile: str | None, shown: str) -> None:
    words = argv(
        placed(
            bootrom=FirmwarePath(bootrom) if bootrom else None,
            varfile=FilePath(varfile) if varfile else None,
        )
    )
    assert words[words.index("-l") + 1] == shown


@pytest.mark.parametrize(
    ("com", "attached", "shown"),
    [
        ("stdio", True, "com2,stdio"),
        ("stdio", False, "com2,/dev/nmdm-vm.2A"),
        ("nmdm", True, "com2,/dev/nmdm-vm.2A"),
        ("socket", True, "com2,/dev/nmdm-vm.2A"),
        ("/dev/nmdm7A", True, "com2,/dev/nmdm7A"),
    ],
)
def test_a_serial_port_ends_at_the_terminal_or_a_null_modem(
    com: str, attached: bool, shown: str
) -> None:
    assert shown in argv(placed(com2=Com(com)), Resources(attached=attached))


def test_two_serial_ports_cannot_both_be_the_terminal() -> None:
    machine = placed(com1=Com("stdio"), com3=Com("stdio"))
    assert "stdio is the host's end of two serial ports" in fault(machine)


def test_the_bridges_sit_where_the_description_says() -> None:
    words = argv(placed(hostbridge=HostBridge("amd_hostbridge"), lpc_slot=PciSlot(slot=1)))
    assert words[8:12] == ["-s", "0:0:0,amd_hostbridge", "-s", "0:1:0,lpc"]


def test_the_isa_bridge_is_on_bus_0() -> None:
    assert "on bus 0 only" in fault(placed(lpc_slot=PciSlot(bus=1, slot=31)))


DEVICES: list[tuple[str, Emulation]] = [
    ("0:2:0,virtio-blk,disk.img", VirtioBlk(label=IT, path=IMAGE)),
    (
        "0:2:0,virtio-blk,disk.img,nocache,direct,ro,nodelete,sectorsize=512/4096,ser=S",
        VirtioBlk(
            label=IT,
            path=IMAGE,
            ro=True,
            nocache=True,
            direct=True,
            nodelete=True,
            physical_sector_size=4096,
            ser="S",
        ),
    ),
    (
        "0:2:0,virtio-blk,disk.img,sectorsize=4096",
        VirtioBlk(label=IT, path=IMAGE, logical_sector_size=4096),
    ),
    (
        "1:2:3,virtio-blk,disk.qcow2",
        VirtioBlk(
            label=IT,
            path=FilePath("disk.qcow2"),
            format=ImageFormat("raw"),
            slot=PciSlot(bus=1, slot=2, function=3),
        ),
    ),
    (
        "0:2:0,ahci-hd,disk.img,ser=S,nmrr=1,rev=R,model=M",
        AhciHd(label=IT, path=IMAGE, ser="S", nmrr=1, rev="R", model="M"),
    ),
    ("0:2:0,ahci-cd,x.iso,nmrr=0", AhciCd(label=IT, path=FilePath("x.iso"), nmrr=0)),
    (
        "0:2:0,nvme,disk.img,maxq=4,qsz=64,ioslots=8,sectsz=512,ser=N,"
        "eui64=0x1122334455667788,dsm=enable",
        Nvme(
            label=IT,
            path=IMAGE,
            maxq=4,
            qsz=64,
            ioslots=8,
            sectsz=512,
            ser="N",
            eui64=0x1122334455667788,
            dsm=Trim("enable"),
        ),
    ),
    ("0:2:0,nvme,ram=64", Nvme(label=IT, ram=64)),
    ("0:2:0,virtio-scsi,/dev/cam/ctl", VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl"))),
    ("0:10:0,virtio-net,tap3", VirtioNet(label=IT, name=PortName("tap3"))),
    (
        "0:10:0,virtio-net,vm0,type=tap,mac=02:00:00:00:00:01,mtu=9000",
        VirtioNet(label=IT, name=PortName("vm0"), mac=Mac("02:00:00:00:00:01"), mtu=9000),
    ),
    ("0:10:0,e1000,vale0", E1000(label=IT, name=PortName("vale0"))),
    ("0:10:0,e1000,vmnet0", E1000(label=IT, name=PortName("vmnet0"))),
    (
        "0:10:0,virtio-net,netgraph,path=br0:,peerhook=link2",
        VirtioNet(
            label=IT, name=PortName("netgraph"), bhyve=(("path", "br0:"), ("peerhook", "link2"))
        ),
    ),
    ("0:10:0,virtio-net,slirp,open", VirtioNet(label=IT)),
    (
        "0:10:0,virtio-net,slirp,open,hostfwd=tcp:127.0.0.1:2222-:22;udp:0.0.0.0:53-:53",
        VirtioNet(
            label=IT,
            type=NicType("user"),
            forward=(
                Forward(port=2222, guest_port=22),
                Forward(protocol="udp", address="0.0.0.0", port=53, guest_port=53),  # noqa: S104
            ),
        ),
    ),
    (
        "0:22:0,virtio-console,port1=/a.sock,log=/b.sock",
        VirtioConsole(
            label=IT,
            ports=(
                ConsolePort(name=Label("port1"), path=FilePath("/a.sock")),
                ConsolePort(name=Label("log"), path=FilePath("/b.sock")),
            ),
        ),
    ),
    (
        "0:22:0,virtio-9p,share=/srv,ro",
        Virtio9p(label=IT, sharename=Label("share"), path=FilePath("/srv"), ro=True),
    ),
    ("0:22:0,virtio-rnd", VirtioRnd(label=IT)),
    (
        "0:22:0,virtio-input,/dev/input/event0",
        VirtioInput(label=IT, path=FilePath("/dev/input/event0")),
    ),
    ("0:22:0,xhci,tablet", Xhci(label=IT)),
    ("0:22:0,xhci", Xhci(label=IT, tablet=False)),
    ("0:22:0,hda", Hda(label=IT)),
    (
        "0:22:0,hda,play=/dev/dsp0,rec=/dev/dsp1",
        Hda(label=IT, play=FilePath("/dev/dsp0"), rec=FilePath("/dev/dsp1")),
    ),
    ("0:18:0,passthru,1/0/0", Passthru(label=IT, src=PciId(bus=1, slot=0, function=0))),
    (
        "0:18:0,passthru,16/31/7,rom=/rom",
        Passthru(label=IT, src=PciId.parse("10:1f.7"), rom=FilePath("/rom")),
    ),
    ("0:18:0,passthru,lookup:0x10de1b80:0x12345678", Passthru(label=IT, lookup=LOOKUP)),
    ("0:22:0,uart,/dev/nmdm0A", Raw(label=IT, value="uart,/dev/nmdm0A")),
    ("0:22:0,virtio-gpu,a=1,b", Raw(label=IT, value="virtio-gpu,a=1,b")),
    (
        "0:2:0,virtio-blk,disk.img,bootindex=1,sync=true,ro=false",
        VirtioBlk(label=IT, path=IMAGE, bhyve=(("bootindex", 1), ("sync", True), ("ro", False))),
    ),
    ("0:2:0,virtio-blk,disk.img", VirtioBlk(label=IT, path=IMAGE, qemu=(("x", 1),))),
    (r"0:2:0,virtio-blk,/100\%", VirtioBlk(label=IT, path=FilePath("/100%"))),
]


@pytest.mark.parametrize(("shown", "device"), DEVICES, ids=[shown for shown, _ in DEVICES])
def test_a_device_in_bhyves_words(shown: str, device: Emulation) -> None:
    assert slots(placed(device)) == [shown]


def test_a_device_that_was_looked_up_is_told_by_bhyves_decimal_address() -> None:
    machine = placed(Passthru(label=IT, lookup=LOOKUP))
    assert slots(machine, Resources(pci={"it": "0000:0a:00.1"})) == ["0:18:0,passthru,10/0/1"]


# bhyve: passthru requires guest memory to be wired
@pytest.mark.parametrize(
    "device",
    [
        Passthru(label=IT, src=PciId(bus=1, slot=0, function=0)),
        Raw(label=IT, value="passthru,1/0/0"),
    ],
)
def test_passing_a_device_through_wires_the_memory(device: Emulation) -> None:
    wired = [one for one in arguments(placed(device)) if one.words == ("-S",)]
    assert [one.key for one in wired] == ["emulations (it)"]


@pytest.mark.parametrize(
    ("device", "option"),
    [
        (VirtioRnd(label=IT, bhyve=(("pcireg.vendor", "0x1af4"),)), "pcireg.vendor=0x1af4"),
        (Hda(label=IT, bhyve=(("rec", "/a,b"),)), "rec=/a,b"),
        (
            Xhci(label=IT, tablet=False, bhyve=(("slot.2.device", "tablet"),)),
            "slot.2.device=tablet",
        ),
    ],
)
def test_a_key_that_a_slot_cannot_carry_is_an_option_of_its_own(
    device: Emulation, option: str
) -> None:
    assert slots(placed(device)) == [f"0:22:0,{device.kind}"]
    assert argv(placed(device))[-3:] == ["-o", f"pci.0.22.0.{option}", "vm"]


def test_a_screen_and_its_tablet() -> None:
    screen = Graphic(label=ON, width=1920, height=1080, vga=VgaMode("off"))
    assert slots(placed(graphic=screen)) == [
        "0:28:0,fbuf,tcp=127.0.0.1:5900,w=1920,h=1080,vga=off",
        "0:29:0,xhci,tablet",
    ]


def test_a_screen_that_waits_behind_a_password_which_is_in_a_file() -> None:
    screen = Graphic(label=ON, host="::1", port=5901, wait=True, password="pw", xhci_table=False)
    machine, resources = placed(graphic=screen), Resources(state="/run/vm")
    assert slots(machine) == ["0:28:0,fbuf,tcp=[::1]:5901,w=1024,h=768,wait"]
    assert argv(machine, resources)[-3:] == ["-k", "/run/vm/secret.conf", "vm"]
    assert secret(machine, resources) == "pci.0.28.0.password=pw\n"
    assert not [word for word in argv(machine, resources) if "pw" in word]


@pytest.mark.parametrize(
    "fields",
    [
        {"graphic": Graphic(label=ON, password="s3cret")},
        {"graphic": Graphic(label=ON, bhyve=(("password", "s3cret"),))},
        {"graphic": Graphic(label=ON), "bhyve": Bhyve(config=(("pci.0.28.0.password", "s3cret"),))},
    ],
)
def test_no_password_is_ever_a_word_of_the_command_line(fields: dict[str, object]) -> None:
    machine = placed(**fields)
    words = argv(machine)
    assert "-k" in words
    assert not [word for word in words if "s3cret" in word]
    assert secret(machine) == "pci.0.28.0.password=s3cret\n"


def test_a_password_in_a_raw_device_is_refused_and_not_repeated() -> None:
    report = fault(placed(Raw(label=IT, value="fbuf,tcp=127.0.0.1:5900,password=s3cret")))
    assert "ps(1)" in report
    assert "s3cret" not in report


def test_without_a_password_no_file_is_named() -> None:
    machine = placed(graphic=Graphic(label=ON))
    assert "-k" not in argv(machine)
    assert secret(machine) == ""


def test_a_vm_that_goes_with_its_bhyve_is_in_monitor_mode() -> None:
    assert argv(placed(), Resources(monitor=True))[1] == "-M"
    assert "-M" not in argv(placed())


@pytest.mark.parametrize(
    ("tpm", "shown"),
    [
        (Tpm(path=FilePath("/vm/vm.tpm")), "tpm,swtpm,/run/vm/swtpm.sock"),
        (Tpm(type=TpmType("passthru"), path=FilePath("/dev/tpm1")), "tpm,passthru,/dev/tpm1"),
        (Tpm(type=TpmType("passthru")), "tpm,passthru,/dev/tpm0"),
    ],
)
def test_a_tpm_hangs_on_the_isa_bridge(tpm: Tpm, shown: str) -> None:
    words = argv(placed(tpm=tpm), Resources(state="/run/vm"))
    assert words[words.index(shown) - 1] == "-l"


def test_a_tpm_by_its_keys_has_a_version_or_bhyve_would_crash() -> None:
    machine = placed(tpm=Tpm())
    assert config(machine, Resources(state="/run/vm"))[-4:-1] == [
        ("tpm.type", "swtpm"), ("tpm.path", "/run/vm/swtpm.sock"), ("tpm.version", "2.0"),
    ]  # fmt: skip
    words = argv(machine, Resources(state="/run/a,b"))
    assert words[-3:] == ["-o", "tpm.version=2.0", "vm"]
    assert "tpm.path=/run/a,b/swtpm.sock" in words


def test_bhyve_has_one_interface_of_a_tpm() -> None:
    report = fault(placed(tpm=Tpm(interface=TpmInterface("tis"))))
    assert report == ('tpm.interface: bhyve\'s TPM has no interface tis\n  hint: interface = "crb"')


@pytest.mark.parametrize("loader", ["bhyveload", "grub-bhyve", "none"])
def test_a_loader_stands_for_the_firmware(loader: str) -> None:
    machine = placed(bhyve=Bhyve(loader=LoaderName(loader)), com1=Com("stdio"))
    assert [word for word in argv(machine) if "bootrom" in word] == []
    assert [key for key, _ in config(machine) if "bootrom" in key] == []


def test_a_loader_and_a_bootrom_exclude_each_other() -> None:
    machine = placed(bhyve=Bhyve(loader=LoaderName("bhyveload")), bootrom=FirmwarePath("uefi"))
    assert fault(machine) == (
        "bhyve.loader: bhyveload and a bootrom cannot both start the guest\n"
        "  hint: take away bhyve.loader, or bootrom"
    )


@pytest.mark.parametrize(
    ("bhyve", "said"),
    [
        (Bhyve(loader_disk=FilePath("a")), "bhyve.loader_disk: is for bhyveload and grub-bhyve"),
        (Bhyve(loader_args=("-v",)), "bhyve.loader_args: is for bhyveload and grub-bhyve"),
        (
            Bhyve(loader=LoaderName("bhyveload"), grub_root="hd0"),
            "bhyve.grub_root: is for grub-bhyve, and loader is bhyveload",
        ),
        (
            Bhyve(grub_commands=("boot",)),
            "grub_commands: is for grub-bhyve, and loader is left out",
        ),
    ],
)
def test_what_is_for_a_loader_that_is_not_there_is_refused(bhyve: Bhyve, said: str) -> None:
    assert said in fault(placed(bhyve=bhyve))


@pytest.mark.parametrize("gdb", ["0", "w70000", "127.0.0.1:99999"])
def test_a_debugger_has_a_port(gdb: str) -> None:
    assert "is not a port: 1 to 65535" in fault(placed(gdb=Gdb(gdb)))


def test_devices_come_in_the_order_of_their_slots() -> None:
    machine = placed(
        VirtioNet(label=Label("net0"), name=PortName("tap0")),
        VirtioRnd(label=Label("rnd0"), slot=PciSlot(bus=1, slot=1)),
        VirtioBlk(label=Label("disk0"), path=IMAGE),
        graphic=Graphic(label=ON, xhci_table=False),
    )
    assert [word.split(",")[0] for word in slots(machine)] == [
        "0:2:0", "0:10:0", "0:28:0", "1:1:0",
    ]  # fmt: skip


def test_the_users_own_words_come_last_before_the_name() -> None:
    machine = placed(
        bhyve=Bhyve(
            args=("-w", "-x"), config=(("x86.strictmsr", False), ("system.sku", "b,%(name)"))
        ),
        extra_options=("-p", "0:1"),
        qemu=Qemu(args=("-never",)),
    )
    assert argv(machine)[-9:] == [
        "-o", "x86.strictmsr=false", "-o", "system.sku=b,%(name)", "-w", "-x", "-p", "0:1", "vm",
    ]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("a", ""), ("", "b"), ("a=b", "c"), ("#a", "b")])
def test_a_key_that_bhyve_would_not_take_is_refused(key: str, value: str) -> None:
    assert fault(placed(bhyve=Bhyve(config=((key, value),))))
    assert "virtio-rnd it" in fault(placed(VirtioRnd(label=IT, bhyve=((key, value),))))


def test_each_argument_knows_the_key_that_it_comes_from() -> None:
    machine = placed(
        Hda(label=Label("sound0"), rec=FilePath("/a,b")),
        com1=Com("stdio"),
        graphic=Graphic(label=ON, password="pw"),
        bhyve=Bhyve(args=("-w",)),
        extra_options=("-x",),
    )
    assert [one.key for one in arguments(machine)] == [
        "generate_acpi", "yield_on_hlt", "utc_clock", "cpu", "mem", "hostbridge", "lpc_slot",
        "emulations (sound0)", "graphic", "graphic.xhci_table", "bootrom", "com1",
        "graphic.password", "emulations (sound0)", "bhyve.args", "extra_options", "name",
    ]  # fmt: skip


# vmrun's README, first and second generation: both are this machine
SEED = (
    VirtioNet(label=Label("net0"), name=PortName("tap3")),
    VirtioBlk(label=Label("disk0"), path=FilePath("disk.img")),
)
SEED_CD = AhciCd(label=Label("cd0"), path=FilePath("FreeBSD-13.0-RELEASE-amd64-disc1.iso"))
VMRUN = [
    "-A", "-H", "-u", "-c", "2", "-m", "512M",
    "-s", "0:0:0,hostbridge", "-s", "0:31:0,lpc",
    "-s", "0:1:0,virtio-net,tap3", "-s", "0:2:0,virtio-blk,disk.img",
    "-l", f"bootrom,{PLAIN}", "-l", "com1,stdio",
    "freebsd-test",
]  # fmt: skip
VMRUN_INSTALL = [*VMRUN[:15], "-s", f"0:3:0,ahci-cd,{SEED_CD.path}", *VMRUN[15:]]


def without_slot_numbers(words: list[str]) -> list[str]:
    return sorted(word.partition(",")[2] if word.startswith("0:") else word for word in words)


@pytest.mark.parametrize(
    ("emulations", "vmrun"), [(SEED, VMRUN), ((*SEED, SEED_CD), VMRUN_INSTALL)]
)
def test_vmruns_example_starts_what_vmrun_started(
    emulations: tuple[Emulation, ...], vmrun: list[str]
) -> None:
    """Up to slot numbers and the devices' order.

    Two words differ: vmrun added `,type=tap`, which the name says, and wrote `-c 2`, which is two
    sockets; a number of processors is that many cores here, as on QEMU.
    """
    words = argv(
        placed(
            *emulations,
            name=VmName("freebsd-test"),
            cpu=Cpu(cores=2),
            mem=Size.parse("512M"),
            com1=Com("stdio"),
            bootrom=FirmwarePath(PLAIN),
        )
    )[1:]
    words[words.index("-c") + 1] = "2"
    assert without_slot_numbers(words) == without_slot_numbers(vmrun)


LACKING: list[tuple[str, Emulation]] = [
    ("bhyve reads raw images only", VirtioBlk(label=IT, path=FilePath("a.qcow2"))),
    ("qemu-img convert -O raw a.vmdk a.raw", AhciHd(label=IT, path=FilePath("a.vmdk"))),
    ("bhyve reads raw images only", Nvme(label=IT, path=IMAGE, format=ImageFormat("vdi"))),
    ("has neither a path nor ram", Nvme(label=IT)),
    ("CAM target layer", VirtioScsi(label=IT, path=IMAGE)),
    (
        "cannot be read-only on bhyve",
        VirtioScsi(label=IT, path=FilePath("/dev/cam/ctl"), ro=True),
    ),
    ("use virtio-blk or ahci-hd", Drive(label=IT, path=IMAGE)),
    (
        "use ahci-cd",
        Drive(label=IT, path=IMAGE, media=Media("cdrom"), interface=DriveInterface("pflash")),
    ),
    ("bhyve has no such card", OtherNic(label=IT, model=QemuWord("rtl8139"))),
    ("macvtap is Linux only", VirtioNet(label=IT, type=NicType("macvtap"))),
    ("has no name for its tap", VirtioNet(label=IT, type=NicType("tap"))),
    ("netgraph needs a path and a peerhook", VirtioNet(label=IT, name=PortName("netgraph0"))),
    (
        "forward is user networking's",
        VirtioNet(label=IT, name=PortName("tap0"), forward=(Forward(port=1, guest_port=1),)),
    ),
    ("has no mtu on bhyve", E1000(label=IT, name=PortName("tap0"), mtu=9000)),
    ("bhyve has no such device", AppleSmc(label=IT, osk="x")),
    ("has neither src nor lookup", Passthru(label=IT)),
    (
        "is in PCI domain 1, and bhyve knows domain 0 only",
        Passthru(label=IT, src=PciId(domain=1, bus=1, slot=0, function=0)),
    ),
    ("has 0 ports", VirtioConsole(label=IT, ports=())),
    (
        "has 17 ports",
        VirtioConsole(
            label=IT,
            ports=tuple(ConsolePort(name=Label(f"p{n}"), path=IMAGE) for n in range(17)),
        ),
    ),
]


@pytest.mark.parametrize(("problem", "device"), LACKING)
def test_what_bhyve_has_not_is_refused_with_a_next_step(problem: str, device: Emulation) -> None:
    report = fault(placed(device))
    assert report.startswith(f"{device.kind} it:\n")
    assert problem in report
    assert "\n    hint: " in report


COMMAS: list[tuple[Emulation, list[str]]] = [
    (
        VirtioBlk(label=IT, path=FilePath("/a,b.img"), ro=True),
        ["-o", "device=virtio-blk", "-o", "path=/a,b.img", "-o", "ro=true"],
    ),
    (
        VirtioBlk(label=IT, path=IMAGE, ser="a,b", ro=True),
        ["-s", "virtio-blk,disk.img,ro", "-o", "ser=a,b"],
    ),
    (
        AhciCd(label=IT, path=FilePath("a,b")),
        ["-o", "device=ahci", "-o", "port.0.type=cd", "-o", "port.0.path=a,b"],
    ),
    (
        AhciHd(label=IT, path=IMAGE, model="a,b"),
        ["-s", "ahci-hd,disk.img", "-o", "port.0.model=a,b"],
    ),
    (Nvme(label=IT, path=FilePath("a,b")), ["-o", "device=nvme", "-o", "path=a,b"]),
    (Nvme(label=IT, path=FilePath("ram=a")), ["-o", "device=nvme", "-o", "path=ram=a"]),
    (
        VirtioScsi(label=IT, path=FilePath("/dev/cam/a,b")),
        ["-o", "device=virtio-scsi", "-o", "target.0=/dev/cam/a,b", "-o", "dev=/dev/cam/a,b"],
    ),
    (
        Virtio9p(label=IT, sharename=Label("s"), path=FilePath("/a,b")),
        ["-o", "device=virtio-9p", "-o", "sharename=s", "-o", "path=/a,b"],
    ),
    (
        VirtioConsole(
            label=IT,
            ports=(
                ConsolePort(name=Label("p"), path=FilePath("/c")),
                ConsolePort(name=Label("q"), path=FilePath("/a,b")),
            ),
        ),
        [
            *("-o", "device=virtio-console", "-o", "port.0.name=p", "-o", "port.0.path=/c"),
            *("-o", "port.1.name=q", "-o", "port.1.path=/a,b"),
        ],
    ),
    (
        VirtioInput(label=IT, path=FilePath("/a,b")),
        ["-o", "device=virtio-input", "-o", "path=/a,b"],
    ),
    (Hda(label=IT, play=FilePath("/a,b")), ["-s", "hda", "-o", "play=/a,b"]),
    (
        Passthru(label=IT, src=PciId(bus=1, slot=0, function=0), rom=FilePath("/a,b")),
        ["-s", "passthru,1/0/0", "-o", "rom=/a,b"],
    ),
]


@pytest.mark.parametrize(("device", "said"), COMMAS, ids=[" ".join(said) for _, said in COMMAS])
def test_what_a_slot_would_split_goes_out_by_its_keys(device: Emulation, said: list[str]) -> None:
    machine = placed(device)
    at = str(machine.slots["it"])
    starts = {"-s": f"{at},", "-o": f"pci.{at.replace(':', '.')}."}
    expected = [
        (sign, starts[sign] + word) for sign, word in zip(said[::2], said[1::2], strict=True)
    ]
    words = argv(machine)
    assert [
        (sign, word)
        for sign, word in pairwise(words)
        if sign in starts and word.startswith(starts[sign])
    ] == expected
    by_file = answer(["-k", "it"], {"it": flat(machine)}.__getitem__)
    assert known(answer(words[1:], str)) == known(by_file)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("bootrom", FirmwarePath("/a,b"), ["bootrom=/a,b", "lpc.bootrom=/a,b"]),
        (
            "varfile",
            FilePath("/a,b"),
            [
                *(f"bootrom={PLAIN}", "bootvars=/a,b"),
                *(f"lpc.bootrom={PLAIN}", "lpc.bootvars=/a,b"),
            ],
        ),
        (
            "varfile",  # -l would take it for an option, and the variables would be lost
            FilePath("a=b"),
            [
                *(f"bootrom={PLAIN}", "bootvars=a=b"),
                *(f"lpc.bootrom={PLAIN}", "lpc.bootvars=a=b"),
            ],
        ),
        ("com1", Com("/dev/a,b"), ["lpc.com1.path=/dev/a,b"]),
    ],
)
def test_what_the_isa_bridge_would_split_goes_out_by_its_keys(
    field: str, value: object, said: list[str]
) -> None:
    words = argv(placed(**{field: value}))
    options = [after for word, after in pairwise(words) if word == "-o"]
    assert options == said
    assert answer(words[1:], str).messages == ()


def test_a_password_with_a_line_break_is_refused_and_not_repeated() -> None:
    report = fault(placed(graphic=Graphic(label=ON, password="s3\ncret")))
    assert "password has a line break" in report
    assert "cret" not in report


@pytest.mark.parametrize("host", ["localhost", "", "vm.example", "[::1", "::1]", "1.2.3.4]"])
def test_a_screen_listens_on_a_numeric_address(host: str) -> None:
    report = fault(placed(graphic=Graphic(label=ON, host=host)))
    assert "is not a numeric address, and bhyve looks up no names" in report


# bhyve_config(5), rfb: IPv6 addresses in square brackets, with scopes as getaddrinfo(3) has them
@pytest.mark.parametrize("host", ["fe80::1%em0", "[fe80::1%em0]"])
def test_the_address_of_a_screen_can_have_a_scope(host: str) -> None:
    words = argv(placed(graphic=Graphic(label=ON, host=host)))
    found = answer(words[1:], str).tree
    assert get(found, "pci.0.28.0.tcp") == "[fe80::1%em0]:5900"


def test_bhyve_has_one_usb_controller_and_one_screen() -> None:
    machine = placed(
        Xhci(label=Label("usb0")),
        Graphic(label=Label("screen0")),
        graphic=Graphic(label=ON),
    )
    report = fault(machine)
    assert "bhyve has one xhci only" in report
    assert "bhyve has one fbuf only" in report


@pytest.mark.parametrize("field", ["kernel", "initrd", "cmdline"])
def test_a_kernel_cannot_be_booted_directly(field: str) -> None:
    assert f"{field}: bhyve boots no kernel directly" in fault(placed(**{field: FilePath("x")}))


def test_every_fault_is_told_at_once_and_grouped_by_device() -> None:
    machine = placed(
        VirtioBlk(label=Label("disk0"), path=FilePath("a,b.qcow2")),
        AppleSmc(label=Label("smc0"), osk="x"),
        kernel=FilePath("vmlinuz"),
        bhyve=Bhyve(config=(("a", ""),)),
    )
    assert fault(machine) == (
        "kernel: bhyve boots no kernel directly\n"
        "  hint: boot a disk by its bootrom, or use hypervisor = qemu\n"
        "bhyve.config.a: has an empty value, which bhyve refuses\n"
        "  hint: take the key away\n"
        "virtio-blk disk0:\n"
        "  'a,b.qcow2' is qcow2, and bhyve reads raw images only\n"
        "    hint: qemu-img convert -O raw a,b.qcow2 a,b.raw\n"
        "apple-smc smc0:\n"
        "  is QEMU's; bhyve has no such device\n"
        "    hint: take it away"
    )


def test_importing_it_loads_only_modules_of_our_own() -> None:
    code = """
import sys, vm_spec.machine
before = set(sys.modules)
import vm_run.bhyve, vm_run.bhyve.config
print(*sorted(set(sys.modules) - before))
"""
    loaded = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "vm_run.bhyve" in loaded.stdout.split()
    assert [name for name in loaded.stdout.split() if not name.startswith("vm_")] == []
