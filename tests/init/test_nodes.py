"""Device nodes: pinned, given, given back.

The tests marked root run in a mount namespace of their own, on a tmpfs with nodes made by mknod.
"""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vm_init import nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.policy import Granted
from vm_init.request import Request

CHECKOUT = Path(__file__).parents[2]
ALICE = Caller(1234, 1234, "alice", (1234,), ("alice",), "/home/alice")
BOB = ALICE._replace(uid=1235, name="bob")
TUN = os.makedev(10, 200)


def granted(path: str) -> Granted:
    return Granted(Request(f"node {path}", "node", path), "policy.toml: grant 1")


def refusal(path: str) -> str:
    with pytest.raises(InitError) as caught:
        nodes.check(granted(path), ALICE)
    return str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="the nodes of Linux")
@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/0", "/dev/fd", "/dev/pts", "/dev/shm"])
def test_threat_57_a_link_a_folder_and_another_filesystem_are_refused(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"no {path} here")
    assert path in refusal(path)


def test_a_node_that_is_not_there_is_told_from_a_refused_one() -> None:
    with pytest.raises(InitError) as caught:
        nodes.check(granted("/dev/no-such-node"), ALICE)
    assert caught.value.status == os.EX_UNAVAILABLE


def test_looking_at_a_node_opens_nothing() -> None:
    fd = nodes.pin("/dev/null")
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(fd, 1)
        assert os.fstat(fd).st_rdev == os.makedev(1, 3)
    finally:
        os.close(fd)


def test_without_openat2_the_walk_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(folder: int, part: str, flags: int) -> int:
        del folder, part, flags
        return -1

    monkeypatch.setattr(nodes, "_openat2", missing)
    os.close(nodes.pin("/dev/null"))
    for path in ("/dev/stdin", "/dev/shm/x", "/dev/pts/0"):
        if Path(path).exists():
            refusal(path)


@pytest.mark.parametrize("former", ["", "0:0", "-1:0:600", "0:0:999", "0:0:600\n", "a:b:c"])
def test_threat_72_a_former_owner_of_another_form_is_not_restored(former: str) -> None:
    fd = nodes.pin("/dev/null")
    try:
        assert "is not uid:gid:mode" in nodes.restore(fd, "/dev/null", 1234, former)
    finally:
        os.close(fd)


# --- as root, in a mount namespace of the test's own ---------------------------------------------


