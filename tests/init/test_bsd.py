"""Giving and taking back on FreeBSD, by fake programs. Untested on FreeBSD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_init.record import Record
from vm_init.rules import read

from vm_init import freebsd, nodes
from vm_init.caller import Caller, Granted, InitError, Refused
from vm_init.policy import judge
from vm_init.request import Pci, Request, Tap, Vm, parse, render

ALICE = Caller(1001, 1001, "alice", (1001,), ("alice",), "/home/alice")
FAKE = """#!/bin/sh
echo "${0##*/} $*" >> BELOW/calls
case "${0##*/} $*" in
"ifconfig tap3") cat BELOW/tap3 2>/dev/null || exit 1 ;;
"ifconfig tap3 description "*) printf '\\tdescription: %s\\n' "$3" > BELOW/tap3 ;;
"ifconfig tap3 destroy") rm BELOW/tap3 ;;
"pciconf -l "*) cat BELOW/pci ;;
"devctl set "*) sed -i 's/^[a-z]*[0-9]@/ppt0@/' BELOW/pci ;;
"devctl clear "*) sed -i 's/^ppt0@/em0@/' BELOW/pci ;;
"bhyvectl --create "*) mkdir -p BELOW/dev/vmm && touch "BELOW/dev/vmm/${2#--vm=}" ;;
"bhyvectl --destroy "*) rm "BELOW/dev/vmm/${2#--vm=}" ;;
esac
"""
LINE = "em0@pci0:1:0:0:\tclass=0x030000 rev=0xa1 hdr=0x00 vendor=0x10de device=0x1b80\n"
PROGRAMS = (
    "sbin/ifconfig",
    "sbin/kldload",
    "usr/sbin/devctl",
    "usr/sbin/pciconf",
    "usr/sbin/bhyvectl",
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of fake programs and nodes, and the paths whose owner was changed."""
    for program in PROGRAMS:
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FAKE.replace("BELOW", str(tmp_path)))
        path.chmod(0o755)
    (tmp_path / "pci").write_text(LINE)
    monkeypatch.setattr(freebsd.Host, "below", str(tmp_path))
    monkeypatch.setattr(freebsd.Host, "nodes", nodes.REAL._replace(dev=str(tmp_path / "dev")))

    owners: dict[str, int] = {}

    def give(path: str, uid: int, host: nodes.Host) -> None:
        del host
        owners[path] = uid
        with (tmp_path / "calls").open("a") as calls:
            calls.write(f"chown {uid} {path}\n")

    def owner(name: str) -> int | None:
        there = (tmp_path / "dev" / "vmm" / name).exists()
        return owners.get(f"/dev/vmm/{name}", 0) if there else None

    monkeypatch.setattr(nodes, "give", give)
    monkeypatch.setattr(freebsd, "_machine_owner", owner)
    yield tmp_path


def calls(host: Path) -> list[str]:
    return (host / "calls").read_text().splitlines()


def given(request: Request, **more: str) -> Record:
    granted = Granted(request, "policy.toml: grant 1", **more)
    return freebsd.act(freebsd.intend(granted, ALICE, "web"), ALICE)


def test_a_tap_is_made_tagged_joined_and_its_node_given(host: Path) -> None:
    record = given(Tap("tap3", bridge="bridge0"), target="bridge0")
    tag = f"vmman:1001:web:{record.nonce}"
    assert calls(host) == [
        "kldload -n if_tuntap",
        "kldload -n if_bridge",
        "ifconfig tap3",
        "ifconfig tap3 create",
        f"ifconfig tap3 description {tag}",
        "ifconfig bridge0 addm tap3",
        "ifconfig tap3 up",
        "chown 1001 /dev/tap3",
    ]
    assert freebsd.holds(record, ALICE)
    assert freebsd.undo(record) == ""
    assert calls(host)[-1] == "ifconfig tap3 destroy"
    assert not freebsd.holds(record, ALICE)
    assert freebsd.undo(record) == ""


def test_threat_38_a_tap_that_is_there_is_nobodys_to_have(host: Path) -> None:
    (host / "tap3").write_text("\tdescription: bob's\n")
    with pytest.raises(InitError, match="not allowed on this host"):
        given(Tap("tap3", bridge="bridge0"), target="bridge0")
    assert "ifconfig tap3 create" not in calls(host)


def test_threat_69_a_tap_of_another_tag_is_left_alone(host: Path) -> None:
    record = given(Tap("tap3", bridge="-"))
    (host / "tap3").write_text("\tdescription: somebody else's\n")
    assert freebsd.undo(record) == ""
    assert "ifconfig tap3 destroy" not in calls(host)


def test_a_pci_device_goes_to_ppt_and_back(host: Path) -> None:
    record = given(Pci("0000:01:00.0"), pinned="10de:1b80")
    assert record.former == "em"
    assert freebsd.holds(record, ALICE)
    assert calls(host)[-2] == "devctl set driver -f pci0:1:0:0 ppt"
    assert freebsd.undo(record) == ""
    assert calls(host)[-1] == "devctl clear driver -f pci0:1:0:0"


def test_threat_55_another_device_than_pinned_is_refused(host: Path) -> None:
    with pytest.raises(InitError, match="the policy names 10de:ffff"):
        given(Pci("0000:01:00.0"), pinned="10de:ffff")
    assert not any(call.startswith("devctl") for call in calls(host))


def test_the_machine_itself_is_made_by_root_and_handed_over(host: Path) -> None:
    record = given(Vm("web"))
    assert "bhyvectl --create --vm=web" in calls(host)
    assert calls(host)[-1] == "chown 1001 /dev/vmm/web"
    assert freebsd.holds(record, ALICE)
    assert freebsd.undo(record) == ""
    assert calls(host)[-1] == "bhyvectl --destroy --vm=web"
    assert not freebsd.holds(record, ALICE)


def test_a_machine_is_asked_for_in_the_grammar_and_judged_by_its_name() -> None:
    assert parse(render((Vm("alice-web"),))) == (Vm("alice-web"),)
    policy = read(b'[[grant]]\nwho = ["*"]\nvms = ["%u-*"]\n', "policy.toml")
    assert isinstance(judge(ALICE, Vm("alice-web"), policy), Granted)
    assert isinstance(judge(ALICE, Vm("bob-web"), policy), Refused)
    assert isinstance(judge(ALICE, Vm("alice-web"), read(b"", "policy.toml")), Refused)
