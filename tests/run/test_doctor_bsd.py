"""`vm-run --check` without a name on FreeBSD, which is made of files here. Untested there."""

from __future__ import annotations

import pytest

from tests.run import freebsd as hosts
from tests.run.freebsd import PAGE, FreeBsd
from tests.run.test_doctor import BSD
from vm_run.bhyve import vmm
from vm_run.host import probe, report
from vm_run.host.facts import Bhyve, Facts
from vm_run.host.finding import Finding
from vm_spec.frozen import replace

freebsd = pytest.fixture(hosts.freebsd)

MIB = 1 << 20
HINT = "sudo pw groupmod vmm -m alice, then log in again"


def of(bhyve: Bhyve, about: str, facts: Facts = BSD) -> Finding:
    """What is said of one thing, which is said once."""
    judged = report.judge(replace(facts, bhyve=bhyve))
    (found,) = [each for each in judged if each.about == about]
    return found


def test_a_freebsd_that_has_everything_is_told_so_line_by_line() -> None:
    bhyve = Bhyve(monitor=True, control="mine", ppt=(), wired=(4 << 30, 1 << 30))
    found = report.judge(replace(BSD, bhyve=bhyve))
    assert list(report.report(found)) == [
        "ok       bhyve      14.1-RELEASE /usr/sbin/bhyve",
        "ok       vmm        loaded",
        "ok       way        bhyve -M makes each VM: /dev/vmmctl is yours to open",
        "ok       UEFI       /usr/share/OVMF/OVMF_CODE_4M.fd",
        "ok       state      /run/user/1000",
        "ok       folder     /home/alice/vm, 3.5 GiB free",
        "ok       qemu-img   7.2.22 /usr/bin/qemu-img",
        "ok       room       /tmp, 512 MiB free",
        "ok       vm-init    /usr/local/bin/vm-init; vm-init NAME --dry-run shows what "
        "/etc/vmman/policy.toml gives you",
        "ok       nmdm       loaded",
        "ok       if_tuntap  loaded",
        "ok       if_bridge  loaded",
        "note     ppt        no PCI device is kept for guests",
        '                    hint: pptdevs="1/0/0" in /boot/loader.conf, or vm-init; it is root '
        "who can use it",
        "ok       wired      3072 MiB of 4096 MiB can be wired (vm.max_user_wired)",
        "a guest can run here; next: vm-pull USER/BOX, or vm-list for those that are there",
    ]


@pytest.mark.parametrize(
    ("bhyve", "said", "hint"),
    [
        (Bhyve(root=True), "root makes each VM, and runs it", ""),
        (Bhyve(control="mine"), "hands it over; this bhyve has no monitor mode (-M)", ""),
        (Bhyve(monitor=True), "there is no /dev/vmmctl", ""),
        (Bhyve(monitor=True, control="root"), "/dev/vmmctl is root's alone", ""),
        (Bhyve(monitor=True, control="vmm"), "/dev/vmmctl is the group vmm's and not yours", HINT),
        (
            Bhyve(monitor=True, control="vmm", joined=True),
            "not yours",
            "log in again: you have been put into the group vmm",
        ),
    ],
)
def test_the_way_to_a_vm_is_told_with_why_there_is_no_shorter_one(
    bhyve: Bhyve, said: str, hint: str
) -> None:
    found = of(bhyve, "way")
    assert (found.verdict, found.hint) == ("ok", hint)
    assert said in found.said


@pytest.mark.parametrize(
    ("bhyve", "hint"),
    [(Bhyve(), "an admin: make install"), (Bhyve(monitor=True, control="vmm"), HINT)],
)
def test_without_any_way_to_a_vm_no_guest_can_run(bhyve: Bhyve, hint: str) -> None:
    alone = replace(BSD, vm_init="")
    found = of(bhyve, "way", alone)
    assert (found.verdict, found.hint) == ("missing", hint)
    assert "there is no vm-init to make a VM for you" in found.said
    assert report.status(report.judge(replace(alone, bhyve=bhyve))) == 69


@pytest.mark.parametrize(
    ("bhyve", "about", "said"),
    [
        (Bhyve(modules=("vmm",)), "nmdm", "is not loaded: no serial port"),
        (Bhyve(modules=("vmm",)), "if_tuntap", "is not loaded: no taps"),
        (Bhyve(modules=("vmm",)), "if_bridge", "is not loaded: no bridges"),
        (Bhyve(up=0), "taps", "up_on_open is 0"),
        (Bhyve(ppt=("0000:01:00.0",)), "ppt", "0000:01:00.0; bhyve hands PCI devices over for"),
        (Bhyve(ppt=None), "ppt", "pciconf -l does not tell"),
        (Bhyve(absent=(("swtpm", "a TPM"),)), "swtpm", "is not there: a TPM needs it"),
    ],
)
def test_what_only_some_guests_need_is_a_note(bhyve: Bhyve, about: str, said: str) -> None:
    found = of(bhyve, about)
    assert found.verdict == "note"
    assert said in found.said
    assert report.status(report.judge(replace(BSD, bhyve=bhyve))) == 0


@pytest.mark.parametrize("bhyve", [Bhyve(up=0, root=True), Bhyve(up=0, monitor=True), Bhyve(up=1)])
def test_a_tap_that_bhyve_sets_up_itself_is_no_matter(bhyve: Bhyve) -> None:
    assert "taps" not in [each.about for each in report.judge(replace(BSD, bhyve=bhyve))]


def test_root_can_use_what_ppt_keeps() -> None:
    assert of(Bhyve(root=True, ppt=("0000:01:00.0",)), "ppt").verdict == "ok"


def test_memory_can_be_wired_without_a_limit_where_there_is_none() -> None:
    assert of(Bhyve(wired=(-1, 5)), "wired").said == "no limit"
    assert of(Bhyve(wired=(MIB, 3 * MIB)), "wired").said.startswith("0 MiB of 1 MiB")


def test_what_a_host_has_is_found_out_by_asking_it(freebsd: FreeBsd) -> None:
    freebsd.loaded("vmm", "if_bridge")
    freebsd.release("main")
    freebsd.sysctl("vm.max_user_wired", 1000)
    freebsd.sysctl("vm.stats.vm.v_user_wire_count", 10)
    freebsd.sysctl("net.link.tap.up_on_open", 0)
    freebsd.home.program("swtpm")
    freebsd.node("vmmctl", mine=False)
    found = probe.look().bhyve
    assert found.modules == ("vmm", "if_bridge")
    assert (found.root, found.monitor, found.control, found.joined) == (False, True, "root", False)
    assert found.ppt == ("0000:01:00.0",)
    assert found.wired == (1000 * PAGE, 10 * PAGE)
    assert found.up == 0
    assert "swtpm" not in dict(found.absent)


def test_whose_vmmctl_is_is_looked_at(freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.look().bhyve.control == ""
    node = freebsd.node("vmmctl", mode=0o660)
    assert probe.look().bhyve.control == "mine"
    freebsd.node("vmmctl", mine=False, mode=0o660)
    monkeypatch.setattr(vmm, "joined", node.group().__eq__)
    found = probe.look().bhyve
    assert (found.control, found.joined) == (node.group(), True)


def test_a_host_without_pciconf_bhyve_and_packages_is_still_told_of(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vm_run.host import freebsd_kernel as bsd_kernel

    monkeypatch.setattr(bsd_kernel, "_FOLDERS", ())
    monkeypatch.setenv("PATH", str(freebsd.place))
    monkeypatch.setenv("BHYVE_BIN", "no-such-bhyve")
    (freebsd.place / "libslirp").unlink()
    found = probe.look().bhyve
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
