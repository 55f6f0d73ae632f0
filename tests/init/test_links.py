"""Taps and macvtaps, in a network of the test's own: each program runs under `unshare -n -m`.

/dev is the machine's for macvtaps, as devtmpfs is one.
"""

from __future__ import annotations

import sys

import pytest

from tests.init import own_network
from tests.init.own_network import KILLED

pytestmark = pytest.mark.root

PRELUDE = """
def tap(name="vm-a", bridge="br0", policy={}):
    line = f"tap {name} bridge {bridge or '-'}"
    return Granted(parse_line(line), "grant 1", bridge, "", policy)

def macvtap(name="vm-m", parent="v0", mac="02:00:00:00:00:09"):
    return Granted(parse_line(f"macvtap {name} on {parent} mac {mac}"), "grant 1", parent)

def give(granted, caller=ALICE):
    record = links.check(granted, caller)
    links.give([record], caller)
    return record

def take(record, force=False):
    return links.take([record], ALICE.uid, force=force)[0]

def attach(name, uid=0, flags=0x1002):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    if uid: os.seteuid(uid)
    try:
        fcntl.ioctl(fd, 0x400454CA, links.IFREQ.pack(name.encode(), flags))
    finally:
        os.seteuid(0)
    return fd

def made(kind, name, number=1 << 20, target="br0", mac="", nonce="0" * 16):
    return Record(kind, name, number, target, "", mac, "vmman:1501:" + nonce)

ip("link add br0 address 02:00:00:00:00:0b type bridge")
ip("link set br0 up")
ip("link add v0 type veth peer name v1")
ip("link set v0 up")
ip("link set v1 up")
BASE = {"lo", "br0", "v0", "v1"}
"""


def kernel(program: str, timeout_s: float = 120) -> str:
    """What a program says that has the names above, in a network with a bridge and a pair."""
    return own_network.kernel(PRELUDE + program, timeout_s)


def test_a_tap_is_the_callers_tagged_up_and_on_its_bridge() -> None:
    kernel("""
ip("link set br0 mtu 1400")
record = give(tap())
link = netlink.find_link("vm-a")
assert record.number == link.number >= 1 << 20, record
assert (link.kind, link.owner, link.flags & 1, link.mtu) == ("tun", 1501, 1, 1400)
assert not link.carrier
assert link.alias == record.tag and link.alias.startswith("vmman:1501:")
assert link.master == netlink.find_link("br0").number
assert links.holds(record, ALICE) and not links.holds(record, BOB)
fd = attach("vm-a", 1501, 0x5002)  # with IFF_VNET_HDR, as QEMU does
try: attach("vm-a", 1502)
except OSError: pass
else: raise SystemExit("bob opened it")
os.close(fd)
assert take(record) == "" and take(record) == ""
assert names() == BASE
assert not links.holds(record, ALICE)
assert "pyroute2" not in sys.modules
alone = give(tap("vm-b", ""))
assert netlink.find_link("vm-b").master == 0 and links.holds(alone, ALICE)
assert take(alone) == ""
""")


def test_a_macvtap_is_the_callers_tagged_up_and_on_its_interface() -> None:
    kernel("""
before = ip("-d link show v0")
record = give(macvtap())
link = netlink.find_link("vm-m")
assert record.number == link.number >= 1 << 20
assert (link.kind, link.flags & 1, link.mac) == ("macvtap", 1, record.mac)
assert link.is_bridge_mode
assert link.alias == record.tag and link.parent == netlink.find_link("v0").number
node = f"/dev/tap{record.number}"
assert (os.stat(node).st_uid, os.stat(node).st_mode & 0o777) == (1501, 0o600)
assert "addrgenmode none" in ip("-d link show vm-m") and "inet6" not in ip("addr show vm-m")
assert links.holds(record, ALICE) and not links.holds(record, BOB)
assert "pyroute2" not in sys.modules
os.seteuid(1501)
fd = os.open(node, os.O_RDWR)
os.seteuid(0)
os.close(fd)
assert take(record) == "" and take(record) == ""
assert not os.path.exists(node) and not links.holds(record, ALICE)
assert ip("-d link show v0") == before
""")


