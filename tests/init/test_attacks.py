"""What users try, through real sudo; `test_attacks_2` goes on with what admins and ledgers meet.

The lab's /dev is its own here, with a log that is read; so there is no macvtap in these tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from tests.init.lab import CHECKOUT, Lab

pytestmark = pytest.mark.root

POLICY = """
[[grant]]
who = ["alice", "bob"]
bridges = ["br0", "br10", "vbr", "gone"]
interfaces = ["vm*", "lo", "br0"]
nodes = ["/dev/input/event*"]
most-interfaces = 4
"""
HELPER = "/usr/local/libexec/vmman/vm-init"
HOME = "/home/alice/vm"
VM_INIT = ("sudo", "-n", "vm-init")

DEV = """
set -eu
mkdir /mnt/dev
mount -t tmpfs -o mode=755 lab /mnt/dev
cd /mnt/dev
mkdir net pts shm input
mknod -m 666 null c 1 3; mknod -m 666 zero c 1 5; mknod -m 666 full c 1 7
mknod -m 666 random c 1 8; mknod -m 666 urandom c 1 9
mknod -m 666 tty c 5 0; mknod -m 666 ptmx c 5 2; mknod -m 666 net/tun c 10 200
chmod 1777 shm
ln -s /proc/self/fd fd
ln -s fd/0 stdin
mount --bind /dev/pts pts
cd /
mount --move /mnt/dev /dev
"""
# What syslog(3) sends, a JSON text a line.
LOG = """
import json, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
import os; os.chmod("/dev/log", 0o666)
print("ready", flush=True)
while True:
    text = log.recv(65536).decode("latin-1")
    if "vm-init" in text:
        with open("/tmp/log", "a") as file:
            print(json.dumps(text), file=file)
"""


# Argument: a tap. It is held until something is written; then it is destroyed, as its owner may.
HOLDS = """
import fcntl, os, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("=16sH22x", sys.argv[1].encode(), 0x1002))
print("held", flush=True)
if sys.stdin.readline() == "destroy\\n":
    fcntl.ioctl(fd, 0x400454CB, 0)