@pytest.mark.root
def test_each_of_the_tests_below_passes_in_a_mount_namespace_of_its_own() -> None:
    ran = subprocess.run(
        ["unshare", "--mount", sys.executable, "-B", __file__],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.split() == [name for name in globals() if name.startswith("inner_")]


def fresh(dev: Path) -> None:
    """A folder like /dev on a tmpfs: net/tun is the kernel's, everything else is strange."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", dev], check=True)
    (dev / "net").mkdir(mode=0o755)
    os.mknod(dev / "net" / "tun", stat.S_IFCHR | 0o600, TUN)
    (dev / "net" / "tun").chmod(0o640)
    nodes.DEV = str(dev)


def check() -> Record:
    return nodes.check(granted("/dev/net/tun"), ALICE)


def take(record: Record) -> str:
    return nodes.take([record], ALICE.uid)[0]


def given() -> Record:
    record = check()
    assert record == Record("node", "/dev/net/tun", TUN, former="0:0:640")
    nodes.give([record], ALICE)
    return record


def inner_threat_62_what_is_given_is_given_back_whatever_its_owner_did(dev: Path) -> None:
    fresh(dev)
    node = dev / "net" / "tun"
    record = given()
    assert nodes.show_owner(node.stat()) == "1234:0:640"
    assert nodes.holds(record, ALICE)
    assert not nodes.holds(record, BOB)
    assert "belongs to uid 1234" in refusal("/dev/net/tun")  # `apply` asks `holds` first
    os.chmod(node, 0o604)
    os.chown(node, -1, 4321)
    os.setxattr(node, nodes.ACCESS_LIST, access_list(4321))
    assert take(record) == ""
    assert nodes.show_owner(node.stat()) == "0:0:640"
    assert nodes.ACCESS_LIST not in os.listxattr(node)
    assert take(record) == ""
    assert not nodes.holds(record, ALICE)


def inner_threats_83_and_84_a_node_that_others_can_open_is_refused(dev: Path) -> None:
    fresh(dev)
    node = dev / "net" / "tun"
    node.chmod(0o666)
    assert "its mode opens it to others" in refusal("/dev/net/tun")
    node.chmod(0o640)
    os.setxattr(node, nodes.ACCESS_LIST, access_list(4321))
    assert "an access list opens it to others" in refusal("/dev/net/tun")


def inner_a_console_of_the_host_is_refused(dev: Path) -> None:
    fresh(dev)
    active = dev / "active"
    active.write_text("tty0 tun\n")
    real, nodes.CONSOLES = nodes.CONSOLES, str(active)
    assert "is a console of the host" in refusal("/dev/net/tun")
    nodes.CONSOLES = real


def access_list(uid: int) -> bytes:
    """user::rw-, user:UID:rw-, group::rw-, mask::rw-, other::---."""
    entries = [(1, 6, -1), (2, 6, uid), (4, 6, -1), (16, 6, -1), (32, 0, -1)]
    packed = [
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + (who % 2**32).to_bytes(4, "little")
        for tag, bits, who in entries
    ]
    return (2).to_bytes(4, "little") + b"".join(packed)


def inner_threat_62_what_belongs_to_another_by_now_is_left_alone(dev: Path) -> None:
    fresh(dev)
    node = dev / "net" / "tun"
    record = given()
    os.chown(node, BOB.uid, 0)
    assert "belongs to uid 1235" in take(record)
    assert node.stat().st_uid == BOB.uid


def inner_threat_70_a_record_of_nothing_done_is_undone(dev: Path) -> None:
    fresh(dev)
    node = dev / "net" / "tun"
    record = check()
    assert take(record) == ""
    nodes.give([record], ALICE)
    assert take(record) == ""  # killed between the act and its record
    assert nodes.show_owner(node.stat()) == "0:0:640"
    given()
    os.chmod(node, 0o604)
    os.chown(node, 0, 0)  # killed between the owner and the mode
    assert take(record) == ""
    assert nodes.show_owner(node.stat()) == "0:0:640"
    node.unlink()
    assert take(record) == ""


def inner_threat_60_only_the_pinned_node_changes_while_names_are_swapped(dev: Path) -> None:
    fresh(dev)
    node, other = dev / "net" / "tun", dev / "net" / "other"
    record = check()
    victim = dev / "victim"
    os.mknod(victim, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    other.symlink_to("../victim")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            node.rename(dev / "net" / "aside")
            other.rename(node)
            node.rename(other)
            (dev / "net" / "aside").rename(node)

    swapper = threading.Thread(target=swap)
    swapper.start()
    given_times = 0
    for _ in range(2000):
        try:
            nodes.give([record], ALICE)
            given_times += 1
            take(record)
        except InitError:
            pass
    stop.set()
    swapper.join()
    assert given_times
    assert nodes.show_owner(victim.stat()) == "0:0:600"


def inner_threat_60_a_node_of_another_number_is_not_what_was_recorded(dev: Path) -> None:
    fresh(dev)
    node = dev / "net" / "tun"
    record = check()
    node.unlink()
    os.mknod(node, stat.S_IFCHR | 0o640, os.makedev(1, 1))
    with pytest.raises(InitError):
        nodes.give([record], ALICE)
    assert nodes.show_owner(node.stat()) == "0:0:640"
    assert "of that name" in refusal("/dev/net/tun")


def inner_threat_57_what_is_no_character_device_is_refused(dev: Path) -> None:
    fresh(dev)
    (dev / "file").touch()
    (dev / "folder").mkdir()
    (dev / "link").symlink_to("net/tun")
    os.mkfifo(dev / "fifo")
    os.mknod(dev / "socket", stat.S_IFSOCK | 0o600)
    os.mknod(dev / "vda", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    for name in ("file", "folder", "link", "fifo", "socket", "vda"):
        assert f"/dev/{name}: " in refusal(f"/dev/{name}")
    (dev / "way").symlink_to("net")
    refusal("/dev/way/tun")


def inner_threat_59_a_node_that_somebody_made_is_refused(dev: Path) -> None:
    fresh(dev)
    os.mknod(dev / "mine", stat.S_IFCHR | 0o600, TUN)
    assert "of that name" in refusal("/dev/mine")
    os.link(dev / "net" / "tun", dev / "twin")
    assert "of that name" in refusal("/dev/twin")
    for mode, uid in ((0o1777, 0), (0o775, 0), (0o755, 1234)):
        os.chown(dev / "net", uid, 0)
        (dev / "net").chmod(mode)
        assert "is not root's alone" in refusal("/dev/net/tun")


def inner_threat_59_another_filesystem_below_dev_is_not_entered(dev: Path) -> None:
    fresh(dev)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", dev / "net"], check=True)
    os.mknod(dev / "net" / "tun", stat.S_IFCHR | 0o600, TUN)
    refusal("/dev/net/tun")
    subprocess.run(["umount", dev / "net"], check=True)
    subprocess.run(["mount", "--bind", dev / "net", dev / "net"], check=True)
    refusal("/dev/net/tun")  # only openat2 sees this one


if __name__ == "__main__":
    assert os.geteuid() == 0
    folder = Path("/mnt")
    for name, inner in [*globals().items()]:
        if name.startswith("inner_"):
            inner(folder)
            subprocess.run(["umount", "--recursive", folder], check=True)
            sys.stdout.write(name + "\n")