def test_threats_37_and_38_an_interface_of_any_kind_is_refused_and_stays() -> None:
    kernel("""
his = give(tap("vm-bob0"), BOB)
ip("link property add dev v1 altname vm-alt")
before = [(link.number, link.name, link.alias) for link in netlink.list_links()]
for name in ("br0", "v0", "vm-alt", "vm-bob0"):
    for asked in (tap(name), macvtap(name)):
        told = refused(links.check, asked, ALICE)
        assert told == (f"{name}: there is an interface of this name already", 77)
    for sure in (made("tap", name), made("macvtap", name, target="v0", mac="02:00:00:00:00:09")):
        assert refused(links.give, [sure], ALICE)[1] == 77
        assert take(sure) == ""
        assert take(sure._replace(number=netlink.find_link(name).number), force=True) == ""
assert [(link.number, link.name, link.alias) for link in netlink.list_links()] == before
assert links.holds(his, BOB)
""")


def test_threat_39_a_name_that_the_kernel_would_change_leaves_nothing() -> None:
    kernel("""
for name in ("tap%d", "", "x" * 16, "x" * 21):
    refused(links.give, [made("tap", name)], ALICE)
    assert names() == BASE, names()
""")


def test_threats_40_and_42_what_is_no_bridge_of_that_first_name_is_refused() -> None:
    kernel("""
ip("link property add dev br0 altname br7")
for name in ("br7", "v0", "none"):
    told = refused(links.check, tap("vm-a", name), ALICE)
    assert told == (f"{name}: there is no such bridge", 77)
record = links.check(tap(), ALICE)
ip("link del br0"); ip("link add br0 type veth peer name v2")
refused(links.give, [record], ALICE)
assert "vm-a" not in names()
""")


def test_threat_42_a_port_that_was_moved_is_not_as_recorded() -> None:
    kernel("""
record = give(tap())
ip("link add br1 type bridge"); ip("link set vm-a master br1")
assert not links.holds(record, ALICE)
ip("link set vm-a nomaster")
assert not links.holds(record, ALICE)
assert take(record) == ""
""")


def test_threats_44_and_85_the_bridges_address_does_not_become_the_taps() -> None:
    kernel("""
ip("link add br1 type bridge")
ip("link set v0 master br1")
address = netlink.find_link("br1").mac
told = refused(links.check, tap("vm-a", "br1"), ALICE)
assert f"ip link set dev br1 address {address}" in told[0] and told[1] == 77
give(tap("vm-a", "br1", {"pin": True}))
assert netlink.find_link("br1").mac == address and netlink.find_link("vm-a").mac.startswith("fe:")
fd = attach("vm-a", 1501)
request = b"vm-a".ljust(16, b"\\0") + b"\\1\\0" + bytes.fromhex("020000000001") + bytes(16)
fcntl.ioctl(fd, 0x8924, request)  # SIOCSIFHWADDR, by its owner
assert netlink.find_link("vm-a").mac == "02:00:00:00:00:01"
assert netlink.find_link("br1").mac == address
os.close(fd)
""")


def test_threats_45_and_71_a_tap_in_use_stays_unless_root_forces() -> None:
    kernel("""
record = give(tap())
fd = attach("vm-a", 1501)
assert links.holds(record, ALICE)
assert take(record) == "vm-a: in use"
assert links.holds(record, ALICE)
assert take(record, force=True) == ""
assert "vm-a" not in names() and take(record) == ""
""")


def test_threat_50_a_tap_has_no_address_and_its_port_is_as_the_policy_says() -> None:
    kernel("""
import json
policy = {"bpdu-guard": True, "isolated": True, "learning": False}
record = give(tap(policy=policy))
fd = attach("vm-a", 1501)
assert "inet6" not in ip("addr show vm-a") and "addrgenmode none" in ip("-d link show vm-a")
(port,) = json.loads(ip("-j -d link show vm-a"))
told = port["linkinfo"]["info_slave_data"]
assert (told["guard"], told["isolated"], told["learning"]) == (True, True, False), told
words = "bpdu-guard isolated no-learning"
assert (record.port, netlink.find_link("vm-a").port) == (words, words)
assert links.holds(record, ALICE)
ip("link set vm-a type bridge_slave learning on")
assert netlink.find_link("vm-a").port == "bpdu-guard isolated"
assert not links.holds(record, ALICE)
os.close(fd)
assert take(record) == ""
assert netlink.find_link(give(tap("vm-b")).number).port == ""
""")


