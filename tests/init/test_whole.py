"""The whole of it: alice, real sudo, an admin's policy, and a real guest that answers.

Everything happens in a lab: an overlay of this machine with users, links and a network of its own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.init.lab import Lab
from tests.pull import boxes

pytestmark = [pytest.mark.root, pytest.mark.real]

POLICY = """
[[grant]]
who = ["alice"]
bridges = ["br0"]
host-interfaces = ["inner0"]
interfaces = ["vm*"]
macs = ["02:*"]
most-interfaces = 4
"""
WEB = """
mem = "192M"
com1 = "socket"
kernel = "/home/alice/guest/vmlinuz"
initrd = "/home/alice/guest/initrd.img"
cmdline = "console=ttyS0 quiet vmman.do=net vmman.ip=10.9.9.2/24"
[net.lan]
{end}
mac = "02:00:00:00:09:02"
"""
ON_BRIDGE = 'name = "vmweb"\nbridge = "br0"'
ON_MACVTAP = 'name = "vmweb"\nhost-interface = "inner0"'
FETCH = "import urllib.request as r; print(r.urlopen('http://10.9.9.2/', timeout=20).read())"


@pytest.fixture(scope="module")
def lab(guest: Path) -> Iterator[Lab]:
    with Lab() as made:
        made.install()
        for package in ("vm_run", "vm_list", "vm_pull"):
            command = package.replace("_", "-")
            made.launcher(command, f"from {package}.__main__ import entry\nentry()\n")
        made.write("/etc/vmman/policy.toml", POLICY)
        made.check("mkdir", "/home/alice/guest")
        for file in ("vmlinuz", "initrd.img"):
            shutil.copy(guest / file, made.path("/home/alice/guest"))
        made.check("chown", "-R", "alice:alice", "/home/alice/guest")
        made.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        made.check("ip", "link", "add", "outer0", "type", "veth", "peer", "name", "inner0")
        for link in ("br0", "outer0", "inner0"):
            made.check("ip", "link", "set", link, "up")
        yield made


def links(lab: Lab) -> dict[str, tuple[int, str]]:
    found = json.loads(lab.check("ip", "-j", "-d", "link"))
    return {one["ifname"]: (one["ifindex"], one.get("master", "")) for one in found}


def initialised(lab: Lab, *words: str, user: str = "alice") -> str:
    done = lab.run("sudo", "-n", "vm-init", *words, user=user)
    assert done.returncode == 0, done.stderr
    return done.stdout


def guest_answers(lab: Lab) -> None:
    """alice runs her VM; the guest answers the host; the power button ends it."""
    run = lab.start("vm-run", "web", "--events", "/tmp/events", user="alice")
    log = lab.path(f"/tmp/vm-{lab.uid('alice')}/vm/web/console.log")
    until = time.monotonic() + 60
    while "guest: net up" not in (log.read_text() if log.exists() else ""):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, log.read_text() if log.exists() else "no console"
        time.sleep(0.1)
    assert "hello from the guest" in lab.check("python3", "-c", FETCH)
    supervisor = json.loads(log.with_name("state.json").read_text())["supervisor"]
    lab.check("kill", str(supervisor), user="alice")  # whoever started it can end it
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said


@pytest.mark.parametrize("end", [ON_BRIDGE, ON_MACVTAP], ids=["tap", "macvtap"])
def test_alice_initialises_runs_and_releases_and_nothing_is_left(lab: Lab, end: str) -> None:
    address = "br0" if end is ON_BRIDGE else "outer0"
    lab.check("ip", "addr", "add", "10.9.9.1/24", "dev", address)
    lab.write("/home/alice/vm/web.toml", WEB.format(end=end), owner="alice")
    before = links(lab)
    missing = lab.run("vm-run", "web", user="alice")
    assert missing.returncode == 69
    assert "hint: sudo vm-init web" in missing.stderr
    first = initialised(lab, "web")
    assert "given" in first
    assert "next: vm-run web" in first
    made = links(lab)
    assert set(made) - set(before) == {"vmweb"}
    assert "yours already" in initialised(lab, "web")
    assert links(lab) == made
    assert "web" in initialised(lab, "--grants")
    guest_answers(lab)
    initialised(lab, "--release", "web")
    assert links(lab) == before
    assert [path.name for path in lab.path("/run/vmman").iterdir()] == ["lock"]
    initialised(lab, "--release", "web")
    lab.check("ip", "addr", "del", "10.9.9.1/24", "dev", address)


def test_alice_pulls_initialises_and_runs(lab: Lab, guest: Path) -> None:
    disk = (guest / "disk.img").read_bytes()
    metadata = boxes.file("metadata.json", b'{"provider": "bhyve"}')
    lab.path("/home/alice/hello.box").write_bytes(boxes.box(boxes.file("disk.img", disk), metadata))
    pulled = lab.run("vm-pull", "/home/alice/hello.box", "--quiet", user="alice")
    assert pulled.returncode == 0, pulled.stderr
    lab.check("chown", "-R", "alice:alice", "/home/alice/vm")
    card = lab.path("/home/alice/vm/hello.toml")
    card.write_text(f"{card.read_text()}\n[net.wan]\n{ON_BRIDGE}\n")
    assert "stopped" in lab.check("vm-list", user="alice")
    assert "given" in initialised(lab, "hello")
    done = lab.run("vm-run", "hello", user="alice", timeout_s=120)
    assert done.returncode == 0, done.stderr
    log = lab.path(f"/tmp/vm-{lab.uid('alice')}/vm/hello/console.log")
    assert "guest: hello" in log.read_text()
    assert log.read_text().count("guest: net eth") == 2
    initialised(lab, "--release", "hello")
    assert "vmweb" not in links(lab)
    card.unlink()


def test_bob_gets_nothing_and_is_told_the_same_whatever_exists(lab: Lab) -> None:
    said: list[str] = []
    for bridge in ("br0", "nobr"):
        text = f'[net.a]\nname = "vmbob"\nbridge = "{bridge}"\n'
        lab.write("/home/bob/vm/x.toml", text, owner="bob")
        before = links(lab)
        done = lab.run("sudo", "-n", "vm-init", "x", user="bob")
        assert done.returncode == 77
        assert links(lab) == before
        said.append(done.stderr.replace(bridge, "BRIDGE"))
    assert said[0] == said[1]


def test_bob_cannot_have_or_release_what_is_alices(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    initialised(lab, "web")
    made = links(lab)
    lab.write("/home/bob/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="bob")
    assert lab.run("sudo", "-n", "vm-init", "web", user="bob").returncode == 77
    lab.run("sudo", "-n", "vm-init", "--release", "web", user="bob")
    assert links(lab) == made
    initialised(lab, "--release", "web")


def test_a_dry_run_needs_no_root_and_names_the_rule(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    before = links(lab)
    done = lab.run("vm-init", "web", "--dry-run", user="alice")
    assert done.returncode == 0, done.stderr
    assert "granted  vmweb br0" in done.stdout
    assert "grant 1" in done.stdout
    lab.write("/home/bob/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="bob")
    refused = lab.run("vm-init", "web", "--dry-run", user="bob")
    assert refused.returncode == 77
    assert "/etc/vmman/policy.toml" in refused.stderr
    assert links(lab) == before


def test_root_gives_for_a_schedulers_job_and_takes_back_by_it(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    before = links(lab)
    lab.check("vm-init", "--for-user", "alice", "--job", "4711", "web")
    assert "vmweb" in links(lab)
    lab.check("vm-init", "--release", "--job", "4712")
    assert "vmweb" in links(lab)
    lab.check("vm-init", "--release", "--job", "4711")
    assert links(lab) == before
    assert lab.run("vm-init", "web").returncode == 77


def test_a_wrong_description_is_the_users_to_mend_and_changes_nothing(lab: Lab) -> None:
    lab.write("/home/alice/vm/bad.toml", "[net.a]\nbrige = 'br0'\n", owner="alice")
    before = links(lab)
    done = lab.run("sudo", "-n", "vm-init", "bad", user="alice")
    assert done.returncode == 65
    assert "did you mean bridge?" in done.stderr
    assert links(lab) == before


def test_threat_38_a_name_that_is_taken_is_refused_in_the_words_of_any_refusal(lab: Lab) -> None:
    lab.check("ip", "link", "add", "vmtaken", "type", "veth", "peer", "name", "other0")
    before = links(lab)
    said: list[str] = []
    for name, bridge in (("vmtaken", "br0"), ("vmfree", "nobr")):
        text = f'[net.a]\nname = "{name}"\nbridge = "{bridge}"\n'
        lab.write("/home/alice/vm/taken.toml", text, owner="alice")
        done = lab.run("sudo", "-n", "vm-init", "taken", user="alice")
        assert done.returncode == 77
        said.append(done.stderr.replace(name, "NAME").replace(bridge, "BRIDGE"))
    assert said[0] == said[1]
    assert links(lab) == before
    lab.check("ip", "link", "del", "vmtaken")


def test_threat_74_when_the_second_of_two_cannot_be_given_the_first_is_taken_back(
    lab: Lab,
) -> None:
    lab.check("ip", "link", "add", "vmtwo", "type", "veth", "peer", "name", "other0")
    before = links(lab)
    text = '[net.a]\nname = "vmone"\nbridge = "br0"\n[net.b]\nname = "vmtwo"\nbridge = "br0"\n'
    lab.write("/home/alice/vm/two.toml", text, owner="alice")
    assert lab.run("sudo", "-n", "vm-init", "two", user="alice").returncode == 77
    assert links(lab) == before
    assert initialised(lab, "--grants") == ""
    lab.check("ip", "link", "del", "vmtwo")


def test_an_unpinned_bridge_is_told_of(lab: Lab) -> None:
    lab.check("ip", "link", "add", "br1", "type", "bridge")
    lab.write("/etc/vmman/policy.toml", POLICY.replace('"br0"', '"br0", "br1"'))
    lab.write("/home/alice/vm/b1.toml", '[net.a]\nname = "vmb1"\nbridge = "br1"\n', owner="alice")
    assert "warning: br1: its Ethernet address is not fixed" in initialised(lab, "b1")
    initialised(lab, "--release", "b1")
    lab.write("/etc/vmman/policy.toml", POLICY)
    lab.check("ip", "link", "del", "br1")
