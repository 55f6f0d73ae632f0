"""What a machine of bhyve's needs of a FreeBSD host, asked of one that is made of files.

Untested on FreeBSD.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run import freebsd as hosts
from tests.run.freebsd import PAGE, FreeBsd
from vm_run import qemu
from vm_run.host import bhyve_requirements as needs_bhyve
from vm_run.host import check
from vm_run.host.bhyve_requirements import Cpus, Module, Root, TapUp, Terminal, Vm, Wired, needs_of
from vm_run.host.requirements import File, Interface, Memory, Pci, Requirement, Tool
from vm_run.pci_slots import Placed, place
from vm_spec import Context, loads, select
from vm_spec.fault import Fault, VmError
from vm_spec.machine import Description, Machine
from vm_state import platform

freebsd = pytest.fixture(hosts.freebsd)

ALWAYS: list[Requirement] = [Vm(name="vm"), Cpus(count=1)]
ROM = 'bootrom = "/rom.fd"\n'
PASSTHRU = '[[emulations]]\ndevice = "passthru"\nsrc = "1:0:0"\n'
GIB = 1 << 30


def machine(text: str) -> Machine:
    return loads(text, Context(name="vm", folder="/vm")).machine


def placed(machine: Machine) -> Placed:
    return place(Description(machine=machine), machine)


def needs(machine: Machine) -> list[Requirement]:
    return qemu.needs(placed(machine))


def device(kind: str, **keys: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[[emulations]]\ndevice = "{kind}"\n{lines}'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ROM, [*ALWAYS]),
        (f'{ROM}cpu = 4\n[qemu]\nhugepages = "/huge"\n', [Vm(name="vm"), Cpus(count=4)]),
        (f'{ROM}com1 = "stdio"', [*ALWAYS]),
        (
            f'{ROM}com1 = "stdio"\ncom2 = "nmdm"',
            [*ALWAYS, Module(name="nmdm"), Terminal(device="com2", path="/dev/nmdm-vm.2A")],
        ),
        (
            f'{ROM}com1 = "/dev/nmdm7A"',
            [*ALWAYS, Module(name="nmdm"), Terminal(device="com1", path="/dev/nmdm7A")],
        ),
        (f'{ROM}com1 = "/dev/cuau0"', [*ALWAYS, Terminal(device="com1", path="/dev/cuau0")]),
        (
            f"{ROM}wire_guest_mem = true",
            [*ALWAYS, Wired(name="vm", bytes=256 << 20, why="wire_guest_mem")],
        ),
        (
            '[bhyve]\nloader = "grub-bhyve"\nloader_disk = "boot.img"\n',
            [
                Vm(name="vm", reboots=("loader = grub-bhyve",)),
                Cpus(count=1),
                Tool(name="grub-bhyve", hint="sudo pkg install grub2-bhyve"),
                File(path="/vm/boot.img"),
            ],
        ),
        (
            '[bhyve]\nloader = "none"',
            [Vm(name="vm", reboots=("loader = none",)), Cpus(count=1)],
        ),
    ],
)
def test_what_a_machine_of_bhyves_needs(text: str, wanted: list[Requirement]) -> None:
    found = [need for need in needs_of(machine(text)) if need != File(path="/rom.fd", hint=OWN)]
    assert found == wanted


OWN = 'bootrom = "uefi" takes this host\'s own firmware'


def test_a_terminal_that_is_left_behind_becomes_a_null_modem() -> None:
    detached = needs_of(machine(f'{ROM}com1 = "stdio"'), detached=True)
    assert Terminal(device="com1", path="/dev/nmdm-vm.1A") in detached
    assert Module(name="nmdm") in detached


def test_without_a_firmware_and_a_loader_it_is_the_hosts_plain_firmware() -> None:
    path = f"{needs_bhyve.FIRMWARE}BHYVE_UEFI.fd"
    assert File(path=path, hint="sudo pkg install edk2-bhyve") in needs_of(machine(""))
    text = f'bootrom = "{needs_bhyve.FIRMWARE}BHYVE_UEFI_CODE.fd"'
    (file,) = [need for need in needs_of(machine(text)) if isinstance(need, File)]
    assert file.hint == "sudo pkg install edk2-bhyve"


def test_devices_have_needs_of_their_own() -> None:
    found = needs_of(
        machine(
            f'{ROM}[net.lan]\nbridge = "bridge0"\nname = "tap3"\n[net.out]\n'
            '[net.fast]\nname = "vale0:vm"\n[disk.root]\npath = "root.img"\n'
            + PASSTHRU
            + device("virtio-scsi", path='"/dev/cam/ctl"')
            + device("hda", play='"/dev/dsp0"')
        )
    )
    assert {Module(name="if_tuntap"), Module(name="if_bridge"), TapUp()} <= {*found}
    assert Interface(device="virtio-net lan", name="tap3") in found
    assert Root(
        device="passthru passthru-0", why="bhyve hands PCI devices over for root alone"
    ) in (found)
    assert Pci(device="passthru passthru-0", address="0000:01:00.0") in found
    assert Module(device="virtio-scsi virtio-scsi-0", name="ctl", given=False) in found
    slirp = File(
        device="virtio-net out", path=needs_bhyve.SLIRP, hint="sudo pkg install libslirp"
    )  # fmt: skip
    assert slirp in found
    assert File(device="virtio-net fast", path="/dev/netmap", write=True) in found
    assert File(device="hda hda-0", path="/dev/dsp0", write=True) in found
    (disk,) = [need for need in found if isinstance(need, File) and need.path == "/vm/root.img"]
    assert disk.hint == "truncate -s 20G {}"
    assert Wired(name="vm", bytes=256 << 20, why="passthru") in found
    assert not [need for need in found if isinstance(need, Memory)]


@pytest.mark.parametrize("hypervisor", ["qemu", "bhyve"])
def test_a_tpm_is_a_program_or_the_hosts(hypervisor: str) -> None:
    text = f'hypervisor = "{hypervisor}"\n{ROM}[tpm]\n'
    wanted = needs_of if hypervisor == "bhyve" else needs
    (tool,) = [need for need in wanted(machine(text)) if isinstance(need, Tool)]
    assert (tool.device, tool.name) == ("tpm", "swtpm")
    assert "pkg install swtpm" in tool.hint
    passed = wanted(machine(f'{text}type = "passthru"\n'))
    (node,) = [need for need in passed if isinstance(need, File) and need.device == "tpm"]
    assert (node.path, node.write, node.granted) == ("/dev/tpm0", True, False)


def ready(host: FreeBsd) -> None:
    """All that a machine with a tap and a null modem takes."""
    for name in ("vmm/vm", "tap3"):
        host.node(name)
    host.sysctl("net.link.tap.up_on_open", 1)
    host.sysctl("hw.vmm.maxcpu", 4)


DESCRIBED = 'hypervisor = "bhyve"\nbootrom = "uefi"\n[net.lan]\nname = "tap3"\n'


def test_a_host_that_has_everything_says_so(freebsd: FreeBsd) -> None:
    ready(freebsd)
    assert freebsd.home.lacks(DESCRIBED) == ""


def test_everything_that_lacks_is_told_at_once_with_the_next_command(freebsd: FreeBsd) -> None:
    freebsd.loaded()
    freebsd.sysctl("net.link.tap.up_on_open", 0)
    freebsd.sysctl("vm.max_user_wired", GIB // PAGE)
    freebsd.sysctl("vm.stats.vm.v_user_wire_count", GIB // PAGE // 2)
    (freebsd.place / "BHYVE_UEFI_VARS.fd").unlink()
    assert freebsd.home.lacks(f'cpu = 2\nmem = "1G"\ncom2 = "nmdm"\n{DESCRIBED}{PASSTHRU}') == (
        "the kernel module vmm is not loaded\n"
        "  hint: sudo vm-init vm\n"
        "the kernel module nmdm is not loaded\n"
        "  hint: sudo vm-init vm\n"
        "the kernel module if_tuntap is not loaded\n"
        "  hint: sudo vm-init vm\n"
        "net.link.tap.up_on_open is 0, so a tap that bhyve opens for you stays down\n"
        "  hint: sudo sysctl net.link.tap.up_on_open=1; for good: /etc/sysctl.conf\n"
        "passthru wires 1024 MiB of memory, and vm.max_user_wired leaves 512 MiB\n"
        f"  hint: sudo sysctl vm.max_user_wired={(GIB + GIB // 2) // PAGE}, or a smaller mem\n"
        f"this host has no UEFI firmware: {freebsd.place}/BHYVE_UEFI_VARS.fd is missing\n"
        "  hint: sudo pkg install edk2-bhyve\n"
        "passthru passthru-0:\n"
        "  bhyve hands PCI devices over for root alone\n"
        "    hint: let root run vm, or take the device away: docs/bhyve.md\n"
        "virtio-net lan:\n"
        "  tap tap3 is missing\n"
        "    hint: sudo vm-init vm\n"
    )


def lack(need: Requirement) -> Fault:
    fault = check.check(need, "web")
    assert fault
    return fault


def test_without_a_way_to_run_a_vm_the_reason_is_one_of_the_faults(freebsd: FreeBsd) -> None:
    fault = lack(Vm(name="web"))
    assert "this bhyve has no monitor mode (-M)" in fault.problem
    assert fault.hint == "sudo vm-init web"
    freebsd.node("vmm/web")
    assert check.check(Vm(name="web"), "web") is None


MORE = '[targets.two]\nnext_target = "default"\nreboot_on = ["poweroff"]\n'


def test_what_the_monitor_mode_cannot_do_is_work_for_vm_init(freebsd: FreeBsd) -> None:
    freebsd.release("main")
    freebsd.node("vmmctl", mode=0o660)
    described = loads(f"{ROM}{MORE}", Context(name="web", folder="/vm"))
    (need,) = [each for each in needs_of(select(described, "two")) if isinstance(each, Vm)]
    fault = lack(need)
    assert fault.problem == (
        "bhyve's monitor mode reboots by itself, so next_target = default and reboot_on without "
        "reboot cannot work"
    )
    assert fault.hint == "have the VM made for you: sudo vm-init web"
    assert check.check(Vm(name="web"), "web") is None
    freebsd.node("vmm/web")
    assert check.check(need, "web") is None


def test_where_a_node_shows_that_vmm_is_loaded_nobody_is_asked(freebsd: FreeBsd) -> None:
    freebsd.loaded()
    freebsd.node("vmm/web")
    assert check.check(Vm(name="web"), "web") is None


def test_root_is_told_what_root_types(freebsd: FreeBsd) -> None:
    freebsd.uid(0)
    freebsd.loaded()
    assert lack(Vm(name="web")).hint == "kldload vmm"
    assert lack(Module(name="nmdm")).hint == "kldload nmdm"
    assert check.check(Root(why="x"), "web") is None
    freebsd.sysctl("net.link.tap.up_on_open", 0)
    assert check.check(TapUp(), "web") is None


def test_a_firmware_of_roots_is_in_the_way_of_everybody_else(freebsd: FreeBsd) -> None:
    freebsd.node("vmm/web")
    freebsd.node("vmm.io/web.bootrom", mine=False)
    fault = lack(Vm(name="web"))
    assert fault.problem.startswith(f"{freebsd.dev}/vmm.io/web.bootrom is root's")
    assert "devfs.rules" in fault.hint


def test_a_module_that_vm_init_does_not_load_is_the_admins(freebsd: FreeBsd) -> None:
    freebsd.loaded("vmm")
    assert lack(Module(name="ctl", given=False)).hint == "sudo kldload ctl"


@pytest.mark.parametrize(
    ("count", "most", "lacks"), [(4, 4, False), (5, 4, True), (99, None, False)]
)
def test_a_guest_has_at_most_as_many_processors_as_vmm_allows(
    freebsd: FreeBsd, count: int, most: int | None, lacks: bool
) -> None:
    if most is not None:
        freebsd.sysctl("hw.vmm.maxcpu", most)
    fault = check.check(Cpus(count=count), "web")
    assert bool(fault) is lacks
    if fault:
        assert fault.hint == "cpu = 4, or hw.vmm.maxcpu=5 in /boot/loader.conf"


@pytest.mark.parametrize(
    ("limit", "used", "wanted", "lacks"),
    [
        (GIB // PAGE, 0, GIB, False),
        (GIB // PAGE, 1, GIB, True),
        (GIB // PAGE, 0, GIB + 1, True),
        (-1, 0, 99 * GIB, False),
        (2**64 - 1, 0, 99 * GIB, False),
        (None, 0, 99 * GIB, False),
    ],
)
def test_wired_memory_counts_with_what_others_have_wired(
    freebsd: FreeBsd, limit: int | None, used: int, wanted: int, lacks: bool
) -> None:
    if limit is not None:
        freebsd.sysctl("vm.max_user_wired", limit)
    freebsd.sysctl("vm.stats.vm.v_user_wire_count", used)
    need = Wired(name="web", bytes=wanted, why="passthru")
    assert bool(check.check(need, "web")) is lacks
    freebsd.node("vmm/web")  # the guest before has wired it: a reboot wires nothing more
    assert check.check(need, "web") is None


def test_a_serial_port_is_a_terminal_that_is_the_users(freebsd: FreeBsd) -> None:
    for path in (freebsd.place / "pci", freebsd.dev):
        fault = lack(Terminal(device="com1", path=str(path)))
        assert fault.problem.endswith(
            "is no terminal device, and bhyve takes no file or socket here"
        )
        assert fault.hint.startswith('com1 = "nmdm"')
    assert lack(Terminal(path="/nowhere")).problem == "/nowhere: No such file or directory"
    assert check.check(Terminal(path="/dev/null"), "web") is None
    assert check.check(Terminal(path="/dev/nmdm-web.1A"), "web") is None  # its module's


def test_a_terminal_of_roots_is_told_with_the_rule_that_gives_it(freebsd: FreeBsd) -> None:
    freebsd.deny("/dev/null")
    fault = lack(Terminal(path="/dev/null"))
    assert (fault.problem, "devfs.rules" in fault.hint) == ("/dev/null is not yours to open", True)


@pytest.mark.parametrize(("release", "lacks"), [("13", True), ("14", True), ("main", False)])
def test_a_tap_has_to_come_up_by_itself_where_bhyve_cannot_do_it(
    freebsd: FreeBsd, release: str, lacks: bool
) -> None:
    freebsd.release(release)
    freebsd.sysctl("net.link.tap.up_on_open", 0)
    assert bool(check.check(TapUp(), "web")) is lacks
    freebsd.sysctl("net.link.tap.up_on_open", 1)
    assert check.check(TapUp(), "web") is None


def test_a_tap_is_a_node_that_is_the_users(freebsd: FreeBsd) -> None:
    freebsd.node("tap1")
    freebsd.node("tap2", mine=False)
    assert check.check(Interface(name="tap1"), "web") is None
    assert lack(Interface(name="tap2")).problem == f"{freebsd.dev}/tap2 is not yours"
    missing = lack(Interface(name="tap3"))
    assert (missing.problem, missing.hint) == ("tap tap3 is missing", "sudo vm-init web")
    assert "Linux's" in lack(Interface(name="m0", macvtap=True)).problem


@pytest.mark.parametrize("listing", ["pciconf-l-12", "pciconf-l-13"])
def test_a_pci_device_is_one_that_ppt_keeps_for_guests(freebsd: FreeBsd, listing: str) -> None:
    freebsd.pci(listing)
    lookup = ("0x10de1043", "0x1b808591")
    assert check.find_pci(lookup) == "0000:01:00.0"
    assert check.check(Pci(address="0000:01:00.0"), "web") is None
    assert check.check(Pci(lookup=lookup), "web") is None
    fault = lack(Pci(address="0000:01:00.1"))
    assert fault.problem == "PCI device pci0:1:0:1 is not bound to ppt, but to none"
    assert fault.hint == "sudo vm-init web"
    assert "but to igb" in lack(Pci(address="0000:0a:00.0")).problem


@pytest.mark.usefixtures("freebsd")
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("0000:03:10.7", "PCI device pci0:3:16:7 does not answer (header type 0x7f)"),
        ("0000:00:01.0", "PCI device pci0:0:1:0 is a bridge, which no guest can have"),
        ("0000:20:00.0", "there is no PCI device pci0:32:0:0"),
    ],
)
def test_a_pci_device_that_no_guest_can_have_is_told_as_that(address: str, problem: str) -> None:
    fault = lack(Pci(address=address))
    assert (fault.problem, "vm-init" in fault.hint) == (problem, False)


@pytest.mark.usefixtures("freebsd")
def test_what_is_looked_for_and_not_there_is_told_by_its_numbers() -> None:
    lookup = ("0x10de1043", "0x1b800000")
    assert check.find_pci(lookup) == ""
    assert lack(Pci(lookup=lookup)).problem == "there is no PCI device 0x10de1043 0x1b800000"


def test_a_start_that_was_not_checked_does_not_go_on_without_the_device(freebsd: FreeBsd) -> None:
    lookup = 'lookup = { vendor = "0x10de1043", device = "0x1b808591" }\n'
    description = loads(f"{ROM}{device('passthru')}{lookup}", Context(name="vm", folder="/vm"))
    placed = place(description, description.machine)
    assert check.look_up(placed) == {"passthru-0": "0000:01:00.0"}
    (freebsd.place / "pci").write_text("")
    with pytest.raises(VmError, match="there is no PCI device 0x10de1043 0x1b808591") as caught:
        check.look_up(placed)
    assert caught.value.status == 69


def test_a_pciconf_that_fails_says_why_and_does_not_say_that_nothing_is_there(
    freebsd: FreeBsd,
) -> None:
    freebsd.home.program("pciconf", "#!/bin/sh\necho 'pciconf: /dev/pci: busy' >&2\nexit 1\n")
    assert lack(Pci(address="0000:01:00.0")).problem.endswith(
        "exit status 1: pciconf: /dev/pci: busy"
    )
    with pytest.raises(VmError, match="/dev/pci: busy"):
        check.find_pci(("0x10de1043", "0x1b808591"))


def test_the_programs_are_found_with_a_path_that_lacks_them(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vm_run.host import freebsd_kernel as bsd_kernel

    monkeypatch.setattr(bsd_kernel, "_FOLDERS", (str(freebsd.home.bin),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert bsd_kernel.is_loaded("vmm")
    assert not bsd_kernel.is_loaded("vm")


SUDO = '#!/bin/sh\nprintf "%s\\n" "$*" >> "{}/sudo.calls"\n: > {}/tap3\n: > {}/vmm/vm\n'


def test_fix_lets_vm_init_make_the_vm_its_modules_and_its_taps_in_one_call(
    freebsd: FreeBsd,
) -> None:
    freebsd.sysctl("net.link.tap.up_on_open", 1)
    freebsd.home.program("sudo", SUDO.format(freebsd.place, freebsd.dev, freebsd.dev))
    described = machine(DESCRIBED)
    assert len(check.lacks(placed(described), "vm")) == 2
    told: list[str] = []
    check.require(placed(described), "vm", True, told.append)
    assert told == ["sudo vm-init vm"]
    assert (freebsd.place / "sudo.calls").read_text() == "vm-init vm\n"
    assert check.lacks(placed(described), "vm") == []


def test_what_vm_init_cannot_mend_is_told_after_all(freebsd: FreeBsd) -> None:
    freebsd.home.program("sudo", "#!/bin/sh\nexit 0\n")
    described = machine(f"{ROM.replace('/rom.fd', str(freebsd.place / 'BHYVE_UEFI.fd'))}{PASSTHRU}")
    with pytest.raises(VmError) as caught:
        check.require(placed(described), "vm", True, lambda _: None)
    problems = [fault.problem for fault in caught.value.faults]
    assert problems[1:] == ["bhyve hands PCI devices over for root alone"]


def test_root_is_no_customer_of_vm_init(freebsd: FreeBsd) -> None:
    freebsd.uid(0)
    freebsd.loaded()
    freebsd.home.program("sudo", SUDO.format(freebsd.place, freebsd.dev, freebsd.dev))
    with pytest.raises(VmError, match="kldload vmm"):
        check.require(placed(machine('[bhyve]\nloader = "none"')), "vm", True, lambda _: None)
    assert not (freebsd.place / "sudo.calls").exists()


def test_on_freebsd_a_machine_of_qemus_is_not_asked_what_bhyve_needs(freebsd: FreeBsd) -> None:
    assert freebsd.home.lacks('hypervisor = "qemu"\n') == ""
    assert freebsd.asked == []


def test_elsewhere_bhyve_is_what_lacks_and_nothing_of_freebsd_is_asked(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "is_bsd", lambda: False)
    monkeypatch.setenv("BHYVE_BIN", "no-such-bhyve")
    text = f'com2 = "/dev/cuau0"\nhypervisor = "bhyve"\n{ROM}[disk.a]\npath = "a.img"\n{PASSTHRU}'
    said = freebsd.home.lacks(text)
    assert said.startswith("no-such-bhyve does not exist\n")
    assert said.count("\n") == 2


def test_a_dry_run_asks_nothing_of_the_host(freebsd: FreeBsd) -> None:
    for path in freebsd.home.bin.iterdir():
        path.unlink()
    freebsd.home.vm.describe(DESCRIBED)
    said = freebsd.home.says("vm", "-d")
    assert (said.status, said.err) == (0, "")
    assert "tap3" in said.out


def test_on_linux_nothing_of_freebsd_is_loaded(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys\nfrom vm_run.host import check\n"
        "from vm_run.pci_slots import place\nfrom vm_spec import Context, loads\n"
        "text = '[net.a]\\nname = \"tap0\"\\n'\n"
        "described = loads(text, Context(name='vm', folder='/vm'))\n"
        "check.lacks(place(described, described.machine), 'vm')\n"
        "print(*sorted(name for name in sys.modules if 'bsd' in name or 'bhyve' in name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(hosts.DATA.parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
