"""What a machine needs of the host, and what vm-run says of what is not there."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.home import Home, leftover, listening
from tests.vm import HOUSE
from vm_run.host import endpoints, linux, requirements
from vm_run.host.requirements import (
    KVM,
    TUN,
    VFIO,
    File,
    Folder,
    FreeSocket,
    Interface,
    Lockable,
    Need,
    Node,
    Pci,
    Port,
    Tool,
    needs,
)
from vm_spec import Context, loads
from vm_spec.frozen import replace
from vm_spec.machine import Machine

ordinary = pytest.mark.skipif(os.getuid() == 0, reason="root may open everything")


def machine(text: str) -> Machine:
    return loads(text, Context(name="vm", folder="/vm")).machine


def emulation(device: str, **keys: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[[emulations]]\ndevice = "{device}"\n{lines}'


CONSOLE = emulation("virtio-console", ports='["port.sock"]')
SWTPM = "Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
MADE = "qemu-img create -f {} {{}} 20G"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ('bootrom = "uefi"', []),
        ('kernel = "k"\ninitrd = "i"', [File(path="/vm/k"), File(path="/vm/i")]),
        ('com1 = "stdio"\ncom2 = "nmdm"', []),
        ('com2 = "/dev/ttyS0"', [File(device="com2", path="/dev/ttyS0", write=True, given=True)]),
        ("[tpm]", [Tool(device="tpm", name="swtpm", hint=SWTPM)]),
        ("[graphic]\nport = 5901", [Port(device="graphic", address="127.0.0.1", port=5901)]),
        (
            '[disk.a]\npath = "a.qcow2"',
            [
                File(
                    device="virtio-blk a",
                    path="/vm/a.qcow2",
                    write=True,
                    hint=MADE.format("qcow2"),
                )
            ],
        ),
        (
            '[disk.a]\npath = "a.img"\nro = true',
            [File(device="virtio-blk a", path="/vm/a.img", hint=MADE.format("raw"))],
        ),
        ('[cd.a]\npath = "a.iso"', [File(device="ahci-cd a", path="/vm/a.iso")]),
        (
            emulation("virtio-9p", sharename='"s"', path='"d"'),
            [Folder(device="virtio-9p virtio-9p-0", path="/vm/d")],
        ),
        (
            CONSOLE + "fix = true",
            [FreeSocket(device="virtio-console virtio-console-0", fix=True, path="/vm/port.sock")],
        ),
        (
            emulation("passthru", src='"1:0:0"'),
            [
                Lockable(bytes=(256 << 20) + (1 << 30)),
                VFIO,
                Pci(device="passthru passthru-0", address="0000:01:00.0"),
            ],
        ),
        ('[net.a]\nname = "t0"', [TUN, Interface(device="virtio-net a", name="t0")]),
        ('[qemu]\naccel = "kvm"', [KVM]),
        ('[qemu]\ncpu = "host,pmu=off"', [KVM]),
        ('[qemu]\nmachine = "q35,accel=kvm"', [KVM]),
        ('[qemu]\naccel = "tcg"\nmachine = "q35,usb=off"', []),
        (
            '[net.a]\nname = "macvtap0"',
            [Interface(device="virtio-net a", name="macvtap0", macvtap=True)],
        ),
        (
            '[net.a]\nforward = ["udp:2222:22"]',
            [
                Port(
                    device="virtio-net a", protocol="udp", address="127.0.0.1", port=2222
                )
            ],
        ),
    ],
)  # fmt: skip
def test_what_a_description_needs_of_the_host(text: str, wanted: list[Need]) -> None:
    assert needs(machine(text)) == wanted


def unlimited(which: int) -> tuple[int, int]:
    assert which == resource.RLIMIT_MEMLOCK
    return -1, -1


def test_everything_that_lacks_is_told_at_once_by_device_with_the_next_command(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", unlimited)
    assert home.lacks(
        'bootrom = "fw.fd"\nkernel = "k"\n[qemu]\nhugepages = "huge"\n'
        '[disk.root]\npath = "my disk.qcow2"\n'
        '[disk.two]\npath = "."\n'
        '[cd.media]\npath = "x.iso"\n'
        '[net.lan]\nname = "nosuch0"\n'
        + emulation("virtio-9p", sharename='"s"', path='"shared"')
        + emulation("virtio-console", ports='["gone/port.sock"]')
        + emulation("passthru", src='"0000:fe:1f.7"')
        + emulation("virtio-input", path='"/dev/input/nosuch"')
    ) == (
        "fw.fd: No such file or directory\n"
        '  hint: bootrom = "uefi" takes this host\'s own firmware\n'
        "k: No such file or directory\n"
        "huge: no folder\n"
        "  hint: sudo mkdir -p huge && sudo mount -t hugetlbfs hugetlbfs huge\n"
        "virtio-9p virtio-9p-0:\n"
        "  shared: no folder\n"
        "    hint: mkdir -p shared\n"
        "virtio-console virtio-console-0:\n"
        "  gone: no folder\n"
        "passthru passthru-0:\n"
        "  there is no PCI device 0000:fe:1f.7\n"
        "    hint: lspci -D\n"
        "virtio-input virtio-input-0:\n"
        "  /dev/input/nosuch is missing\n"
        "    hint: sudo vm-init vm\n"
        "virtio-blk root:\n"
        "  my disk.qcow2: No such file or directory\n"
        "    hint: qemu-img create -f qcow2 'my disk.qcow2' 20G\n"
        "virtio-blk two:\n"
        "  .: Is a directory\n"
        "ahci-cd media:\n"
        "  x.iso: No such file or directory\n"
        "virtio-net lan:\n"
        "  tap nosuch0 is missing\n"
        "    hint: sudo vm-init vm\n"
    )


def test_a_host_that_has_everything_says_so(home: Home) -> None:
    (home.folder / "disk.img").touch()
    home.vm.describe('[disk.root]\npath = "disk.img"\n')
    said = home.says("vm", "--check")
    assert said.out == "vm: this host has everything that target default needs\n"
    assert said.status == 0


def test_a_cd_that_is_a_folder_is_none(home: Home) -> None:
    assert home.lacks('[cd.a]\npath = "."') == "ahci-cd a:\n  .: is a folder\n"


def test_a_folder_that_is_a_file_is_none(home: Home) -> None:
    (home.folder / "shared").touch()
    said = home.lacks(emulation("virtio-9p", sharename='"s"', path='"shared"'))
    assert said == "virtio-9p virtio-9p-0:\n  shared: is no folder\n"


@ordinary
def test_a_file_that_cannot_be_read_is_told_without_advice_to_make_it(home: Home) -> None:
    (home.folder / "disk.img").touch(mode=0)
    said = home.lacks('[disk.root]\npath = "disk.img"')
    assert said == "virtio-blk root:\n  disk.img: Permission denied\n"


@pytest.mark.parametrize(
    ("need", "hint"),
    [
        (File(path="/dev/no such", given=True), "sudo vm-init web"),
        (File(path="/dev/no such", hint=MADE), "ls /dev shows what is there"),
        (File(path="/dev/no such", hint="a rule of udev"), "a rule of udev"),
        (File(path="/dev/no such"), ""),
    ],
)
def test_a_node_is_asked_of_vm_init_only_where_vm_init_gives_it(need: File, hint: str) -> None:
    fault = linux.lack(need, "web")
    assert fault
    assert fault.problem == "/dev/no such is missing"
    assert fault.hint.startswith(hint)
    assert bool(fault.hint) == bool(hint)


def test_a_node_that_is_not_ours_is_asked_of_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", never)
    fault = linux.lack(File(path="/dev/null", hint=MADE), "web")
    assert fault
    assert fault.problem == "/dev/null is not yours to open"
    assert fault.hint == "ask the admin for it; ls -l /dev/null shows whose it is"


def never(path: str, mode: int) -> bool:
    return mode == os.F_OK and bool(path)


def test_a_program_that_is_not_there_is_told_with_how_to_get_it(home: Home) -> None:
    need = Tool(name="no-such-program", hint="install it")
    fault = linux.lack(need, "web")
    assert fault
    assert (fault.problem, fault.hint) == ("no-such-program is not there", "install it")
    home.program("no-such-program")
    assert linux.lack(need, "web") is None


def test_a_link_that_leads_nowhere_is_told(home: Home) -> None:
    (home.folder / "disk.img").symlink_to("disk.img")
    said = home.lacks('[disk.root]\npath = "disk.img"')
    assert said == "virtio-blk root:\n  disk.img: Too many levels of symbolic links\n"


def test_an_interface_that_is_no_tap_is_no_work_for_vm_init(home: Home) -> None:
    assert home.lacks('[net.lan]\nname = "lo"\ntype = "tap"') == (
        "virtio-net lan:\n  lo is there and is no tap\n    hint: give the card another name\n"
    )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "tap t0 is missing"),
        ({"tun_flags": "0x1002", "owner": str(os.getuid()), "carrier": "0"}, ""),
        ({"tun_flags": "0x1002", "owner": "-1", "carrier": "0"}, ""),
        ({"tun_flags": "0x1002", "owner": str(os.getuid()), "carrier": "1"}, "tap t0 is in use"),
    ],
)
def test_what_sysfs_says_of_a_tap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], problem: str
) -> None:
    monkeypatch.setattr(linux, "_SYS", str(tmp_path))
    for name, content in files.items():
        (tmp_path / "class/net/t0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "class/net/t0" / name).write_text(f"{content}\n")
    fault = linux.lack(Interface(name="t0"), "vm")
    assert (fault.problem if fault else "") == problem


def test_a_tap_of_another_user_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "_SYS", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    tap = tmp_path / "class/net/t0"
    tap.mkdir(parents=True)
    (tap / "tun_flags").write_text("0x1002\n")
    (tap / "owner").write_text("1001\n")
    fault = linux.lack(Interface(name="t0"), "web")
    assert fault
    assert (fault.problem, fault.hint) == ("tap t0 belongs to another user", "sudo vm-init web")


@pytest.mark.parametrize("node", [TUN, VFIO, KVM])
@pytest.mark.parametrize(
    ("number", "problem", "hint"),
    [
        (errno.EACCES, "{} is not yours to open", ""),
        (errno.EPERM, "{} is not yours to open", "start this container with --device {}"),
        (errno.ENOENT, "{} is missing", "sudo modprobe "),
        (errno.ENODEV, "{}: No such device", "sudo modprobe "),
    ],
)
def test_a_node_that_qemu_could_not_open_is_told_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, node: Node, number: int, problem: str, hint: str
) -> None:
    def refuse(path: str, flags: int) -> int:
        assert (path, flags & os.O_ACCMODE) == (node.path, os.O_RDWR)
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refuse)
    fault = linux.lack(node, "web")
    assert fault
    assert fault.problem == problem.format(node.path)
    assert fault.hint.startswith(hint.format(node.path) or node.hint)


@pytest.mark.parametrize(("flags", "problem"), [("svm", ""), ("sse2", "neither vmx nor svm")])
def test_a_kvm_that_opens_and_would_hang_the_guest_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch, flags: str, problem: str
) -> None:
    (home.bin / "kvm").touch()
    (home.bin / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags}\n")
    monkeypatch.setattr(linux, "_KVM", str(home.bin / "kvm"))
    monkeypatch.setattr(linux, "_CPUINFO", str(home.bin / "cpuinfo"))
    monkeypatch.setattr(requirements, "KVM", replace(KVM, path=str(home.bin / "kvm")))
    said = home.lacks('[qemu]\ncpu = "host"')
    assert problem in said
    assert bool(problem) == bool(said)


IN_A_NAMESPACE = """
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 nodes /mnt
mknod -m {mode} /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
mkdir /mnt/house /mnt/site  # the checkout may be one that only root can read
mount --bind {house} /mnt/house
mount --bind {site} /mnt/site
ip tuntap add dev t0 mode tap user {owner}
exec setpriv --reuid 65533 --regid 65533 --clear-groups "$@"
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "owner", "status", "said"),
    [
        (666, 65533, 0, ""),
        (666, 65534, 69, "tap t0 belongs to another user\n    hint: sudo vm-init v"),
        (600, 65533, 69, f"/dev/net/tun is not yours to open\n  hint: {TUN.hint}"),
    ],
)
def test_a_real_tap_is_its_owners_where_taps_open(
    mode: int, owner: int, status: int, said: str
) -> None:
    site = sysconfig.get_path("purelib")
    script = IN_A_NAMESPACE.format(mode=mode, owner=owner, house=HOUSE, site=site)
    words = [os.path.realpath(sys.executable), "-m", "vm_run", "-c", "-", "v", "--check"]
    done = subprocess.run(
        ["unshare", "-nm", "sh", "-ec", script, "sh", *words],
        input='[net.lan]\nname = "t0"\n',
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "/mnt/house:/mnt/site",
            "QEMU_BIN": "/bin/true",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_in_use_is_told_with_its_address(home: Home, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        assert home.lacks(f'[net.lan]\nforward = ["{protocol}:{port}:22"]') == (
            f"virtio-net lan:\n  {protocol} port {port} of 127.0.0.1: Address already in use\n"
            "    hint: choose another port\n"
        )


def test_an_address_that_is_none_is_no_bug_of_ours(home: Home) -> None:
    assert "tcp port 5900 of " in home.lacks(f'[graphic]\nhost = "{"x" * 80}"\npassword = "secret"')


def test_a_socket_left_over_can_be_fixed(home: Home) -> None:
    leftover(home.folder / "port.sock")
    assert home.lacks(CONSOLE) == (
        "virtio-console virtio-console-0:\n  port.sock is left over\n"
        "    hint: rm port.sock; or vm-run --fix vm\n"
    )


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_somebody_listens_at_is_theirs(home: Home, kind: int) -> None:
    with listening(home.folder / "port.sock", kind):
        assert home.lacks(CONSOLE) == (
            "virtio-console virtio-console-0:\n"
            f"  somebody listens at {home.folder}/port.sock\n    hint: choose another path\n"
        ).replace(f"{home.folder}/", "")


def at_once(given: socket.socket, _: float) -> None:
    given.setblocking(False)


def test_a_listener_too_busy_to_answer_is_still_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.folder / "port.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        monkeypatch.setattr(socket.socket, "settimeout", at_once)
        assert not endpoints.is_leftover(str(path))


def test_a_file_where_a_socket_should_be_is_kept(home: Home) -> None:
    (home.folder / "port.sock").write_text("mine")
    assert home.lacks(CONSOLE) == (
        "virtio-console virtio-console-0:\n  port.sock is there and is no socket\n"
        "    hint: choose another path\n"
    )


def test_a_path_too_long_for_a_socket_is_refused(home: Home) -> None:
    said = home.lacks(CONSOLE.replace("port.sock", "x" * 108))
    assert "is too long a path for a socket" in said
