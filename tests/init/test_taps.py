"""Taps, in a network of the test's own: each test's program runs under `unshare -n -m`."""

from __future__ import annotations

import sys

import pytest

from tests.init import own_network
from tests.init.own_network import KILLED

pytestmark = pytest.mark.root

PRELUDE = """
def granted(name="vm-a", bridge="br0"):
    return Granted(Tap(name, bridge=bridge or "-"), "policy.toml: grant 1", bridge)

def give(name="vm-a", bridge="br0", caller=ALICE):
    return taps.act(taps.intend(granted(name, bridge), caller, "web"), caller)

def attach(name, uid=0, flags=0x1002):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    if uid: os.seteuid(uid)
    try:
        fcntl.ioctl(fd, 0x400454CA, taps.IFREQ.pack(name.encode(), flags))
    finally:
        os.seteuid(0)
    return fd

ip("link add br0 type bridge")
ip("link set br0 up")
"""


def kernel(program: str, timeout_s: float = 120) -> str:
    """What a program says that has the names above, in a network with a bridge."""
    return own_network.kernel(PRELUDE + program, timeout_s)


def test_a_tap_is_the_callers_tagged_up_and_on_its_bridge() -> None:
    kernel("""
ip("link set br0 mtu 1400")
record = give()
link = netlink.link("vm-a")
assert record.done and record.number == link.number, record
assert (link.kind, link.owner, link.up, link.mtu, link.carrier) == ("tun", 1501, True, 1400, False)
assert link.alias == record.tag == "vmman:1501:web:" + record.nonce
assert link.master == netlink.link("br0").number
assert taps.holds(record, ALICE) and not taps.holds(record, BOB)
fd = attach("vm-a", 1501, 0x5002)  # with IFF_VNET_HDR, as QEMU does
try: attach("vm-a", 1502)
except OSError: pass
else: raise SystemExit("bob opened it")
os.close(fd)
assert taps.undo(record) == "" and taps.undo(record) == ""
assert names() == {"lo", "br0"}
assert not taps.holds(record, ALICE)
assert "pyroute2" not in sys.modules
alone = give("vm-b", "")
assert netlink.link("vm-b").master == 0 and taps.holds(alone, ALICE)
assert taps.undo(alone) == ""
""")


def test_threat_37_anothers_tap_is_refused_and_stays_his() -> None:
    kernel("""
his = give("vm-bob0", caller=BOB)
asked = granted("vm-bob0")
assert refused(taps.intend, asked, ALICE, "web") == ("vm-bob0: " + taps.TAKEN, 77)
late = his._replace(tag="vmman:1501:web:" + "0" * 16, nonce="0" * 16, number=0, done=False)
assert refused(taps.act, late, ALICE) == ("vm-bob0: " + taps.TAKEN, 77)
assert taps.undo(late) == ""
assert taps.holds(his, BOB)
""")


def test_threat_38_an_interface_of_any_kind_is_refused_with_the_same_text() -> None:
    kernel("""
ip("link add v0 type veth peer name v1")
ip("link property add dev v1 altname vm-alt")
before = [link[:4] for link in netlink.links()]
for name in ("lo", "br0", "v0", "vm-alt"):
    assert refused(taps.intend, granted(name), ALICE, "web") == (f"{name}: {taps.TAKEN}", 77)
    sure = Record("tap", name, nonce="0" * 16, target="br0", tag="vmman:1501:web:" + "0" * 16)
    assert refused(taps.act, sure, ALICE) == (f"{name}: {taps.TAKEN}", 77)
    assert taps.undo(sure) == ""
    assert taps.undo(sure._replace(number=netlink.link(name).number), force=True) == ""
assert [link[:4] for link in netlink.links()] == before
""")


def test_threat_39_a_name_that_the_kernel_would_change_leaves_nothing() -> None:
    kernel("""
for name in ("tap%d", "", "x" * 16, "x" * 21):
    sure = Record("tap", name, nonce="0" * 16, target="br0", tag="vmman:1501:web:" + "0" * 16)
    refused(taps.act, sure, ALICE)
    assert names() == {"lo", "br0"}, names()
""")


def test_threat_40_a_bridge_by_an_alternative_name_is_refused() -> None:
    kernel("""
ip("link property add dev br0 altname br7")
assert refused(taps.intend, granted("vm-a", "br7"), ALICE, "web") == ("br7: " + taps.TAKEN, 77)
""")


