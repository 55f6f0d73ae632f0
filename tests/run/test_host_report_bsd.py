"""`vm-run --check` without a name on FreeBSD, which is made of files here. Untested there."""

from __future__ import annotations

import pytest

from tests.run import freebsd as hosts
from tests.run.freebsd import PAGE, FreeBsd
from tests.run.test_host_report import Result, result
from vm_run.bhyve import vmm
from vm_run.host import freebsd_kernel, freebsd_probe, freebsd_report, report
from vm_run.host.freebsd_probe import Bhyve
from vm_spec import library

freebsd = pytest.fixture(hosts.freebsd)

MIB = 1 << 20
HINT = "sudo pw groupmod vmm -m {}, then log in again"


class Reported:
    """The report of a FreeBSD of which this was found out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, freebsd: FreeBsd) -> None:
        self._patch = monkeypatch
        self.home = freebsd.home
        self.home.program("vm-init")

    def result(self, bhyve: Bhyve, about: str) -> Result:
        self._patch.setattr(freebsd_probe, "look", lambda: bhyve)
        return result(about, freebsd_report.checks())


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch, freebsd: FreeBsd) -> Reported:
    return Reported(monkeypatch, freebsd)


def test_a_freebsd_that_has_everything_says_so_line_by_line(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    bhyve = Bhyve(monitor=True, control="mine", ppt=(), wired=(4 << 30, 1 << 30))
    monkeypatch.setattr(freebsd_probe, "look", lambda: bhyve)
    lines, _ = report.report(freebsd_report.checks())
    assert [
        line for line in lines if line.split()[1] in ("vmm", "way", "nmdm", "ppt", "wired")
    ] == [
        "ok       vmm        loaded",
        "ok       way        bhyve -M makes each VM: /dev/vmmctl is yours to open",
        "ok       nmdm       loaded",
        "note     ppt        no PCI device is kept for guests: bhyve hands them over for "
        "root alone",
        "ok       wired      3072 MiB of 4096 MiB can be wired (vm.max_user_wired)",
    ]
    assert lines[0].startswith("ok       bhyve      ")
    assert reported.home.folder


@pytest.mark.parametrize(
    ("bhyve", "what"),
    [
        (Bhyve(root=True), "root makes each VM, and runs it"),
        (Bhyve(control="mine"), "hands it over; this bhyve has no monitor mode (-M)"),
        (Bhyve(monitor=True), "there is no /dev/vmmctl"),
        (Bhyve(monitor=True, control="root"), "/dev/vmmctl is root's alone"),
        (Bhyve(monitor=True, control="vmm"), "/dev/vmmctl is the group vmm's and not yours"),
    ],
)
def test_the_way_to_a_vm_is_shown_with_why_there_is_no_shorter_one(
    reported: Reported, bhyve: Bhyve, what: str
) -> None:
    found = reported.result(bhyve, "way")
    assert (found[0], what in found[1]) == ("ok", True)


@pytest.mark.parametrize(
    ("bhyve", "hint"),
    [
        (Bhyve(), "an admin: make install"),
        (Bhyve(monitor=True, control="vmm"), HINT),
        (Bhyve(monitor=True, control="vmm", joined=True), "log in again: you are in the group"),
    ],
)
def test_without_any_way_to_a_vm_no_guest_can_run(
    reported: Reported, monkeypatch: pytest.MonkeyPatch, bhyve: Bhyve, hint: str
) -> None:
    def find_nothing(_: str) -> None:
        return None

    monkeypatch.setattr(freebsd_report, "which", find_nothing)
    found = reported.result(bhyve, "way")
    assert found[0] == "missing"
    assert found[2].startswith(hint.format(library.context("").user))
    assert "there is no vm-init to make a VM for you" in found[1]


@pytest.mark.parametrize(
    ("bhyve", "about", "what"),
    [
        (Bhyve(modules=("vmm",)), "nmdm", "is not loaded"),
        (Bhyve(modules=("vmm",)), "if_tuntap", "is not loaded"),
        (Bhyve(modules=("vmm",)), "if_bridge", "is not loaded"),
        (Bhyve(up=0), "taps", "up_on_open is 0"),
        (Bhyve(ppt=("0000:01:00.0",)), "ppt", "0000:01:00.0"),
        (Bhyve(ppt=None), "ppt", "pciconf -l does not list devices"),
        (Bhyve(absent=(("swtpm", "a TPM"),)), "swtpm", "is missing"),
    ],
)
def test_what_only_some_guests_need_is_a_note(
    reported: Reported, bhyve: Bhyve, about: str, what: str
) -> None:
    found = reported.result(bhyve, about)
    assert (found[0], what in found[1]) == ("note", True)


def test_without_vmm_no_guest_can_run(reported: Reported) -> None:
    assert reported.result(Bhyve(modules=()), "vmm")[:2] == ("missing", "is not loaded")


@pytest.mark.parametrize("bhyve", [Bhyve(up=0, root=True), Bhyve(up=0, monitor=True), Bhyve(up=1)])
def test_a_tap_that_bhyve_sets_up_itself_is_no_matter(reported: Reported, bhyve: Bhyve) -> None:
    assert reported.result(bhyve, "taps") == ("ok", "", "")


def test_root_can_use_what_ppt_keeps(reported: Reported) -> None:
    assert reported.result(Bhyve(root=True, ppt=("0000:01:00.0",)), "ppt")[0] == "ok"


def test_memory_can_be_wired_without_a_limit_where_there_is_none(reported: Reported) -> None:
    assert reported.result(Bhyve(wired=(-1, 5)), "wired")[1] == "no limit"
    assert reported.result(Bhyve(wired=(MIB, 3 * MIB)), "wired")[1].startswith("0 MiB of 1 MiB")


def test_what_a_host_has_is_found_out_by_asking_it(freebsd: FreeBsd) -> None:
    freebsd.loaded("vmm", "if_bridge")
    freebsd.release("main")
    freebsd.sysctl("vm.max_user_wired", 1000)
    freebsd.sysctl("vm.stats.vm.v_user_wire_count", 10)
    freebsd.sysctl("net.link.tap.up_on_open", 0)
    freebsd.home.program("swtpm")
    freebsd.node("vmmctl", mine=False)
    found = freebsd_probe.look()
    assert found.modules == ("vmm", "if_bridge")
    assert (found.root, found.monitor, found.control, found.joined) == (False, True, "root", False)
    assert found.ppt == ("0000:01:00.0",)
    assert found.wired == (1000 * PAGE, 10 * PAGE)
    assert found.up == 0
    assert "swtpm" not in dict(found.absent)


def test_whose_vmmctl_is_is_looked_at(freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert freebsd_probe.look().control == ""
    node = freebsd.node("vmmctl", mode=0o660)
    assert freebsd_probe.look().control == "mine"
    freebsd.node("vmmctl", mine=False, mode=0o660)
    monkeypatch.setattr(vmm, "joined", node.group().__eq__)
    found = freebsd_probe.look()
    assert (found.control, found.joined) == (node.group(), True)


def test_a_host_without_pciconf_bhyve_and_packages_is_still_told_of(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(freebsd_kernel, "_FOLDERS", ())
    monkeypatch.setenv("PATH", str(freebsd.place))
    monkeypatch.setenv("BHYVE_BIN", "no-such-bhyve")
    (freebsd.place / "libslirp").unlink()
    found = freebsd_probe.look()
    assert (found.modules, found.monitor, found.ppt) == ((), False, None)
    assert (found.wired, found.up) == ((-1, 0), None)
    assert [package for package, _ in found.absent] == ["swtpm", "grub2-bhyve", "libslirp"]


def test_the_whole_of_it_is_said(freebsd: FreeBsd) -> None:
    freebsd.uid(freebsd.place.stat().st_uid)  # whose state folder is judged too
    freebsd.home.program("vm-init")
    said = freebsd.home.says("--check")
    assert said.out.startswith("ok       bhyve")
    assert "a guest can run here; " in said.out
    assert said.status == 0
    freebsd.loaded()
    assert freebsd.home.says("--check").status == 69
