"""What root itself does and sees: ports, jobs' ends, accounts that are gone, the log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.init.lab import Lab
from tests.init.test_attacks import POLICY, VM_INIT, besieged, describe, given, init, links, tap

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with besieged() as made:
        yield made


@pytest.fixture(autouse=True)
def as_before(lab: Lab) -> Iterator[None]:
    before = links(lab)
    logged(lab)
    lab.write("/tmp/log", "")
    describe(lab, "one", tap("vma"))
    yield
    lab.write("/etc/vmman/policy.toml", POLICY)
    assert links(lab) == before
    assert {path.name for path in lab.path("/run/vmman").glob("*")} <= {"lock"}


def root(lab: Lab, *words: str) -> int:
    return lab.run("vm-init", *words).returncode


def logged(lab: Lab) -> list[str]:
    """All that was logged by now; the last of it is what this itself says."""
    lab.check("/usr/bin/python3", "-c", "import syslog; syslog.syslog('vm-init has said all')")
    until = time.monotonic() + 10
    while "has said all" not in lab.path("/tmp/log").read_text():
        assert time.monotonic() < until
    lines = [json.loads(line) for line in lab.path("/tmp/log").read_text().splitlines()]
    return [line for line in lines if "vm-init[" in line]


def test_threat_50_a_port_follows_the_policy(lab: Lab) -> None:
    def isolated() -> bool:
        (link,) = json.loads(lab.check("ip", "-j", "-d", "link", "show", "vma"))
        return bool(link["linkinfo"]["info_slave_data"]["isolated"])

    given(lab, "one")
    assert not isolated()
    lab.write("/etc/vmman/policy.toml", POLICY + "[bridges.br0]\nisolated = true\n")
    given(lab, "one")
    assert isolated()
    made = links(lab)
    given(lab, "one")
    assert links(lab) == made
    given(lab, "--release", "one")


def test_threat_71_root_may_take_a_tap_that_is_in_use(lab: Lab) -> None:
    assert root(lab, "--for-user", "alice", "--job", "7", "one") == 0
    holder = lab.start("holds", "vma", user="alice")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert root(lab, "--release", "--job", "7") == 75
    assert init(lab, "--release", "--force", "one").returncode == 77
    assert "vma" in links(lab)
    assert root(lab, "--release", "--force", "--job", "7") == 0
    assert "vma" not in links(lab)
    assert root(lab, "--release", "--force", "--job", "7") == 0
    holder.communicate("\n", timeout=10)


def test_what_an_account_had_that_is_gone_root_takes_back(lab: Lab) -> None:
    lab.check("useradd", "-m", "-U", "-G", "vmusers", "carol")
    uid = lab.uid("carol")
    lab.write("/etc/vmman/policy.toml", POLICY.replace('"bob"', '"carol"'))
    describe(lab, "hers", tap("vmc"), "carol")
    given(lab, "hers", user="carol")
    lab.check("userdel", "-r", "carol")
    assert root(lab, "--release", "--for-user", "carol", "hers") == 77
    assert init(lab, "--release", "--for-user", f"#{uid}", "hers").returncode == 77
    assert "vmc" in links(lab)
    assert "hers tap vmc" in lab.check("vm-init", "--grants", "--for-user", f"#{uid}")
    assert root(lab, "--for-user", f"#{uid}", "hers") == 77
    assert root(lab, "--release", "--for-user", f"#{uid}", "hers") == 0


def test_a_dry_run_counts_what_is_held(lab: Lab) -> None:
    lab.write("/etc/vmman/policy.toml", POLICY.replace("interfaces = 4", "interfaces = 1"))
    describe(lab, "more", tap("vmb"))
    for words in (("vm-init",), VM_INIT):
        assert lab.run(*words, "more", "--dry-run", user="alice").returncode == 0
    given(lab, "one")
    for words in (("vm-init",), VM_INIT):
        done = lab.run(*words, "more", "--dry-run", user="alice")
        assert (done.returncode, "most-interfaces" in done.stderr) == (77, True)
        assert lab.run(*words, "one", "--dry-run", user="alice").returncode == 0
    assert (
        lab.run("vm-init", "--dry-run", "--for-user", "bob", "one", user="alice").returncode == 64
    )
    given(lab, "--release", "one")


@pytest.mark.parametrize(
    ("env", "words", "reason"),
    [
        ({"SUDO_UID": "4711", "SUDO_USER": "alice"}, ("one",), "is not SUDO_USER's id"),
        ({"SUDO_UID": "1", "DOAS_USER": "alice"}, ("one",), "more than one of sudo"),
        ({"DOAS_USER": "alice"}, ("--release", "--job", "7"), "for root itself"),
        ({}, ("one",), "asks for no user"),
    ],
)
def test_threat_64_a_refusal_before_the_policy_is_logged(
    lab: Lab, env: dict[str, str], words: tuple[str, ...], reason: str
) -> None:
    assert lab.run("vm-init", *words, env=env).returncode == 77
    (line,) = logged(lab)
    assert re.search(r"uid=\d+ act=refuse thing=\S+ \S* ?result=", line)
    assert reason in line
    if "DOAS_USER" in env and "SUDO_UID" not in env:  # threat 88
        assert f"uid={lab.uid('alice')} " in line


def test_threat_64_a_refusal_by_the_policy_is_logged_once(lab: Lab) -> None:
    describe(lab, "not", tap("web"))
    assert init(lab, "not").returncode == 77
    (line,) = logged(lab)
    assert f"uid={lab.uid('alice')} act=refuse thing=give not result=" in line
    assert "tap web bridge br0" in line
