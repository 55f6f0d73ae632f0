"""`vm-run --check` without a name: what this host has and lacks, on a host of files."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.home import Home
from vm_init import policy
from vm_run import firmware
from vm_run.host import freebsd_report, linux, report, requirements
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import replace
from vm_state import platform, statedir

GIB = 1 << 30
Result = tuple[str, str, str]


def result(about: str, checks: report.Checks = report.LINUX) -> Result:
    """What the report has of one thing: verdict, what is so, the next step."""
    look, cost = checks[about]
    try:
        return "ok", look(), ""
    except VmError as error:
        fault = error.faults[0]
        return "note" if cost else "missing", fault.problem, fault.hint


def broken(message: str) -> str:
    return f"#!/bin/sh\necho '{message}' >&2\nexit 1\n"


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    volume = SimpleNamespace(f_bavail=size, f_frsize=1)

    def statvfs(path: str) -> SimpleNamespace:
        assert path
        return volume

    monkeypatch.setattr(os, "statvfs", statvfs)


def exists_only(path: str, mode: int) -> bool:
    return mode == os.F_OK and bool(path)


def open_null(node: int, request: int, argument: int) -> int:
    assert (node > 2, request, argument) == (True, report.KVM_CREATE_VM, 0)
    return os.open(os.devnull, os.O_RDONLY)


def unlimited(which: int) -> tuple[int, int]:
    assert which == resource.RLIMIT_MEMLOCK
    return -1, -1


def of_8_mib(which: int) -> tuple[int, int]:
    assert which == resource.RLIMIT_MEMLOCK
    return 1 << 20, 8 << 20


def hosts_files(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """A host with KVM, VFIO, an IOMMU that remaps interrupts, and huge pages."""
    for folder in ("kernel/iommu_groups/0", "kernel/iommu_groups/1"):
        (place / folder).mkdir(parents=True)
    pool = place / "kernel/mm/hugepages/hugepages-2048kB"
    pool.mkdir(parents=True)
    (pool / "nr_hugepages").write_text("512\n")
    (pool / "free_hugepages").write_text("500\n")
    (place / "interrupts").write_text(" 1:  0  IR-IO-APIC  1-edge  i8042\n")
    (place / "cpuinfo").write_text("processor : 0\nflags : fpu svm\n")
    (place / "kvm").touch()
    monkeypatch.setattr(report, "_SYS", str(place / "kernel"))
    monkeypatch.setattr(linux, "_SYS", str(place))
    monkeypatch.setattr(linux, "_INTERRUPTS", str(place / "interrupts"))
    monkeypatch.setattr(linux, "_CPUINFO", str(place / "cpuinfo"))
    kvm = replace(requirements.KVM, path=str(place / "kvm"))
    monkeypatch.setattr(requirements, "KVM", kvm)
    monkeypatch.setattr(linux, "_KVM", kvm.path)
    monkeypatch.setattr(fcntl, "ioctl", open_null)
    monkeypatch.setattr(report, "POLICY", os.devnull)
    monkeypatch.setattr(report, "LONGEST_NAME", 8)  # a test's place has a long path
    monkeypatch.setattr(firmware, "find", lambda: ("/usr/share/OVMF/CODE.fd", ""))
    monkeypatch.setattr(resource, "getrlimit", unlimited)


@pytest.fixture
def host(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of a host lie that has everything."""
    place = tmp_path / "host"
    hosts_files(monkeypatch, place)
    free(monkeypatch, 3 * GIB + GIB // 2)
    home.folder.mkdir(exist_ok=True)
    home.program("fake-qemu", "#!/bin/sh\necho 'QEMU emulator version 9.9.9 (of files)'\n")
    for name in ("qemu-img", "bwrap", "vm-init"):
        home.program(name)
    return place


def test_a_host_that_has_everything_says_so_line_by_line(home: Home, host: Path) -> None:
    before = sorted(home.vm.folder.rglob("*"))
    said = home.says("--check")
    assert said.out.splitlines() == [
        f"ok       QEMU       9.9.9 {home.bin}/fake-qemu",
        "ok       KVM        works",
        "ok       UEFI       /usr/share/OVMF/CODE.fd",
        f"ok       state      {home.vm.runtime}",
        f"ok       directory  {home.folder}",
        f"ok       space      3.5 GiB free in {home.folder}",
        "ok       tmp        3.5 GiB free in /tmp",
        f"ok       qemu-img   {home.bin}/qemu-img",
        f"ok       bwrap      {home.bin}/bwrap",
        f"ok       vm-init    {home.bin}/vm-init; vm-init NAME --dry-run shows what the policy "
        "grants you",
        "ok       policy     /dev/null",
        "ok       taps       /dev/null opens",
        "ok       IOMMU      2 groups, and VFIO",
        "ok       memlock    enough for PCI devices",
        "ok       hugepages  500 of 512 free, of 2048kB",
        "a guest can run here; next: vm-pull USER/BOX, or vm-list for your VMs",
    ]
    assert (said.status, said.err) == (0, "")
    assert sorted(home.vm.folder.rglob("*")) == before
    assert host.exists()


def test_without_a_hypervisor_no_guest_can_run(home: Home, host: Path) -> None:
    for text, what in (
        (None, f"{home.bin}/fake-qemu does not exist"),
        (broken("no such library"), "--version: exit status 1: no such library"),
    ):
        (home.bin / "fake-qemu").unlink()
        if text:
            home.program("fake-qemu", text)
        said = home.says("--check")
        assert said.status == 69
        assert said.out.startswith("missing  QEMU ")
        assert what in said.out.splitlines()[0]
        assert said.out.endswith("no guest can run here yet: get what is missing\n")
        home.program("fake-qemu")
    assert host.exists()


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, refused: str, number: int) -> None:
    real = os.open

    def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == refused:
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)


