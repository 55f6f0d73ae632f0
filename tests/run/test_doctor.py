"""`vm-run --check` without a name: what the facts of a host mean, and how they are come by."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest

from tests.home import Home
from vm_init import policy
from vm_run import program
from vm_run.claim import Claim
from vm_run.host import linux, probe, report, requirements
from vm_run.host.facts import Bhyve, Facts, Folder, Kvm, Program
from vm_run.host.finding import Finding
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import replace
from vm_state import platform

GIB = 1 << 30
MODPROBE = "sudo modprobe tun"
GOOD = Facts(
    user="alice",
    hypervisor=Program(path="/usr/bin/qemu-system-x86_64", version="7.2.22"),
    firmware="/usr/share/OVMF/OVMF_CODE_4M.fd",
    qemu_img=Program(path="/usr/bin/qemu-img", version="7.2.22"),
    bwrap=Program(path="/usr/bin/bwrap"),
    vm_init="/usr/local/bin/vm-init",
    iommu_groups=12,
    vfio=True,
    hugepages=((2048, 512, 500), (1 << 20, 0, 0)),
    runtime=Folder(path="/run/user/1000"),
    confdir=Folder(path="/home/alice/vm", kind="ext4", free=3 * GIB + GIB // 2),
    tmp=Folder(path="/tmp", free=512 << 20),
)
BSD = replace(GOOD, bsd=True, hypervisor=Program(path="/usr/sbin/bhyve", version="14.1-RELEASE"))


def of(facts: Facts, about: str) -> Finding:
    """What is said of one thing, which is said once."""
    (found,) = [each for each in report.judge(facts) if each.about == about]
    return found


def test_a_host_that_has_everything_is_told_so_line_by_line() -> None:
    found = report.judge(GOOD)
    assert list(report.report(found)) == [
        "ok       QEMU       7.2.22 /usr/bin/qemu-system-x86_64",
        "ok       KVM        works",
        "ok       UEFI       /usr/share/OVMF/OVMF_CODE_4M.fd",
        "ok       state      /run/user/1000",
        "ok       folder     /home/alice/vm, 3.5 GiB free",
        "ok       qemu-img   7.2.22 /usr/bin/qemu-img",
        "ok       bwrap      /usr/bin/bwrap, works",
        "ok       room       /tmp, 512 MiB free",
        "ok       vm-init    /usr/local/bin/vm-init; vm-init NAME --dry-run shows what "
        "/etc/vmman/policy.toml gives you",
        "ok       taps       /dev/net/tun opens",
        "ok       IOMMU      12 groups, and VFIO",
        "ok       memlock    no limit",
        "ok       hugepages  500 of 512 free, 2048 KiB each",
        "a guest can run here; next: vm-pull USER/BOX, or vm-list for those that are there",
    ]
    assert report.status(found) == 0


def test_a_hypervisor_that_is_not_there_is_missing_with_how_to_get_it() -> None:
    facts = replace(GOOD, hypervisor=Program(problem="qemu is not there", hint="install it"))
    assert of(facts, "QEMU") == Finding(
        verdict="missing", about="QEMU", said="qemu is not there", hint="install it"
    )
    assert report.status(report.judge(facts)) == 69
    assert [*report.report(report.judge(facts))][-1].startswith("no guest can run here yet")


@pytest.mark.parametrize(
    ("kvm", "verdict", "said", "hint"),
    [
        (Kvm(problem="missing"), "note", "there is no /dev/kvm", "modprobe"),
        (Kvm(problem="processor"), "note", "neither vmx nor svm", "firmware"),
        (
            Kvm(problem="denied", group="kvm"),
            "note",
            "is the group kvm's and not yours",
            "sudo usermod -aG kvm alice, then log in again",
        ),
        (Kvm(problem="denied", group="kvm", joined=True), "note", "not yours", "log in again: you"),
        (
            Kvm(problem="denied", group="root"),
            "note",
            "the group root's",
            "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm, as udev does",
        ),
        (
            Kvm(problem="Device or resource busy"),
            "missing",
            "/dev/kvm: Device or resource busy",
            "end the other hypervisor",
        ),
    ],
)
def test_kvm_that_does_not_work_is_told_with_its_reason_and_the_next_step(
    kvm: Kvm, verdict: str, said: str, hint: str
) -> None:
    found = of(replace(GOOD, kvm=kvm), "KVM")
    assert found.verdict == verdict
    assert said in found.said
    assert hint in found.hint


@pytest.mark.parametrize(
    ("change", "about", "said"),
    [
        ({"firmware": ""}, "UEFI", "no firmware; guests with a BIOS run"),
        ({"qemu_img": Program()}, "qemu-img", "not there; vm-pull then takes no box"),
        ({"qemu_img": Program(path="/q", problem="no")}, "qemu-img", "no; vm-pull then takes"),
        ({"bwrap": Program()}, "bwrap", "not there; vm-pull's qemu-img has limits"),
        ({"bwrap": Program(path="/b", problem="no")}, "bwrap", "/b does not work here"),
        ({"vm_init": ""}, "vm-init", "not there: cards in user mode only"),
        ({"policy_problem": "Permission denied"}, "vm-init", "policy.toml: Permission denied"),
        (
            {"tun": ("/dev/net/tun is not yours to open", "sudo chmod 666 /dev/net/tun")},
            "taps",
            "/dev/net/tun is not yours to open: cards in user mode and macvtaps only, no taps",
        ),
        ({"iommu_groups": 0}, "IOMMU", "off: no PCI device can be given"),
        ({"vfio": False}, "IOMMU", "12 groups; VFIO is not loaded"),
        ({"memlock": 8 << 20}, "memlock", "8 MiB; a guest with a PCI device locks"),
        ({"hugepages": ()}, "hugepages", "none reserved"),
        ({"longest_name": 20}, "state", "room for names of up to 20 letters"),
        ({"confdir": Folder(path="/c", exists=False)}, "folder", "vm-pull and new.sh make it"),
        (
            {"confdir": Folder(path="/c", exists=False, writable=False)},
            "folder",
            "/c is not there; and cannot be made by you",
        ),
        ({"confdir": Folder(path="/c", writable=False)}, "folder", "no lock that other hosts see"),
        ({"tmp": Folder(path="/tmp", free=1 << 20)}, "room", "/tmp, 1 MiB free"),
    ],
)
def test_what_a_plain_guest_does_without_is_a_note(
    change: dict[str, object], about: str, said: str
) -> None:
    facts = replace(GOOD, **change)
    notes = [each for each in report.judge(facts) if each.verdict != "ok" and each.about == about]
    assert notes[0].verdict == "note"
    assert said in notes[0].said
    assert report.status(report.judge(facts)) == 0


@pytest.mark.parametrize(
    ("facts", "about", "said"),
    [
        (
            replace(GOOD, runtime=Folder(path="/r", problem="is not yours")),
            "state",
            "/r is not yours",
        ),
        (replace(GOOD, longest_name=0), "state", "room for none"),
        (
            replace(GOOD, confdir=Folder(path="/c", problem="it can be written by everybody")),
            "folder",
            "/c: it can be written by everybody; no description in it is believed",
        ),
        (replace(BSD, bhyve=Bhyve(modules=())), "vmm", "is not loaded"),
        (replace(BSD, firmware=""), "UEFI", "no firmware"),
    ],
)
def test_what_no_guest_can_do_without_is_missing(facts: Facts, about: str, said: str) -> None:
    found = of(facts, about)
    assert (found.verdict, said in found.said, bool(found.hint)) == ("missing", True, True)
    assert report.status(report.judge(facts)) == 69


def test_on_freebsd_it_is_bhyve_and_its_module_that_count() -> None:
    found = report.judge(BSD)
    assert [each.about for each in found[:4]] == ["bhyve", "vmm", "way", "UEFI"]
    assert not {"hugepages", "IOMMU", "memlock", "KVM", "bwrap"} & {each.about for each in found}
    assert report.status(found) == 0
    lacking = report.judge(replace(BSD, qemu_img=Program()))
    assert [each.hint for each in lacking if each.about == "qemu-img"] == [
        "sudo pkg install qemu-tools"
    ]


def test_a_folder_on_nfs_and_a_full_one_are_noted_beside_it() -> None:
    full = Folder(path="/home/alice/vm", kind="nfs4", free=100 << 20)
    said = [each for each in report.judge(replace(GOOD, confdir=full)) if each.about == "folder"]
    assert [each.verdict for each in said] == ["ok", "note", "note"]
    assert "is on NFS: its locks hold across hosts" in said[1].said
    assert "only 100 MiB free" in said[2].said


def test_no_word_of_the_host_can_move_a_terminal() -> None:
    facts = replace(GOOD, confdir=Folder(path="/home/\x1b[2J/vm", free=GIB))
    assert "\x1b" not in "".join(report.report(report.judge(facts)))


# --- how the facts are come by -------------------------------------------------------------------


def test_the_host_is_looked_at_and_nothing_is_changed(home: Home) -> None:
    home.program("fake-qemu", "#!/bin/sh\necho 'QEMU emulator version 9.9.9 (a host of files)'\n")
    before = sorted(home.vm.folder.rglob("*"))
    said = home.says("--check")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert re.fullmatch(rf"ok +QEMU +9\.9\.9 {home.bin}/fake-qemu", lines[0])
    assert any(f" {home.vm.runtime}" in line for line in lines)
    assert any(f" {home.folder}, " in line for line in lines)
    assert all(re.match("ok  |note  |missing  |          +hint: ", line) for line in lines[:-1])
    assert sorted(home.vm.folder.rglob("*")) == before


def test_without_a_hypervisor_the_status_is_69(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEMU_BIN", "/nowhere/qemu")
    said = home.says("--check")
    assert said.status == 69
    assert said.out.startswith("missing  QEMU       /nowhere/qemu does not exist\n")
    assert "hint: install it (Debian: sudo apt install qemu-system-x86)" in said.out


def test_a_hypervisor_that_does_not_start_is_missing(home: Home) -> None:
    home.program("fake-qemu", "#!/bin/sh\necho 'no such library' >&2\nexit 127\n")
    said = home.says("--check")
    assert said.status == 69
    assert "--version: exit status 127: no such library" in said.out.splitlines()[0]


@pytest.mark.parametrize(
    "words",
    [("-t", "install"), ("-o", "mem=1G"), ("-d",), ("--explain",), ("--debug",), ("--targets",)],
)
def test_what_is_of_one_machine_still_wants_its_name(home: Home, words: tuple[str, ...]) -> None:
    said = home.says("--check", *words)
    assert said.status == 64
    assert "the name of a VM is missing" in said.err


def test_with_a_name_it_is_that_machine_that_is_looked_at(home: Home) -> None:
    home.vm.describe("")
    said = home.says("vm", "--check")
    assert said.out == "vm: this host has everything that target default needs\n"


def kvm(monkeypatch: pytest.MonkeyPatch, node: Path, works: bool) -> Kvm:
    monkeypatch.setattr(probe, "_KVM", str(node))
    monkeypatch.setattr(linux, "kvm_works", lambda: works)
    return probe.look().kvm


def test_kvm_is_asked_for_a_machine_and_not_only_opened(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.vm.runtime
    assert kvm(monkeypatch, tmp_path / "kvm", True) == Kvm(problem="missing")
    (tmp_path / "kvm").touch()
    assert kvm(monkeypatch, tmp_path / "kvm", False) == Kvm(problem="processor")
    found = kvm(monkeypatch, tmp_path / "kvm", True)
    assert found.problem == "Inappropriate ioctl for device"  # a file makes no machine


def test_taps_are_tried_at_their_node(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.vm.runtime
    for path, tun in (("/dev/null", ("", "")), ("/dev/no", ("/dev/no is missing", MODPROBE))):
        monkeypatch.setattr(probe, "TUN", replace(requirements.TUN, path=path))
        assert probe.look().tun == tun


def test_who_may_not_open_kvm_is_told_whose_it_is(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.vm.runtime
    (tmp_path / "kvm").touch()
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == str(tmp_path / "kvm"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse2\nvmx flags : vnmi\n")
    monkeypatch.setattr(linux, "_CPUINFO", str(tmp_path / "cpuinfo"))
    assert kvm(monkeypatch, tmp_path / "kvm", False) == Kvm(problem="processor")
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu svm sse2\n")
    found = kvm(monkeypatch, tmp_path / "kvm", False)
    assert (found.problem, found.joined) == ("denied", False)
    assert found.group == (tmp_path / "kvm").group()


@pytest.mark.parametrize(
    ("mode", "problem"),
    [(0o700, ""), (0o755, ""), (0o702, "everybody"), (0o1777, "")],
)
def test_a_folder_of_descriptions_is_judged_as_each_of_them_will_be(
    home: Home, mode: int, problem: str
) -> None:
    home.vm.describe("")
    home.folder.chmod(mode)
    assert problem in probe.look().confdir.problem
    assert bool(probe.look().confdir.problem) == (home.says("vm", "-d").status == 77)


def test_a_folder_of_descriptions_that_is_none_is_missing_or_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = home.vm.folder / "plain"
    there.touch()
    for path, exists, problem in [(there, True, "it is no folder"), (there / "x" / "y", False, "")]:
        monkeypatch.setenv("VMCONF_DIR", str(path))
        found = probe.look().confdir
        assert (found.exists, found.problem) == (exists, problem)


def test_the_longest_name_that_is_told_is_the_longest_that_a_machine_can_have(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = home.vm.runtime / ("x" * max(1, 55 - len(str(home.vm.runtime))))
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    longest = probe.look().longest_name
    assert 0 < longest < 64
    Claim("x" * longest, "")
    with pytest.raises(VmError, match="too long a path for sockets"):
        Claim("x" * (longest + 1), "")


def refused(path: str, mode: int) -> bool:
    assert path
    return mode == os.F_OK


def test_a_runtime_folder_of_others_is_missing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.vm.runtime.chmod(0o770)
    assert "only you can write to" in probe.look().runtime.problem
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.vm.folder / "gone"))
    assert probe.look().runtime.problem == ""
    monkeypatch.setattr(os, "access", refused)
    assert probe.look().runtime.path == f"/tmp/vm-{os.getuid()}"


def test_the_kind_of_a_file_system_is_what_the_kernel_calls_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = os.stat(home.folder).st_dev
    mounts = tmp_path / "mountinfo"
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts.write_text(
        "22 1 0:999 / /proc rw - proc proc rw\n"
        f"31 1 {number} / /home rw shared:1 - nfs4 server:/home rw,vers=4.2\n"
    )
    monkeypatch.setattr(probe, "_MOUNTS", str(mounts))
    assert probe.look().confdir.kind == "nfs4"
    mounts.write_text("22\n")
    assert probe.look().confdir.kind == ""


def test_hugepages_and_groups_are_what_sysfs_says(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.vm.runtime
    pages = tmp_path / "pages/hugepages-2048kB"
    pages.mkdir(parents=True)
    (pages / "nr_hugepages").write_text("8\n")
    (pages / "free_hugepages").write_text("6\n")
    (tmp_path / "groups/0").mkdir(parents=True)
    (tmp_path / "groups/1").mkdir()
    monkeypatch.setattr(probe, "_HUGEPAGES", str(pages.parent))
    monkeypatch.setattr(probe, "_IOMMU", str(tmp_path / "groups"))
    found = probe.look()
    assert (found.hugepages, found.iommu_groups) == (((2048, 8, 6),), 2)
    (pages / "nr_hugepages").unlink()
    monkeypatch.setattr(probe, "_IOMMU", str(tmp_path / "none"))
    found = probe.look()
    assert (found.hugepages, found.iommu_groups) == (((2048, 0, 6),), 0)


def test_the_limit_on_locked_memory_is_the_users(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.vm.runtime
    monkeypatch.setattr(os, "getuid", lambda: 1000)

    def getrlimit(which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_MEMLOCK
        return 1 << 20, 8 << 20

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    assert probe.look().memlock == 8 << 20


def test_the_policy_that_is_looked_for_is_the_one_of_vm_init(home: Home) -> None:
    assert home.vm.runtime
    assert probe.look().policy == policy.FILE
    assert Facts.defaults["policy"] == "/etc/vmman/policy.toml"


def test_on_freebsd_the_policy_is_below_usr_local(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.vm.runtime
    monkeypatch.setattr(platform, "is_bsd", lambda: True)
    assert probe.look().policy == "/usr/local/etc/vmman/policy.toml"


def test_a_program_that_fails_is_told_with_its_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(argv: list[str], *, terminal: bool = False) -> str:
        assert not terminal
        raise VmError(Fault(problem=f"{argv[0]}: SIGSEGV"), status=69)

    assert home.vm.runtime
    monkeypatch.setattr(program, "run", fails)
    assert probe.look().hypervisor.problem.endswith("fake-qemu: SIGSEGV")
