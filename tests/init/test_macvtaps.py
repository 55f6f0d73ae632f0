"""Macvtaps, in a network of the test's own; /dev is the machine's, as devtmpfs is one."""

from __future__ import annotations

import pytest

from tests.init import own_network
from tests.init.own_network import KILLED

pytestmark = pytest.mark.root

PRELUDE = """
def granted(name="vm-m", parent="v0", mac="02:00:00:00:00:09"):
    return Granted(Macvtap(name, parent, mac), "policy.toml: grant 1", parent)

def give(caller=ALICE, **asked):
    return macvtaps.act(macvtaps.intend(granted(**asked), caller, "web"), caller)

ip("link add v0 type veth peer name v1")
ip("link set v0 up")
ip("link set v1 up")
"""


def kernel(program: str, timeout_s: float = 120) -> str:
    """What a program says that has the names above, in a network with a pair of interfaces."""
    return own_network.kernel(PRELUDE + program, timeout_s)


def test_a_macvtap_is_the_callers_tagged_up_and_on_its_interface() -> None:
    kernel("""
before = netlink.link("v0"), ip("-d link show v0")
record = give()
link = netlink.link("vm-m")
assert record.done and record.number == link.number >= 1 << 20
assert (link.kind, link.is_bridge_mode, link.up, link.mac) == ("macvtap", True, True, record.mac)
assert link.alias == record.tag == "vmman:1501:web:" + record.nonce
assert link.parent == netlink.link("v0").number
node = f"/dev/tap{record.number}"
assert (os.stat(node).st_uid, os.stat(node).st_mode & 0o777) == (1501, 0o600)
assert "addrgenmode none" in ip("-d link show vm-m") and "inet6" not in ip("addr show vm-m")
assert macvtaps.holds(record, ALICE) and not macvtaps.holds(record, BOB)
assert "pyroute2" in sys.modules and "pyroute2.iproute" not in sys.modules
os.seteuid(1501)
fd = os.open(node, os.O_RDWR)
os.seteuid(0)
os.close(fd)
assert macvtaps.undo(record) == "" and macvtaps.undo(record) == ""
assert not os.path.exists(node) and not macvtaps.holds(record, ALICE)
assert (netlink.link("v0"), ip("-d link show v0")) == before
""")


def test_threat_38_an_interface_of_any_kind_is_refused_with_the_same_text() -> None:
    kernel("""
ip("link add br0 type bridge")
ip("link property add dev v1 altname vm-alt")
before = [link[:4] for link in netlink.links()]
for name in ("lo", "br0", "v1", "vm-alt"):
    told = refused(macvtaps.intend, granted(name), ALICE, "web")
    assert told == (f"{name}: {taps.TAKEN}", 77)
    sure = Record("macvtap", name, nonce="0" * 16, number=1 << 20, target="v0",
                  mac="02:00:00:00:00:09", tag="vmman:1501:web:" + "0" * 16)
    assert refused(macvtaps.act, sure, ALICE) == (f"{name}: {taps.TAKEN}", 77)
    assert macvtaps.undo(sure) == ""
    assert macvtaps.undo(sure._replace(number=netlink.link(name).number)) == ""
assert [link[:4] for link in netlink.links()] == before
""")


def test_threat_43_an_address_that_another_interface_has_is_refused() -> None:
    kernel("""
taken = netlink.link("v1").mac
assert refused(macvtaps.intend, granted(mac=taken), ALICE, "web")[1] == 77
give()
assert refused(macvtaps.intend, granted("vm-n"), ALICE, "web")[1] == 77
macvtaps.undo(Record("macvtap", "vm-m"))
ip("link del vm-m")
""")