GROUPS = {0: "root", 70: "kvm"}


@pytest.mark.parametrize(
    ("number", "group", "member", "what", "hint"),
    [
        (errno.ENOENT, 0, False, "kvm is missing", "sudo modprobe kvm_int"),
        (errno.EPERM, 0, False, "is not yours to open", "start this container with --device"),
        (errno.EACCES, 70, False, "is not yours", "sudo usermod -aG kvm {user}, then log in again"),
        (errno.EACCES, 70, True, "is not yours", "log in again: you are in the group kvm by now"),
        (errno.EACCES, 0, False, "is not yours", "sudo chgrp kvm {kvm} && sudo chmod 660 {kvm}"),
        (errno.EACCES, 71, False, "is not yours", "ask the admin: its group is 71"),
    ],
)
def test_a_kvm_that_does_not_open_is_noted_with_the_next_step(
    host: Path, monkeypatch: pytest.MonkeyPatch, number: int, group: int, member: bool,
    what: str, hint: str,
) -> None:  # fmt: skip
    import grp

    from vm_spec import library

    kvm, user = str(host / "kvm"), library.context("").user
    known = {gid: SimpleNamespace(gr_name=name, gr_mem=[user] * member)
             for gid, name in GROUPS.items()}  # fmt: skip
    monkeypatch.setattr(grp, "getgrgid", known.__getitem__)
    stat = os.stat

    def of_group(path: str, **keys: bool) -> object:
        return SimpleNamespace(st_gid=group) if path == kvm else stat(path, **keys)

    monkeypatch.setattr(os, "stat", of_group)
    refuse_to_open(monkeypatch, kvm, number)
    verdict, said, step = result("KVM")
    assert (verdict, what in said) == ("note", True)
    assert step.startswith(hint.format(user=user, kvm=kvm))


def test_a_processor_without_kvm_is_noted_and_a_kvm_that_makes_no_vm_is_in_the_way(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> NoReturn:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(fcntl, "ioctl", busy)
    verdict, what, hint = result("VMs")
    assert (verdict, what) == ("missing", "KVM: Device or resource busy")
    assert hint.startswith("end the other hypervisor on this host")
    (host / "cpuinfo").write_text("processor : 0\nflags : fpu\nvmx flags : vnmi\n")
    verdict, what, _ = result("KVM")
    assert (verdict, what[:32]) == ("note", "the processor has neither vmx no")


@pytest.mark.parametrize("bsd", [False, True])
def test_a_guest_with_a_bios_needs_no_firmware(monkeypatch: pytest.MonkeyPatch, bsd: bool) -> None:
    def none() -> NoReturn:
        raise VmError(Fault(problem="no firmware", hint="install it"), status=69)

    monkeypatch.setattr(platform, "is_bsd", lambda: bsd)
    monkeypatch.setattr(firmware, "find", none)
    checks = freebsd_report.checks() if bsd else report.LINUX
    expected = ("missing" if bsd else "note", "no firmware", "install it")
    assert result("UEFI", checks) == expected


def test_a_place_of_state_that_others_can_write_to_is_none(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.vm.runtime.chmod(0o770)
    assert result("state")[0] == "missing"
    assert "is not a directory that only you can write to" in result("state")[1]
    monkeypatch.setattr(report, "LONGEST_NAME", 8)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.vm.folder / "gone"))
    assert result("state") == ("ok", f"{home.vm.folder}/gone", "")
    monkeypatch.setattr(os, "access", exists_only)
    assert result("state")[0] == "missing"


def test_the_longest_name_that_is_noted_is_the_longest_that_a_vm_can_have(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = home.vm.runtime / ("x" * max(1, 55 - len(str(home.vm.runtime))))
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    verdict, what, _ = result("state")
    found = re.search(r"for names of up to (\d+) letters", what)
    assert verdict == "ok"
    assert found
    longest = int(found[1])
    statedir.make("x" * longest)
    with pytest.raises(VmError, match="too long a path for sockets"):
        statedir.make("x" * (longest + 1))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / ("y" * 60)))
    assert result("state")[0] == "missing"


