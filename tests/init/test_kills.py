"""vm-init killed at each of its steps: whatever it leaves, `--release` takes away.

The points at which it dies are this test's: a program in the lab that runs vm-init's own `main` in
a child of its own, with the calls that change something counted, and SIGKILL before call k.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.init.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

POLICY = """
[[grant]]
who = ["alice"]
bridges = ["br0"]
host-interfaces = ["inner0"]
interfaces = ["vm*"]
macs = ["02:*"]
nodes = ["/dev/vsock"]
"""
WEB = """
[net.a]
name = "vma"
bridge = "br0"
[net.b]
name = "vmb"
bridge = "br0"
[net.c]
name = "vmc"
host-interface = "inner0"
mac = "02:00:00:00:0a:0c"
"""
NODE = """
[[emulations]]
device = "virtio-input"
path = "/dev/vsock"
"""

# Arguments: the user's id; anything more is a device node that is given too.
KILLS = """
import fcntl, json, mmap, os, signal, socket, stat, struct, subprocess, time
import vm_init.__main__, vm_init.apply, vm_init.description, vm_spec.library
from vm_init import ledger, links as taps, netlink, nodes, pci
# The only node of this machine that can be given and taken without harm.
vm_init.request.NODE = "/dev/vsock"
vm_init.request._FORMS["node"] = "node (?P<name>/dev/vsock)"

uid, node = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
os.environ.update(SUDO_UID=uid, SUDO_USER="alice", SUDO_GID=uid)
RELEASE = ["--release", "web"]
count = mmap.mmap(-1, 64)  # shared with the children: how many calls, and the last one's name
own = 0  # root's half; the child that reads is not killed
limit = 0

def counted(module, name, changes=lambda *_: True):
    real = getattr(module, name)
    def call(*given, **more):
        if os.getpid() == own and changes(*given):
            calls = struct.unpack_from("=I", count)[0] + 1
            struct.pack_into("=I32s", count, 0, calls, name.encode())
            if calls == limit:
                os.kill(own, signal.SIGKILL)
        return real(*given, **more)
    setattr(module, name, call)

for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "chown", "chmod", "close"):
    counted(os, name)
counted(os, "open", lambda path, flags, *_: flags & os.O_CREAT or path == taps.TUN)
counted(os, "removexattr")
counted(fcntl, "ioctl")
counted(fcntl, "flock")
counted(socket.socket, "sendto", lambda kernel, data, at: data[4] in (16, 17))  # NEW-, DELLINK

def run(words, at=0):
    "Whether it was killed at this call; 0 for none. If it was not, it succeeded."
    global own, limit
    struct.pack_into("=I32s", count, 0, 0, b"")
    child = os.fork()
    if child == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 1)
        own, limit = os.getpid(), at
        os._exit(vm_init.__main__.main(words))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -9 and at:
        return True
    assert status == 0, (words, at, status)
    return False

def killed_at():
    calls, name = struct.unpack_from("=I32s", count)
    return calls, name.rstrip(b"\\0").decode()

def by_sudo():
    user = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "--inh-caps=-all"]
    subprocess.run([*user, "sudo", "-n", "vm-init", *RELEASE], check=True, stdout=-3, timeout=30)

def steady(tree):
    "Without the figures that change by themselves."
    if isinstance(tree, dict):
        return {key: steady(each) for key, each in tree.items() if not key.endswith("_timer")}
    return [steady(each) for each in tree] if isinstance(tree, list) else tree

def snapshot():
    told = subprocess.run(["ip", "-j", "-d", "link"], check=True, capture_output=True, timeout=30)
    return {
        **{link["ifname"]: steady(link) for link in json.loads(told.stdout)},
        ledger.ROOT: [[at, *sorted(folders), *sorted(files)] for at, folders, files
            in os.walk(ledger.ROOT)],
        node: nodes.show_owner(os.stat(node)) if node else "",
    }

def macvtap_nodes():
    "Of what the ledgers name, the nodes that are there."
    records = [record for book in ledger.list_ledgers() for record in book.records]
    at = [f"/dev/tap{record.number}" for record in records if record.kind == "macvtap"]
    return [path for path in at if os.path.lexists(path)]

def as_before(what):
    found = snapshot()
    assert found == before, (what, killed_at(), [
        (key, before.get(key), found.get(key)) for key in sorted({*before, *found})
        if before.get(key) != found.get(key)])

def released(what, number):
    nodes_then = macvtap_nodes()
    by_sudo() if number % 16 == 1 else run(RELEASE)
    as_before(what)
    assert not [path for path in nodes_then if os.path.lexists(path)], (what, killed_at())

run(["web"]); run(RELEASE)  # for the lock
until = time.monotonic() + 10
while snapshot()["br0"]["operstate"] != "UP":  # the kernel tells it a little later
    assert time.monotonic() < until
before = snapshot()
steps = {}
for what, words, first in (("give", ["web"], None), ("release", RELEASE, ["web"])):
    at = 1
    while True:
        if first:
            run(first)
        if not run(words, at):
            break
        steps.setdefault(what, []).append(killed_at()[1])
        released(what, at)
        at += 1
    run(RELEASE)
    as_before(what)
# A second run finishes what a killed one began; and a second killed one is as good as the first.
for at in range(1, len(steps["give"]) + 1, 5):
    assert run(["web"], at)
    run(["web"])
    links = {link.name: link for link in netlink.list_links()}
    assert links["vma"].alias and links["vmb"].alias and links["vmc"].alias, at
    assert not node or str(os.stat(node).st_uid) == uid
    released("again", at)
    assert run(["web"], at)
    run(["web"], max(1, at // 2)) and run(RELEASE, max(1, at // 3))
    released("twice", at)
print(json.dumps(steps))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.install()
        made.launcher("kills", KILLS)
        made.write("/etc/vmman/policy.toml", POLICY)
        made.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        made.check("ip", "link", "add", "outer0", "type", "veth", "peer", "name", "inner0")
        # Without a port of its own the bridge's carrier would come and go with the taps.
        made.check("ip", "link", "add", "outer1", "type", "veth", "peer", "name", "inner1")
        made.check("ip", "link", "set", "inner1", "master", "br0")
        for link in ("br0", "outer0", "inner0", "outer1", "inner1"):
            made.check("ip", "link", "set", link, "up")
        yield made


def given_back(lab: Lab, node: str) -> dict[str, list[str]]:
    """The calls at which vm-init was killed."""
    done = lab.run("kills", str(lab.uid("alice")), *filter(None, [node]), timeout_s=150)
    assert done.returncode == 0, done.stderr
    steps: dict[str, list[str]] = json.loads(done.stdout)
    return steps


def test_threat_70_killed_at_any_step_a_release_makes_all_as_before(lab: Lab) -> None:
    node = "/dev/vsock" if lab.path("/dev/vsock").is_char_device() else ""
    former = lab.path(node).stat() if node else None
    lab.write("/home/alice/vm/web.toml", WEB + (NODE if node else ""), owner="alice")
    try:
        steps = given_back(lab, node)
    finally:
        if former:  # /dev is this machine's
            lab.check("chown", f"{former.st_uid}:{former.st_gid}", node)
            lab.check("chmod", f"{former.st_mode & 0o7777:o}", node)
    assert set(steps) == {"give", "release"}
    assert {"fsync", "rename", "mkdir", "sendto", "ioctl", "chown"} <= set(steps["give"])
    assert {"fsync", "unlink", "rmdir", "sendto"} <= set(steps["release"])
    assert len(steps["give"]) > 40
    assert len(steps["release"]) > 20
