"""Giving and taking back on FreeBSD, by fake programs. Untested on FreeBSD."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_init import freebsd, nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.policy import Granted, find_grant, parse
from vm_init.request import parse_line

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
    monkeypatch.setattr(freebsd, "BELOW", str(tmp_path))
    monkeypatch.setattr(nodes, "DEV", str(tmp_path / "dev"))
    owners: dict[str, int] = {}
    pinned: list[str] = []

    def pin(path: str) -> int:
        pinned.append(path)
        return os.open(os.devnull, os.O_RDONLY)

    def change_owner(fd: int, uid: int, gid: int) -> None:
        del fd, gid
        owners[pinned[-1]] = uid
        with (tmp_path / "calls").open("a") as calls:
            calls.write(f"chown {uid} {pinned[-1]}\n")

    def owner(name: str) -> int | None:
        there = (tmp_path / "dev" / "vmm" / name).exists()
        return owners.get(f"/dev/vmm/{name}", 0) if there else None

    monkeypatch.setattr(nodes, "pin", pin)
    monkeypatch.setattr(nodes, "change_owner", change_owner)
    monkeypatch.setattr(freebsd, "_find_machine_owner", owner)
    yield tmp_path


def calls(host: Path) -> list[str]:
    return (host / "calls").read_text().splitlines()


def given(line: str, target: str = "", pinned: str = "") -> Record:
    granted = Granted(parse_line(line), "policy.toml: grant 1", target, pinned)
    record = freebsd.check(granted, ALICE)
    freebsd.give([record], ALICE)
    return record


def take(record: Record, uid: int = ALICE.uid) -> str:
    return freebsd.take([record], uid)[0]


def test_a_tap_is_made_tagged_joined_and_its_node_given(host: Path) -> None:
    record = given("tap tap3 bridge bridge0", "bridge0")
    assert calls(host) == [
        "kldload -n if_tuntap",
        "kldload -n if_bridge",
        "ifconfig tap3",
        "ifconfig tap3 create",
        f"ifconfig tap3 description {record.tag}",
        "ifconfig bridge0 addm tap3",
        "ifconfig tap3 up",
        "chown 1001 /dev/tap3",
    ]
    assert freebsd.holds(record, ALICE)
    assert take(record) == ""
    assert calls(host)[-1] == "ifconfig tap3 destroy"
    assert not freebsd.holds(record, ALICE)
    assert take(record) == ""


def test_threat_38_a_tap_that_is_there_is_nobodys_to_have(host: Path) -> None:
    (host / "tap3").write_text("\tdescription: bob's\n")
    with pytest.raises(InitError, match="there is an interface of this name"):
        given("tap tap3 bridge bridge0", "bridge0")
    assert "ifconfig tap3 create" not in calls(host)


def test_threat_69_a_tap_of_another_tag_is_left_alone(host: Path) -> None:
    record = given("tap tap3 bridge -")
    (host / "tap3").write_text("\tdescription: somebody else's\n")
    assert take(record) == ""
    assert "ifconfig tap3 destroy" not in calls(host)


def test_a_pci_device_goes_to_ppt_and_back(host: Path) -> None:
    record = given("pci 0000:01:00.0", pinned="10de:1b80")
    assert record.former == "em"
    assert freebsd.holds(record, ALICE)
    assert calls(host)[-2] == "devctl set driver -f pci0:1:0:0 ppt"
    assert take(record) == ""
    assert calls(host)[-1] == "devctl clear driver -f pci0:1:0:0"


def test_threat_55_another_device_than_pinned_is_refused(host: Path) -> None:
    with pytest.raises(InitError, match="the policy names 10de:ffff"):
        given("pci 0000:01:00.0", pinned="10de:ffff")
    assert not any(call.startswith("devctl") for call in calls(host))


def test_the_machine_itself_is_made_by_root_and_handed_over(host: Path) -> None:
    record = given("vm web")
    assert "bhyvectl --create --vm=web" in calls(host)
    assert calls(host)[-1] == "chown 1001 /dev/vmm/web"
    assert freebsd.holds(record, ALICE)
    assert take(record) == ""
    assert calls(host)[-1] == "bhyvectl --destroy --vm=web"
    assert not freebsd.holds(record, ALICE)


def test_threat_89_a_machine_that_is_roots_own_now_is_not_destroyed(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = given("vm web")

    def roots(name: str) -> int:
        del name
        return 0

    monkeypatch.setattr(freebsd, "_find_machine_owner", roots)
    assert take(record) == ""
    assert "bhyvectl --destroy --vm=web" not in calls(host)


def test_a_machine_is_judged_by_its_name() -> None:
    policy = parse(b'[[grant]]\nwho = ["*"]\nvms = ["%u-*"]\n', "policy.toml")
    assert find_grant(ALICE, parse_line("vm alice-web"), policy, 0)
    assert not find_grant(ALICE, parse_line("vm bob-web"), policy, 0)
    assert not find_grant(ALICE, parse_line("vm alice-web"), parse(b"", "policy.toml"), 0)