def test_all_taps_are_deleted_at_once_and_nothing_else_is() -> None:
    kernel("""
ip("link set v0 group 7")
ip("tuntap add vm-r mode tap")
three = [links.check(tap(f"vm-{n}"), ALICE) for n in range(3)]
links.give(three, ALICE)
his = give(tap("vm-bob"), BOB)
assert all(links.holds(record, ALICE) for record in three)
other = three[1]._replace(tag="vmman:1501:" + "0" * 16)
fd = attach("vm-2", 1501)
assert links.take([three[0], other, three[2]], 1501) == ["", "", "vm-2: in use"]
assert names() == BASE | {"vm-r", "vm-1", "vm-2", "vm-bob"}
assert {link.group for link in netlink.list_links()} == {0, 7}
assert links.take(three, 1501, force=True) == ["", "", ""]
assert names() == BASE | {"vm-r", "vm-bob"}
assert links.take(three, 1501) == ["", "", ""] and links.holds(his, BOB)
""")


def test_when_one_of_many_cannot_be_made_none_is_left() -> None:
    kernel("""
wanted = [links.check(tap(f"vm-{n}"), ALICE) for n in range(3)]
ip("link add vm-1 type veth peer name v9")
assert refused(links.give, wanted, ALICE)[1] == 77
assert names() == BASE | {"vm-1", "v9"}
""")


def test_links_are_read_as_pyroute2_reads_them() -> None:
    kernel("""
from pyroute2 import IPRoute
ip("link set v0 address 52:54:00:00:00:01 mtu 1400 group 9")
ip("link set v0 alias some_text"); ip("link set v0 master br0 up")
ip("link add link v1 name m0 type macvtap mode bridge")
ip("link add link v1 name m1 type macvtap mode vepa")
ip("tuntap add t0 mode tap user 1501")
give(tap())
with IPRoute() as other:
    told = {link["index"]: link for link in other.get_links()}
mine = netlink.list_links()
assert len(mine) == len(told) == 8, names()
for link in mine:
    his = told[link.number]
    def data(name): return his.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", name)
    assert link.name == his.get("ifname"), link
    assert link.kind == (his.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""), link
    assert link.alias == (his.get("ifalias") or ""), link
    assert (link.mac, link.mtu) == (his.get("address"), his.get("mtu")), link
    assert link.group == his.get("group"), link
    assert (link.master, link.parent) == (his.get("master") or 0, his.get("link") or 0), link
    assert link.flags == his["flags"] & 9, (link, his["flags"])
    assert link.carrier == bool(his.get("carrier")), link
    owner = data("IFLA_TUN_OWNER") if link.kind == "tun" else None
    assert link.owner == (-1 if owner is None else owner), link
    mode = data("IFLA_MACVTAP_MODE") if link.kind == "macvtap" else None
    assert link.is_bridge_mode == (mode == "bridge"), (link, mode)
    assert netlink.find_link(link.name) == netlink.find_link(link.number) == link, link
""")


def test_threat_43_an_address_that_another_interface_has_is_refused() -> None:
    kernel("""
taken = netlink.find_link("v1").mac
assert refused(links.check, macvtap(mac=taken), ALICE)[1] == 77
record = give(macvtap())
assert refused(links.check, macvtap("vm-n"), ALICE)[1] == 77
assert take(record) == ""
""")


def test_threat_47_lo_a_port_and_what_is_not_there_are_refused() -> None:
    kernel("""
ip("link set v0 master br0")
ip("link property add dev v1 altname up0")
for parent in ("v0", "none", "up0"):
    assert refused(links.check, macvtap(parent=parent), ALICE)[1] == 77
lo = Granted(macvtap().request, "grant 1", "lo")
assert refused(links.check, lo, ALICE)[1] == 77
ip("link set v0 nomaster")
record = links.check(macvtap(), ALICE)
ip("link set v0 master br0")
refused(links.give, [record], ALICE)
assert take(record) == "" and "vm-m" not in names()
""")