def test_threat_42_what_is_no_bridge_is_refused_also_when_it_was_one() -> None:
    kernel("""
ip("link add v0 type veth peer name v1")
told = refused(taps.intend, granted("vm-a", "v0"), ALICE, "web")
assert told == ("v0: " + taps.TAKEN, 77)
assert refused(taps.intend, granted("vm-a", "none"), ALICE, "web") == ("none: " + taps.TAKEN, 77)
record = taps.intend(granted(), ALICE, "web")
ip("link del br0"); ip("link add br0 type veth peer name v2")
refused(taps.act, record, ALICE)
assert "vm-a" not in names()
""")


def test_threat_42_a_port_that_was_moved_is_not_as_recorded() -> None:
    kernel("""
record = give()
ip("link add br1 type bridge"); ip("link set vm-a master br1")
assert not taps.holds(record, ALICE)
ip("link set vm-a nomaster")
assert not taps.holds(record, ALICE)
assert taps.undo(record) == ""
""")


def test_threat_44_the_bridges_address_does_not_become_the_taps() -> None:
    kernel("""
ip("link add v0 address 52:54:00:00:00:01 type veth peer name v1")
ip("link set v0 master br0")
before = netlink.link("br0").mac
record = give()
assert before == netlink.link("br0").mac == "52:54:00:00:00:01"
assert netlink.link("vm-a").mac.startswith("fe:")
assert "br0" in taps.warning("br0")
ip("link set br0 address 52:54:00:00:00:01")
assert taps.warning("br0") == ""
fd = attach("vm-a", 1501)
address = b"vm-a".ljust(16, b"\\0") + b"\\1\\0" + bytes.fromhex("020000000001") + bytes(16)
fcntl.ioctl(fd, 0x8924, address)  # SIOCSIFHWADDR, by its owner
assert netlink.link("vm-a").mac == "02:00:00:00:00:01"
assert netlink.link("br0").mac == "52:54:00:00:00:01"
os.close(fd)
""")


def test_threat_45_a_tap_in_use_stays() -> None:
    kernel("""
record = give()
fd = attach("vm-a", 1501)
assert taps.holds(record, ALICE)
assert taps.undo(record) == "vm-a: in use"
assert taps.holds(record, ALICE)
os.close(fd)
assert taps.undo(record) == ""
""")


def test_threat_71_root_may_take_a_tap_that_is_in_use() -> None:
    kernel("""
record = give()
fd = attach("vm-a", 1501)
assert taps.undo(record, force=True) == ""
assert "vm-a" not in names() and taps.undo(record) == ""
""")


def test_threat_50_a_tap_has_no_address_of_its_own() -> None:
    kernel("""
record = give()
fd = attach("vm-a", 1501)
assert "inet6" not in ip("addr show vm-a")
assert "addrgenmode none" in ip("-d link show vm-a")
""")


def test_threat_50_a_port_is_as_the_policy_says_before_it_is_up() -> None:
    kernel("""
import json
real, sent = netlink.change, []
def change(*changes): sent.extend(changes); real(*changes)
netlink.change = change
words = "bpdu-guard isolated no-learning"
record = taps.act(taps.intend(granted()._replace(port=words), ALICE, "web"), ALICE)
(port,) = json.loads(ip("-j -d link show vm-a"))
told = port["linkinfo"]["info_slave_data"]
assert (told["guard"], told["isolated"], told["learning"]) == (True, True, False), told
assert (record.port, netlink.link("vm-a").port, len(sent)) == (words, words, 2)
assert "up" not in sent[0][1] and sent[1][1] == {"up": True, "port": words}
assert taps.holds(record, ALICE)
ip("link set vm-a type bridge_slave learning on")
assert netlink.link("vm-a").port == "bpdu-guard isolated"
assert not taps.holds(record, ALICE) and taps.undo(record) == ""
assert netlink.link(give("vm-b").number).port == ""
""")


def test_all_taps_are_deleted_at_once_and_nothing_else_is() -> None:
    kernel("""
ip("link add v0 group 7 type veth peer name v1")
ip("tuntap add vm-r mode tap")
three = taps.make([taps.intend(granted(f"vm-{n}"), ALICE, "web") for n in range(3)], ALICE)
his = give("vm-bob", caller=BOB)
assert all(taps.holds(record, ALICE) for record in three) and len(three) == 3
other = three[1]._replace(tag="vmman:1501:web:" + "0" * 16)
fd = attach("vm-2", 1501)
assert taps.remove([three[0], other, three[2]]) == ["", "", "vm-2: in use"]
assert names() == {"lo", "br0", "v0", "v1", "vm-r", "vm-1", "vm-2", "vm-bob"}
assert {link.group for link in netlink.links()} == {0, 7}
assert taps.remove(three, force=True) == ["", "", ""]
assert names() == {"lo", "br0", "v0", "v1", "vm-r", "vm-bob"}
assert taps.remove(three) == ["", "", ""] and taps.holds(his, BOB)
""")


