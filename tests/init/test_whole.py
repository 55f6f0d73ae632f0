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
    assert "granted  vmweb bridge br0" in done.stdout
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


def test_threat_38_a_granted_name_that_is_taken_is_refused_with_the_reason(lab: Lab) -> None:
    lab.check("ip", "link", "add", "vmtaken", "type", "veth", "peer", "name", "other0")
    before = links(lab)
    text = '[net.a]\nname = "vmtaken"\nbridge = "br0"\n'
    lab.write("/home/alice/vm/taken.toml", text, owner="alice")
    reason = "vmtaken: there is an interface of this name already\n"
    done = lab.run("sudo", "-n", "vm-init", "taken", user="alice")
    assert (done.returncode, done.stderr) == (77, f"vm-init: {reason}")
    planned = lab.run("vm-init", "taken", "--dry-run", user="alice")
    assert (planned.returncode, planned.stderr) == (77, f"vm-init: refused  {reason}")
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


def test_threat_85_an_unpinned_bridge_is_refused_or_pinned_by_policy(lab: Lab) -> None:
    lab.check("ip", "link", "add", "br1", "type", "bridge")
    policy = POLICY.replace('"br0"', '"br0", "br1"')
    lab.write("/etc/vmman/policy.toml", policy)
    lab.write("/home/alice/vm/b1.toml", '[net.a]\nname = "vmb1"\nbridge = "br1"\n', owner="alice")
    before, address = links(lab), lab.path("/sys/class/net/br1/address").read_text().strip()
    for words in (("sudo", "-n", "vm-init", "b1"), ("vm-init", "b1", "--dry-run")):
        done = lab.run(*words, user="alice")
        assert done.returncode == 77
        assert f"as root: ip link set dev br1 address {address}" in done.stderr
    assert links(lab) == before
    lab.write("/etc/vmman/policy.toml", policy + "[bridges.br1]\npin = true\n")
    initialised(lab, "b1")
    assert lab.path("/sys/class/net/br1/addr_assign_type").read_text().strip() == "3"
    assert lab.path("/sys/class/net/br1/address").read_text().strip() == address
    initialised(lab, "--release", "b1")
    lab.write("/etc/vmman/policy.toml", POLICY)
    lab.check("ip", "link", "del", "br1")


def test_threats_77_and_86_an_inspection_is_never_root(lab: Lab) -> None:
    lab.write("/etc/app/secret.toml", "[net.a]\nsecrte = 1\n", mode=0o640)
    lab.check("chmod", "750", "/etc/app")
    env = {"VMCONF_DIR": "/etc/app"}
    for words in (("secret", "--dry-run"), ("secret", "--check"), ("secret",)):
        done = lab.run("sudo", "-n", "vm-init", *words, user="alice", env=env)
        assert done.returncode in (65, 66, 77), done.stdout
        assert "secrte" not in done.stderr
        by_group = lab.run("sudo", "-n", "-g", "root", "vm-init", *words, user="alice", env=env)
        assert by_group.returncode != 0
        assert "secrte" not in by_group.stderr
    direct = lab.run("setpriv", "--reuid=alice", "--regid=root", "--clear-groups", "vm-init",
                     "secret", "--dry-run", env=env)  # fmt: skip
    assert (direct.returncode, "secrte" in direct.stderr) == (77, False)
    assert lab.run("vm-init", "secret", "--dry-run", env=env).returncode == 77  # root itself
    for words in (("--help",), ("-h",), ("--version",)):
        assert lab.run("sudo", "-n", "vm-init", *words, user="alice").returncode == 0


def test_threat_78_a_default_name_is_its_owners_alone(lab: Lab) -> None:
    lab.write("/etc/vmman/policy.toml", POLICY.replace('["alice"]', '["alice", "bob"]'))
    lab.write("/home/bob/vm/db.toml", '[net.lan]\nbridge = "br0"\n', owner="bob")
    plan = lab.check("vm-init", "db", "--dry-run", user="bob")
    name = plan.split()[1]
    lab.write("/home/alice/vm/db.toml", f'[net.lan]\nname = "{name}"\nbridge = "br0"\n',
              owner="alice")  # fmt: skip
    assert lab.run("sudo", "-n", "vm-init", "db", user="alice").returncode == 77
    done = initialised(lab, "db", user="bob")
    assert f"tap {name} on br0: given" in done
    initialised(lab, "--release", "db", user="bob")
    lab.write("/etc/vmman/policy.toml", POLICY)


def test_threat_91_the_alias_of_a_tap_tells_no_vms_name(lab: Lab) -> None:
    lab.write("/home/alice/vm/hidden.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    initialised(lab, "hidden")
    alias = lab.path("/sys/class/net/vmweb/ifalias").read_text().strip()
    assert alias.split(":")[:2] == ["vmman", str(lab.uid("alice"))]
    assert "hidden" not in alias
    initialised(lab, "--release", "hidden")


def test_threat_92_an_unreadable_ledger_locks_out_its_own_vm_only(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    uid = lab.uid("alice")
    initialised(lab, "web")
    lab.path(f"/run/vmman/{uid}/broken.json").write_text("{")
    lab.path(f"/run/vmman/{uid}/broken.json").chmod(0o600)
    initialised(lab, "web")
    assert lab.run("sudo", "-n", "vm-init", "--release", "broken", user="alice").returncode == 78
    assert lab.run("sudo", "-n", "vm-init", "--grants", user="alice").returncode == 78
    assert lab.run("sudo", "-n", "vm-init", "--grants", user="bob").returncode == 0
    initialised(lab, "--release", "web")
    lab.check("rm", "-r", f"/run/vmman/{uid}")


def test_two_jobs_of_one_vm_release_it_with_the_last(lab: Lab) -> None:
    lab.write("/home/alice/vm/web.toml", WEB.format(end=ON_BRIDGE), owner="alice")
    for job in ("17", "18"):
        lab.check("vm-init", "--for-user", "alice", "--job", job, "web")
    lab.check("vm-init", "--release", "--job", "17")
    assert "vmweb" in links(lab)
    lab.check("vm-init", "--release", "--job", "18")
    assert "vmweb" not in links(lab)
