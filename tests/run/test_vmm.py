"""The three ways to run a VM in FreeBSD's kernel. Untested on FreeBSD: its nodes are files here."""

from __future__ import annotations

import os

import pytest

from tests.run import freebsd as hosts
from tests.run.freebsd import FreeBsd
from vm_run.bhyve import vmm
from vm_spec.fault import Fault, VmError

freebsd = pytest.fixture(hosts.freebsd)

OURS = "sudo vm-init web"


def bhyve(host: FreeBsd) -> str:
    return str(host.home.bin / "bhyve")


def none(host: FreeBsd) -> Fault:
    """Why there is no way."""
    with pytest.raises(VmError) as caught:
        vmm.choose("web", bhyve(host))
    assert caught.value.status == 69
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("release", "monitor"), [("13", False), ("14", False), ("15", False), ("main", True)]
)
def test_a_monitor_mode_is_what_the_usage_tells(
    freebsd: FreeBsd, release: str, monitor: bool
) -> None:
    freebsd.release(release)
    for _ in range(2):
        assert vmm.has_monitor(bhyve(freebsd)) is monitor
    assert freebsd.asked == ["-h"]


def test_a_bhyve_that_does_not_answer_has_no_monitor_mode(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vmm, "PATIENCE_S", 0.05)
    slow = freebsd.home.program("slow", f"#!/bin/sh\nexec cat < {freebsd.place}/fifo\n")
    os.mkfifo(freebsd.place / "fifo")
    assert not vmm.has_monitor(str(slow))
    assert not vmm.has_monitor("/nowhere/bhyve")


def test_bhyve_is_asked_without_our_input(freebsd: FreeBsd) -> None:
    freebsd.release("main")
    read, write = os.pipe()
    kept = os.dup(0)
    os.write(write, b"what the user types")
    try:
        os.dup2(read, 0)
        assert vmm.has_monitor(bhyve(freebsd))  # which answers only when there is nothing to read
    finally:
        os.dup2(kept, 0)
        for descriptor in (read, write, kept):
            os.close(descriptor)


def test_a_word_that_only_looks_like_the_option_is_none(freebsd: FreeBsd) -> None:
    (freebsd.place / "help").write_text("       -o: set -M: monitor mode\n       --M: no\n")
    assert not vmm.has_monitor(bhyve(freebsd))


def test_a_vm_that_is_handed_over_is_run_as_it_is(freebsd: FreeBsd) -> None:
    freebsd.node("vmm/web")
    freebsd.release("main")
    freebsd.node("vmmctl")
    way = vmm.choose("web", bhyve(freebsd))
    assert way.kind == "handed"
    assert f"{freebsd.dev}/vmm/web is yours" in way.said
    assert freebsd.asked == []  # nothing has to be asked


def test_root_needs_no_other_way(freebsd: FreeBsd) -> None:
    freebsd.uid(0)
    freebsd.node("vmm/web")
    assert vmm.choose("web", bhyve(freebsd)).kind == "root"


def test_who_may_open_vmmctl_runs_it_in_monitor_mode(freebsd: FreeBsd) -> None:
    freebsd.release("main")
    freebsd.node("vmmctl", mode=0o660)
    assert vmm.choose("web", bhyve(freebsd)).kind == "monitor"


def test_a_vm_of_somebody_else_is_told_as_that_even_where_there_is_a_monitor_mode(
    freebsd: FreeBsd,
) -> None:
    freebsd.release("main")
    freebsd.node("vmmctl", mode=0o660)
    freebsd.node("vmm/web", mine=False)
    fault = none(freebsd)
    assert fault.problem == f"{freebsd.dev}/vmm/web is there and is not yours"
    assert fault.hint.endswith("sudo bhyvectl --vm=web --destroy")


@pytest.mark.parametrize("release", ["13", "14", "15"])
def test_without_a_monitor_mode_root_makes_the_vm(freebsd: FreeBsd, release: str) -> None:
    freebsd.release(release)
    freebsd.node("vmmctl", mode=0o660)
    fault = none(freebsd)
    assert "this bhyve has no monitor mode (-M)" in fault.problem
    assert fault.hint == OURS


def test_without_vmmctl_vmm_is_not_loaded(freebsd: FreeBsd) -> None:
    freebsd.release("main")
    fault = none(freebsd)
    assert fault.problem.endswith("vmmctl: vmm is not loaded")
    assert fault.hint == OURS


def test_a_vmmctl_of_roots_alone_is_nothing_to_join(freebsd: FreeBsd) -> None:
    freebsd.release("main")
    freebsd.node("vmmctl", mine=False)
    fault = none(freebsd)
    assert fault.problem.endswith("vmmctl is root's alone")
    assert fault.hint == OURS


def test_who_is_not_in_the_group_is_told_how_to_join_it(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    freebsd.release("main")
    group = freebsd.node("vmmctl", mine=False, mode=0o660).group()
    monkeypatch.setattr(vmm, "_user", lambda: "mike")
    fault = none(freebsd)
    assert fault.problem.endswith(f"is the group {group}'s, which you are not in")
    assert fault.hint == f"sudo pw groupmod {group} -m mike, then log in again; or {OURS}"


def test_who_joined_since_logging_in_is_told_to_log_in_again(
    freebsd: FreeBsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    freebsd.release("main")
    freebsd.node("vmmctl", mine=False, mode=0o660)
    monkeypatch.setattr(vmm, "joined", bool)
    fault = none(freebsd)
    assert fault.problem.endswith("which you are in since your last login")
    assert fault.hint == f"log in again; or {OURS}"


def test_a_group_is_joined_when_it_names_the_user_and_the_process_lacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import grp

    def getgrnam(name: str) -> grp.struct_group:
        if name != "vmm":
            raise KeyError(name)
        return grp.struct_group(("vmm", "*", 978, ["mike"]))

    monkeypatch.setattr(grp, "getgrnam", getgrnam)
    monkeypatch.setattr(vmm, "_user", lambda: "mike")
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    assert vmm.joined("vmm")
    assert not vmm.joined("wheel")
    monkeypatch.setattr(os, "getgroups", lambda: [0, 978])
    assert not vmm.joined("vmm")
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    monkeypatch.setattr(vmm, "_user", lambda: "ann")
    assert not vmm.joined("vmm")


def test_the_memory_of_a_vm_is_its_own_by_its_whole_name(freebsd: FreeBsd) -> None:
    for name in ("web.bootrom", "web.old.bootrom", "we.bootrom", "webs.bootrom"):
        freebsd.node(f"vmm.io/{name}", mine=False)
    freebsd.node("vmm.io/web.framebuffer")
    assert [*vmm.strange_nodes("web")] == [f"{freebsd.dev}/vmm.io/web.bootrom"]
    assert [*vmm.strange_nodes("web.old")] == [f"{freebsd.dev}/vmm.io/web.old.bootrom"]