"""


@contextmanager
def besieged() -> Generator[Lab]:
    """A lab with vm-init as `make install` leaves it, a bridge, a log, and who holds a tap."""
    with Lab() as lab:
        lab.check("sh", "-c", DEV)
        lab.install()
        lab.check("mkdir", "-p", os.path.dirname(HELPER))
        lab.helper(HELPER)
        lab.check("ln", "-sf", "../libexec/vmman/vm-init", "/usr/local/bin/vm-init")
        lab.sudoers("vmman", (CHECKOUT / "sudoers.d" / "vm-init").read_text())
        lab.write("/etc/vmman/policy.toml", POLICY)
        lab.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        lab.check("ip", "link", "add", "vbr", "type", "veth", "peer", "name", "rbv")
        lab.launcher("logs", LOG)
        lab.write("/usr/local/bin/holds", f"#!/usr/bin/python3 -I\n{HOLDS}", mode=0o755)
        logs = lab.start("logs")
        assert logs.stdout is not None
        assert logs.stdout.readline() == "ready\n"
        yield lab
        lab.run("pkill", "-KILL", "-f", "/usr/local/bin/logs")
        logs.communicate(timeout=10)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with besieged() as made:
        yield made


def tap(name: str, bridge: str = "br0", card: str = "n") -> str:
    return f"[net.{card}]\nname = {json.dumps(name)}\nbridge = {json.dumps(bridge)}\n"


def describe(lab: Lab, vm: str, text: str, user: str = "alice") -> None:
    lab.write(f"/home/{user}/vm/{vm}.toml", text, owner=user)


def init(lab: Lab, *words: str, user: str = "alice") -> subprocess.CompletedProcess[str]:
    done = lab.run(*VM_INIT, *words, user=user, timeout_s=30)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def given(lab: Lab, *words: str, user: str = "alice") -> None:
    done = init(lab, *words, user=user)
    assert done.returncode == 0, done.stderr


def links(lab: Lab) -> dict[str, int]:
    return {one["ifname"]: one["ifindex"] for one in json.loads(lab.check("ip", "-j", "link"))}


def ledger(lab: Lab) -> set[str]:
    """The names of all interfaces that the ledgers have; each must be readable."""
    found: set[str] = set()
    for path in lab.path("/run/vmman").glob("*/*.json"):
        records = json.loads(path.read_text())["records"]
        found |= {record["name"] for record in records}
    return found


def unchanged(lab: Lab, before: dict[str, int]) -> None:
    """Nothing was given: no link, no ledger, and nobody holds the lock."""
    assert links(lab) == before
    assert ledger(lab) == set()
    assert {path.name for path in lab.path("/run/vmman").glob("*")} <= {"lock"}
    if lab.path("/run/vmman/lock").exists():
        lab.check("flock", "-n", "/run/vmman/lock", "true")


@pytest.fixture(autouse=True)
def as_before(lab: Lab) -> Iterator[None]:
    """Each test ends as it began, once the VMs of both users are released."""
    lab.write("/tmp/log", "")
    before = links(lab)
    yield
    for user in ("alice", "bob"):
        for path in lab.path("/run/vmman").glob(f"{lab.uid(user)}/*.json"):
            given(lab, "--release", path.stem, user=user)
        lab.check("sh", "-c", f"rm -rf /home/{user}/vm/*")
    unchanged(lab, before)


REFUSED = {
    "3 a VM of bob's folder": ("", 66),
    "38 lo": (tap("lo"), 65),
    "38 the bridge itself": (tap("br0"), 77),
    "38 a link of root's": (tap("rbv"), 77),
    "39 sixteen": (tap("vm" + "x" * 14), 65),
    "39 tap%d": (tap("vm%d"), 65),
    "39 empty": (tap(""), 65),
    "39 not ASCII": (tap("vmé"), 65),
    "39 an option": (tap("-x"), 65),
    "39 two words": (tap("vm a"), 65),
    "39 a way": (tap("vm/a"), 65),
    "39 a line": (tap("vma\n"), 65),
    "39 all": (tap("all"), 65),
    "41 the beginning of another's name": (tap("vma", "br1"), 77),
    "41 capitals": (tap("vma", "BR0"), 77),
    "41 a space": (tap("vma", "br0 "), 65),
    "42 a veth": (tap("vma", "vbr"), 77),
    "42 not there": (tap("vma", "gone"), 77),
    "43 multicast": ('[net.n]\nname="vma"\nhost-interface="rbv"\nmac="01:00:00:00:00:01"', 65),
    "43 zero": ('[net.n]\nname="vma"\nhost-interface="rbv"\nmac="00:00:00:00:00:00"', 65),
    "43 five octets": ('[net.n]\nname="vma"\nhost-interface="rbv"\nmac="02:00:00:00:01"', 65),
    "43 not granted": ('[net.n]\nname="vma"\nhost-interface="rbv"\nmac="06:00:00:00:00:01"', 77),
    "54 no such address": ('[[emulations]]\ndevice="passthru"\nsrc="0000:00:1f.7"', 77),
    "54 a way": ('[[emulations]]\ndevice="passthru"\nsrc="../../../x"', 65),
    "54 a function of nine": ('[[emulations]]\ndevice="passthru"\nsrc="0000:01:00.8"', 65),
    **{
        f"57 {what}": (f'[[emulations]]\ndevice="virtio-input"\npath="/dev/input/{what}"', status)
        for what, status in (
            ("event0", 77),  # a link to /dev/null: what it points at is not granted
            ("event1", 77),
            ("event2", 77),
            ("event3", 77),
            ("event4", 77),
            ("event5", 69),
            ("event6", 77),
            ("../null", 77),
        )
    },
    "57 stdin": ('[[emulations]]\ndevice="virtio-input"\npath="/dev/stdin"', 77),
    "58 up again": (
        '[[emulations]]\ndevice="virtio-input"\npath="/dev/input/event1/../../null"',
        77,
    ),
    "58 a line": ('[[emulations]]\ndevice="virtio-input"\npath="/dev/input/event1\\n"', 77),
}
NODES = """
cd /dev/input
ln -sfn /dev/null event0; rm -f event[1-9]; touch event1; mkfifo event2
mknod event3 b 7 0; mknod -m 600 event4 c 1 1; mknod -m 600 event6 c 10 200
"""


def owners(lab: Lab) -> list[str]:
    form = "%p %U:%G:%m\n"
    return sorted(lab.check("find", "/dev", "-xdev", "-printf", form).splitlines())


@pytest.mark.parametrize("case", REFUSED)
def test_threats_38_to_58_what_is_refused_changes_nothing(lab: Lab, case: str) -> None:
    text, status = REFUSED[case]
    lab.check("sh", "-c", NODES)
    if text:
        describe(lab, "web", text)
    before = links(lab)
    nodes = owners(lab)
    done = init(lab, "web")
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    unchanged(lab, before)
    assert owners(lab) == nodes


@pytest.mark.parametrize(
    "word", ["../x", "/etc/x", "a/b", ".", "..", "", "-x", "a\n", "вм", "a" * 65, "\udcff", "a b"]
)
def test_threats_01_and_68_no_odd_name_reaches_anything(lab: Lab, word: str) -> None:
    before = links(lab)
    for words in ((word,), ("--release", word), ("--dry-run", word)):
        done = init(lab, *words)
        assert (done.returncode, done.stdout) == (64, "")
    unchanged(lab, before)


def test_threat_68_nobody_releases_what_another_has(lab: Lab) -> None:
    for vm, user in (("vm1", "bob"), ("vm10", "alice"), ("vm1x", "alice")):
        describe(lab, vm, tap(f"{vm}t"), user)
        given(lab, vm, user=user)
    made = links(lab)
    for vm in ("vm1", "vm", "vm100", "vm1x.json", "VM10"):
        given(lab, "--release", vm)  # nothing of alice's is called so
        assert links(lab) == made
    for vm in ("bob/vm1", f"{lab.uid('bob')}/vm1", "vm1\n", "*", f"../{lab.uid('bob')}/vm1"):
        assert init(lab, "--release", vm).returncode == 64
    assert init(lab, "--for-user", "bob", "--release", "vm1").returncode == 77
    assert init(lab, "--release", "--job", "1").returncode == 77
    assert links(lab) == made
    given(lab, "--release", "vm10")
    assert set(made) - set(links(lab)) == {"vm10t"}
    assert "vm1t" not in init(lab, "--grants").stdout


def test_threat_63_fifty_at_once_get_no_more_than_the_quota(lab: Lab) -> None:
    before = links(lab)
    for number in range(50):
        describe(lab, f"q{number}", tap(f"vmq{number}"))
    asking = [lab.start(*VM_INIT, f"q{number}", user="alice") for number in range(50)]
    ends: list[tuple[int, str]] = []
    for each in asking:
        _, said = each.communicate(timeout=60)
        ends.append((each.returncode, said))
    assert {status for status, _ in ends} <= {0, 75, 77}, ends
    assert sum(status == 0 for status, _ in ends) == 4
    made = set(links(lab)) - set(before)
    assert len(made) == 4
    assert ledger(lab) == made
    describe(lab, "other", tap("vmother"), "bob")
    given(lab, "other", user="bob")


ODD = ["a\n<86>sudo: forged", "\x1b[2J", "%n%s%n", "\u202e", "x" * 2000]


def test_threat_64_a_log_line_is_one_line_of_ours(lab: Lab) -> None:
    describe(lab, "ok", tap("vmok"))
    given(lab, "ok")
    given(lab, "--release", "ok")
    describe(lab, "bad", tap("vmbad", "br1"))
    for _ in range(10):
        assert init(lab, "bad").returncode == 77
    for odd in ODD:
        describe(lab, "odd", tap(odd, odd) + f"com1 = {json.dumps('/dev/' + odd)}\n")
        init(lab, "odd")
        lab.run(*VM_INIT, odd, user="alice")
        lab.run(*VM_INIT, "odd", user="alice", env={"VMCONF_DIR": f"/{odd}"})
    lines = [json.loads(line) for line in lab.path("/tmp/log").read_text().splitlines()]
    ours = [line for line in lines if "sudo[" not in line and " sudo:" not in line]
    uid = lab.uid("alice")
    acts = [line.partition("]: ")[2].split(" ")[:2] for line in ours]
    assert all(first == f"uid={uid}" for first, _ in acts), ours
    assert [act for _, act in acts][:2] == ["act=give", "act=release"]
    assert sum(act == "act=refuse" for _, act in acts) >= 10
    assert all(line.isascii() and line.isprintable() and len(line) < 600 for line in ours)


def test_threat_75_what_is_told_is_the_same_whatever_there_is(lab: Lab) -> None:
    describe(lab, "his", tap("vmhis"), "bob")
    given(lab, "his", user="bob")
    lab.write("/home/bob/vm/secret.toml", tap("vms"), owner="bob", mode=0o600)
    lab.check("chmod", "700", "/home/bob")
    told: dict[str, set[tuple[int, str]]] = {}
    pairs = [
        ("tap", "vma", "rbr0", "rbv"),
        ("name", "xyz", "rbv", "xyzz"),
        ("folder", "/home/bob/vm", "/home/bob/none", "/root/.ssh"),
        ("release", "his", "hers", "secret"),
    ]
    for kind, *names in pairs:
        for name in names:
            done = probe(lab, kind, name)
            said = (done.stdout + done.stderr).replace(name, "NAME")
            told.setdefault(kind, set()).add((done.returncode, said))
    lab.check("chmod", "755", "/home/bob")
    assert {kind: len(answers) for kind, answers in told.items()} == dict.fromkeys(told, 1), told


def probe(lab: Lab, kind: str, name: str) -> subprocess.CompletedProcess[str]:
    match kind:
        case "folder":
            return lab.run(*VM_INIT, "secret", user="alice", env={"VMCONF_DIR": name})
        case "release":
            return init(lab, "--release", name)
        case "name":
            describe(lab, "probe", tap(name))
        case _:
            describe(lab, "probe", tap("vmprobe", name))
    return init(lab, "probe")


def test_threat_03_a_description_of_bobs_gives_alice_nothing_that_is_his(lab: Lab) -> None:
    describe(lab, "shared", tap("vmshared"), "bob")
    lab.check("ln", "/home/bob/vm/shared.toml", f"{HOME}/shared.toml")
    before = links(lab)
    for env in ({}, {"VMCONF_DIR": "/home/bob/vm"}):
        done = lab.run(*VM_INIT, "shared", user="alice", env=env)
        assert done.returncode in (0, 77)
        assert init(lab, "--grants", user="bob").stdout == ""
        given(lab, "--release", "shared")
    unchanged(lab, before)


@contextmanager
def stopped_children(lab: Lab) -> Generator[None]:
    """alice stops every process of hers that is called so, as soon as there is one."""
    stops = "while :; do pkill -STOP -u alice -f 'libexec/vmman/[v]m-init'; done"
    stopping = lab.start("sh", "-c", stops, user="alice")
    try:
        yield
    finally:
        lab.run("pkill", "-KILL", "-u", "alice")
        stopping.communicate(timeout=10)


def test_threats_11_and_14_who_stops_the_child_stops_nobody_else(lab: Lab) -> None:
    describe(lab, "slow", tap("vmslow"))
    describe(lab, "quick", tap("vmquick"), "bob")
    with stopped_children(lab):
        asking = lab.start(*VM_INIT, "slow", user="alice")
        began = time.monotonic()
        given(lab, "quick", user="bob")
        assert time.monotonic() - began < 30  # a bound, however busy the machine
        _, said = asking.communicate(timeout=20)
        took = time.monotonic() - began
    assert asking.returncode in (0, 65), said
    assert took < 30  # a bound, however busy the machine
    if asking.returncode:
        assert "could not be read" in said
        assert "vmslow" not in links(lab)


def test_threat_27_signals_at_any_time_leave_all_or_nothing(lab: Lab) -> None:
    describe(lab, "two", tap("vma", card="a") + tap("vmb", card="b"))
    pair = {"vma", "vmb"}
    sent = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTERM)
    for number in range(20):
        asking = lab.start(*VM_INIT, "two", user="alice")
        time.sleep(number * 0.015)
        lab.run("pkill", f"-{sent[number % 5].name}", "-x", "sudo")
        lab.run("pkill", f"-{sent[number % 5].name}", "-f", HELPER)
        until = time.monotonic() + 20
        while asking.poll() is None or lab.run("pgrep", "-f", HELPER).returncode == 0:
            lab.run("pkill", "-CONT", "-x", "sudo")
            asking.send_signal(signal.SIGCONT)  # nsenter stops with what it runs
            assert time.monotonic() < until
        asking.communicate()
        assert pair & set(links(lab)) in (set(), pair)
        assert ledger(lab) == pair & set(links(lab))
        lab.check("flock", "-n", "/run/vmman/lock", "true")
        given(lab, "--release", "two")