def test_threat_47_lo_a_port_and_what_is_not_there_are_refused() -> None:
    kernel("""
ip("link add br0 type bridge"); ip("link set v0 master br0")
ip("link property add dev v1 altname up0")
for parent in ("lo", "v0", "none", "up0"):
    told = refused(macvtaps.intend, granted(parent=parent), ALICE, "web")
    assert told == (f"{parent}: {taps.TAKEN}", 77)
ip("link set v0 nomaster")
record = macvtaps.intend(granted(), ALICE, "web")
ip("link set v0 master br0")
refused(macvtaps.act, record, ALICE)
assert macvtaps.undo(record) == "" and "vm-m" not in names()
""")


def test_threat_48_a_node_of_another_network_is_not_given() -> None:
    kernel("""
record = macvtaps.intend(granted(), ALICE, "web")
node = f"/dev/tap{record.number}"
add = f"ip link add link u0 index {record.number} name mv0 type macvtap"
squat = f"ip link add u0 type veth peer name u1; {add}; echo; read x"
mallory = subprocess.Popen(["unshare", "-n", "sh", "-c", squat], stdin=-1, stdout=-1)
mallory.stdout.readline()
hers = os.lstat(node)
told = refused(macvtaps.act, record, ALICE)
assert os.lstat(node).st_uid == hers.st_uid == 0 and os.lstat(node).st_rdev == hers.st_rdev
assert macvtaps.undo(record) == "" and "vm-m" not in names()
assert os.lstat(node).st_rdev == hers.st_rdev
mallory.communicate(b"\\n")
# The same against our own comparison alone.
nodes.pin = lambda path: os.open(path, os.O_PATH | os.O_NOFOLLOW)
macvtaps._node = lambda path: os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW)
owner = os.lstat("/dev/null").st_uid
told = refused(macvtaps.act, record, ALICE)
assert "node is another's" in told[0] and os.lstat("/dev/null").st_uid == owner
assert macvtaps.undo(record) == ""
""")


LATE = """
record = macvtaps.intend(granted(), ALICE, "web")
real = netlink.change
def hidden(change):
    real(change)
    number, given = change
    if "alias" in given:
        seen = os.stat(f"/dev/tap{number}")
        subprocess.run("mount -t tmpfs -o mode=755 none /dev", shell=True, check=True)
        later(f"/dev/tap{number}", seen.st_rdev)
netlink.change = hidden
"""


def test_threat_49_a_node_that_appears_late_is_waited_for() -> None:
    kernel(
        LATE
        + """
def later(path, number):
    if os.fork(): return
    time.sleep(0.5)
    os.mknod(path, 0o020600, number)
    os._exit(0)
start = time.monotonic()
made = macvtaps.act(record, ALICE)
assert 0.4 < time.monotonic() - start < 2
assert macvtaps.holds(made, ALICE) and macvtaps.undo(made) == ""
"""
    )


def test_threat_49_a_node_that_never_appears_ends_in_time() -> None:
    kernel(
        LATE
        + """
def later(path, number): pass
macvtaps.PATIENCE_S = 0.3
start = time.monotonic()
assert refused(macvtaps.act, record, ALICE)[1] == 69
assert 0.25 < time.monotonic() - start < 2
assert macvtaps.undo(record) == "" and "vm-m" not in names()
"""
    )


def test_threat_69_a_later_link_of_the_same_name_is_not_deleted() -> None:
    kernel("""
record = give()
ip("link del vm-m")
ip("link add link v0 name vm-m type macvtap mode bridge")
assert macvtaps.undo(record) == "" and "vm-m" in names()
ip("link del vm-m")
ip(f"link add link v0 index {record.number} name vm-m type macvtap mode bridge")
assert macvtaps.undo(record) == "" and "vm-m" in names()  # done, and it has no tag
ip(f"link set vm-m alias {record.tag}x")
assert macvtaps.undo(record._replace(done=False)) == "" and "vm-m" in names()
ip("link del vm-m")
""")


@pytest.mark.slow
def test_threat_70_killed_at_any_line_a_release_leaves_nothing() -> None:
    assert kernel("module, asked = macvtaps, granted()\n" + KILLED, timeout_s=600)