def test_threat_48_a_node_of_another_network_is_not_given() -> None:
    kernel("""
record = links.check(macvtap(), ALICE)
node = f"/dev/tap{record.number}"
add = f"ip link add link u0 index {record.number} name mv0 type macvtap"
squat = f"ip link add u0 type veth peer name u1; {add}; echo; read x"
mallory = subprocess.Popen(["unshare", "-n", "sh", "-c", squat], stdin=-1, stdout=-1)
mallory.stdout.readline()
hers = os.lstat(node)
refused(links.give, [record], ALICE)
assert os.lstat(node).st_uid == hers.st_uid == 0 and os.lstat(node).st_rdev == hers.st_rdev
assert take(record) == "" and "vm-m" not in names()
assert os.lstat(node).st_rdev == hers.st_rdev
mallory.communicate(b"\\n")
# The same against our own comparison alone.
links._wait_for_node = lambda path: os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW)
owner = os.lstat("/dev/null").st_uid
told = refused(links.give, [record], ALICE)
assert "node is another's" in told[0] and os.lstat("/dev/null").st_uid == owner
assert take(record) == ""
""")


LATE = """
record = links.check(macvtap(), ALICE)
real = netlink.send
def hidden(*messages, **more):
    real(*messages, **more)
    if len(messages) == 2:
        netlink.send = real
        seen = os.stat(f"/dev/tap{record.number}")
        subprocess.run("mount -t tmpfs -o mode=755 none /dev", shell=True, check=True)
        later(f"/dev/tap{record.number}", seen.st_rdev)
netlink.send = hidden
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
links.give([record], ALICE)
assert 0.4 < time.monotonic() - start < 2.9
assert links.holds(record, ALICE) and take(record) == ""
"""
    )


def test_threat_49_a_node_that_never_appears_ends_in_time() -> None:
    kernel(
        LATE
        + """
def later(path, number): pass
links.NODE_TIMEOUT_S = 0.3
start = time.monotonic()
told = refused(links.give, [record], ALICE)
assert told[1] == 69, told
assert 0.25 < time.monotonic() - start < 2.9, told
assert take(record) == "", take(record)
assert "vm-m" not in names()
"""
    )


def test_threat_69_a_later_link_of_the_same_name_is_not_deleted() -> None:
    kernel("""
record = give(tap())
fd = attach("vm-a", 1501)
fcntl.ioctl(fd, 0x400454CB, 0)  # its owner destroys it
os.close(fd)
assert "vm-a" not in names()
ip("tuntap add vm-a mode tap")
assert take(record) == "" and take(record._replace(number=0)) == ""
assert "vm-a" in names()
ip("link del vm-a")
ip(f"link add vm-a index {record.number} type bridge")
ip(f"link set vm-a alias {record.tag}")
assert take(record, force=True) == ""
assert "vm-a" in names()
m = give(macvtap())
ip("link del vm-m")
ip("link add link v0 name vm-m type macvtap mode bridge")
assert take(m) == "" and "vm-m" in names()
ip("link del vm-m")
ip(f"link add link v0 index {m.number} name vm-m type macvtap mode bridge")
ip(f"link set vm-m alias {m.tag}x")
assert take(m) == "" and "vm-m" in names()
""")


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["tap()", "macvtap()"])
def test_threat_70_killed_at_any_line_a_release_leaves_nothing(asked: str) -> None:
    assert kernel(f"asked = {asked}\n" + KILLED, timeout_s=600)


def test_a_hundred_taps_beside_ip_batch(capsys: pytest.CaptureFixture[str]) -> None:
    told = kernel("""
root = tempfile.mkdtemp()
start = time.perf_counter()
ledger = Ledger(ALICE.uid, "web", root)
wanted = [links.check(tap(f"vm-{n}"), ALICE) for n in range(100)]
ledger.write(wanted)
links.give(wanted, ALICE)
end = time.perf_counter()
assert len(names()) == 104 and all(links.holds(record, ALICE) for record in ledger.records)
assert links.take(ledger.records, 1501) == [""] * 100
ledger.write([])
os.rmdir(root)
assert names() == BASE
lines = []
for n in range(100):
    lines += [f"tuntap add vm-{n} mode tap user 1501", f"link set vm-{n} master br0 up"]
begun = time.perf_counter()
subprocess.run(["ip", "-batch", "-"], input="\\n".join(lines), text=True, check=True)
batch = time.perf_counter() - begun
print(f"100 taps: {(end - start) * 1e3:.0f} ms; ip -batch {batch * 1e3:.0f} ms")
""")
    with capsys.disabled():
        sys.stdout.write(f"\n{told}")