def test_when_one_of_many_cannot_be_made_none_is_left() -> None:
    kernel("""
wanted = [taps.intend(granted(f"vm-{n}"), ALICE, "web") for n in range(3)]
ip("link add vm-1 type veth peer name v1")
assert refused(taps.make, wanted, ALICE) == ("vm-1: " + taps.TAKEN, 77)
assert names() == {"lo", "br0", "vm-1", "v1"}
""")


def test_links_are_read_as_pyroute2_reads_them() -> None:
    kernel("""
from pyroute2 import IPRoute
ip("link add v0 address 52:54:00:00:00:01 mtu 1400 group 9 type veth peer name v1")
ip("link set v0 alias some_text"); ip("link set v0 master br0 up")
ip("link add link v1 name m0 type macvtap mode bridge")
ip("link add link v1 name m1 type macvtap mode vepa")
ip("tuntap add t0 mode tap user 1501")
give()
with IPRoute() as other:
    told = {link["index"]: link for link in other.get_links()}
mine = netlink.links()
assert len(mine) == len(told) == 8
for link in mine:
    his = told[link.number]
    def data(name): return his.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", name)
    assert link.name == his.get("ifname"), link
    assert link.kind == (his.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""), link
    assert link.alias == (his.get("ifalias") or ""), link
    assert (link.mac, link.mtu) == (his.get("address"), his.get("mtu")), link
    assert link.group == his.get("group"), link
    assert (link.master, link.parent) == (his.get("master") or 0, his.get("link") or 0), link
    assert (link.up, link.loopback) == (bool(his["flags"] & 1), bool(his["flags"] & 8)), link
    assert link.carrier == bool(his.get("carrier")), link
    owner = data("IFLA_TUN_OWNER") if link.kind == "tun" else None
    assert link.owner == (-1 if owner is None else owner), link
    mode = data("IFLA_MACVTAP_MODE") if link.kind == "macvtap" else None
    assert link.is_bridge_mode == (mode == "bridge"), (link, mode)
    assert netlink.link(link.name) == netlink.link(link.number) == link
""")


def test_threat_69_a_later_link_of_the_same_name_is_not_deleted() -> None:
    kernel("""
record = give()
fd = attach("vm-a", 1501)
fcntl.ioctl(fd, 0x400454CB, 0)  # its owner destroys it
os.close(fd)
assert "vm-a" not in names()
ip("tuntap add vm-a mode tap")
assert taps.undo(record) == "" and taps.undo(record._replace(number=0)) == ""
assert "vm-a" in names()
ip("link del vm-a")
ip(f"link add vm-a index {record.number} type bridge")
ip(f"link set vm-a alias {record.tag}")
assert taps.undo(record, force=True) == ""
assert "vm-a" in names()
""")


@pytest.mark.slow
def test_threat_70_killed_at_any_line_a_release_leaves_nothing() -> None:
    assert kernel("module, asked = taps, granted()\n" + KILLED, timeout_s=600)


def test_a_hundred_taps_beside_ip_batch(capsys: pytest.CaptureFixture[str]) -> None:
    told = kernel("""
root = tempfile.mkdtemp()
start = time.perf_counter()
netlink.link("lo")
loaded = time.perf_counter()
ledger = Ledger.open(root, ALICE.uid, "web")
wanted = [taps.intend(granted(f"vm-{n}"), ALICE, "web") for n in range(100)]
ledger.intend(*wanted)
ledger.done(*taps.make(wanted, ALICE))
end = time.perf_counter()
assert len(names()) == 102 and all(taps.holds(record, ALICE) for record in ledger.records)
assert taps.remove(ledger.records) == [""] * 100
ledger.forget(*ledger.records)
os.rmdir(root)
assert len(names()) == 2
lines = []
for n in range(100):
    lines += [f"tuntap add vm-{n} mode tap user 1501", f"link set vm-{n} master br0 up"]
begun = time.perf_counter()
subprocess.run(["ip", "-batch", "-"], input="\\n".join(lines), text=True, check=True)
batch = time.perf_counter() - begun
print(f"100 taps: {(end - loaded) * 1e3:.0f} ms and {(loaded - start) * 1e3:.0f} ms of import;"
      f" ip -batch {batch * 1e3:.0f} ms")
""")
    with capsys.disabled():
        sys.stdout.write(f"\n{told}")
