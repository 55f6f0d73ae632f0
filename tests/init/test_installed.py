"""From `make install` onward, in a lab: real sudo finds what was installed; nothing is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.copied import copied
from tests.init.lab import CHECKOUT, Lab
from tests.lacking import lacking

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("installed")]

WHEELS = CHECKOUT / ".venv" / "wheels"
READ = ("Makefile", "pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("man", "etc", "sudoers.d", "completions")
POLICY = '[[grant]]\nwho = ["@vmusers"]\nbridges = ["br0"]\n'
CARD = '[net.lan]\nbridge = "br0"\n'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if not WHEELS.is_dir():
        lacking("needs the wheels that ./test.sh keeps")
    with Lab() as made:
        source = made.path("/root/src")
        source.mkdir(parents=True)
        for path in CHECKOUT.iterdir():
            if path.is_dir() and (path.name in FOLDERS or path.name.startswith("vm_")):
                copied(path, source / path.name)
            elif path.name in READ:
                shutil.copy(path, source)
        done = make(made, "install")
        assert done == 0
        made.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        made.check("ip", "link", "set", "br0", "up")
        yield made


def make(lab: Lab, target: str) -> int:
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}
    done = lab.run("make", "-C", "/root/src", target, env=env, timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.returncode


def test_alice_gets_what_the_policy_says_and_gives_it_back(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", CARD, owner="alice")
    nothing = lab.run("sudo", "-n", "vm-init", "web", user="alice")
    assert nothing.returncode == 77  # the sample policy grants nothing
    lab.write("/etc/vmman/policy.toml", POLICY)
    dry = lab.run("vm-init", "web", "--dry-run", user="alice")
    assert dry.returncode == 0, dry.stderr
    given = lab.run("sudo", "-n", "vm-init", "web", user="alice")
    assert given.returncode == 0, given.stderr
    name = given.stdout.split()[1]
    assert name in lab.check("ip", "link", "show", "master", "br0")
    checked = lab.run("vm-run", "web", "--check", user="alice")
    assert checked.returncode == 0, checked.stderr
    back = lab.run("sudo", "-n", "vm-init", "--release", "web", user="alice")
    assert back.returncode == 0, back.stderr
    assert name not in lab.check("ip", "link")


def test_threat_76_nobody_but_root_can_change_what_was_installed(lab: Lab) -> None:
    assert lab.run("vm-init", "--self-check").returncode == 0
    places = ["/usr/local/lib/vmman", "/usr/local/libexec/vmman", "/etc/vmman", "/run/vmman"]
    there = [place for place in places if Path(lab.path(place)).exists()]
    assert (
        lab.check("find", *there, "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l")
        == ""
    )


def test_uninstalling_leaves_the_policy_alone(lab: Lab) -> None:
    lab.write("/etc/vmman/policy.toml", POLICY)
    make(lab, "uninstall")
    assert lab.check("cat", "/etc/vmman/policy.toml") == POLICY
    places = ["/usr/local/bin", "/usr/local/lib", "/usr/local/libexec", "/usr/local/share"]
    places += ["/etc/sudoers.d", "/etc/tmpfiles.d"]
    there = [place for place in places if lab.path(place).exists()]
    assert lab.check("find", *there, "-name", "vm-*", "-o", "-name", "vmman*") == ""