@pytest.mark.parametrize(
    ("mode", "problem"),
    [(0o700, ""), (0o755, ""), (0o702, "everybody"), (0o1777, "")],
)
def test_a_directory_of_descriptions_is_judged_as_each_of_them_will_be(
    home: Home, mode: int, problem: str
) -> None:
    home.vm.describe("")
    home.folder.chmod(mode)
    verdict, what, _ = result("directory")
    assert (verdict == "missing", problem in what) == (bool(problem), True)
    assert bool(problem) == (home.says("vm", "-d").status == 77)


def test_a_directory_of_descriptions_can_be_missing_full_foreign_or_remote(
    home: Home, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host / "plain").touch()
    monkeypatch.setenv("VMCONF_DIR", str(host / "plain"))
    assert result("directory")[:2] == ("missing", f"{host}/plain is no directory")
    monkeypatch.setenv("VMCONF_DIR", str(host / "x/y"))
    expected = f"{host}/x/y does not exist: vm-pull and new.sh make it"
    assert result("directory") == ("ok", expected, "")
    monkeypatch.setenv("VMCONF_DIR", str(home.folder))
    device = os.stat(home.folder).st_dev
    (host / "mounts").write_text(
        "22 1 0:999 / /proc rw - proc proc rw\nodd\n"
        f"31 1 {os.major(device)}:{os.minor(device)} / /home rw shared:1 - nfs4 server:/ rw\n"
    )
    monkeypatch.setattr(report, "_MOUNTS", str(host / "mounts"))
    assert result("directory")[1].startswith(f"{home.folder} on NFS: its locks hold across hosts")
    free(monkeypatch, 100 << 20)
    monkeypatch.setattr(os, "access", exists_only)
    assert result("space") == ("note", f"only 100 MiB free in {home.folder}", "")
    assert result("locks") == ("note", f"{home.folder} is not yours to write to", "")


@pytest.mark.parametrize(
    ("about", "install"),
    [("qemu-img", "apt install qemu-utils"), ("bwrap", "apt install bubblewrap")],
)
def test_a_tool_of_vm_pull_that_is_missing_or_broken_is_noted(
    home: Home, monkeypatch: pytest.MonkeyPatch, about: str, install: str
) -> None:
    home.program(about, broken("no namespaces"))
    verdict, what, hint = result(about)
    assert (verdict, install in hint) == ("note", True)
    assert what.endswith("exit status 1: no namespaces")
    monkeypatch.setenv("PATH", "/nowhere")
    assert result(about)[:2] == ("note", "missing")


def test_of_vm_init_its_place_its_policy_and_its_installation_are_looked_at(
    home: Home, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = home.program("vm-init", '#!/bin/sh\necho "$@" >&2; exit 78\n')
    assert result("vm-init")[0] == "ok"
    problem = f"{program} --self-check: exit status 78: --self-check"
    assert result("install") == ("note", problem, "")
    monkeypatch.setattr(report, "POLICY", str(host / "policy"))
    assert result("policy")[:2] == ("note", f"{host}/policy cannot be read")
    monkeypatch.setenv("PATH", "/nowhere")
    assert result("vm-init")[:2] == ("note", "missing")
    assert result("install") == ("ok", "", "")


def test_the_policy_that_is_looked_for_is_the_one_of_vm_init() -> None:
    assert policy.FILE == report.POLICY


def test_what_taps_and_pci_devices_need_is_noted_where_it_lacks(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host / "interrupts").write_text(" 1:  0  IO-APIC  1-edge  i8042\n")
    verdict, what, hint = result("IOMMU")
    assert (verdict, what) == ("note", linux.NO_REMAPPING)
    assert "vfio_iommu_type1 allow_unsafe_interrupts=1" in hint
    assert "which lets a guest that has a device send the host any interrupt" in hint
    for name, about in (("TUN", "taps"), ("VFIO", "IOMMU")):
        node = replace(getattr(requirements, name), path="/dev/no")
        monkeypatch.setattr(requirements, name, node)
        verdict, what, hint = result(about)
        assert (verdict, hint) == ("note", f"sudo modprobe {node.module}")
        assert what == "/dev/no is missing"
    monkeypatch.setattr(report, "_SYS", "/nowhere")
    assert result("IOMMU") == ("note", "off", linux.IOMMU_OFF)
    assert result("hugepages") == ("note", "none reserved", "")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", of_8_mib)
    verdict, what, hint = result("memlock")
    assert (verdict, "you may lock 8192 KiB" in what) == ("note", True)
    assert "/etc/security/limits.d/vmman.conf" in hint


def test_no_word_of_the_host_can_move_a_terminal() -> None:
    def look() -> str:
        raise report.lacking("/home/\x1b[2J/vm", "\x1b")

    lines, _ = report.report({"a": (look, "")})
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    "words",
    [("-t", "install"), ("-o", "mem=1G"), ("-d",), ("--explain",), ("--debug",), ("--targets",)],
)
def test_what_is_of_one_machine_still_needs_its_name(home: Home, words: tuple[str, ...]) -> None:
    said = home.says("--check", *words)
    assert said.status == 64
    assert "the name of a VM is missing" in said.err
