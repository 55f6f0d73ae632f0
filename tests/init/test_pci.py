"""PCI devices, on a fake sysfs that answers as the kernel does: no IOMMU is needed.

The tests that give the group's node away run as root, with a folder of the test's own as /dev.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vm_init import nodes, pci
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.policy import Granted
from vm_init.request import Request

ALICE = Caller(1234, 1234, "alice", (1234,), ("alice",), "/home/alice")
GPU, SOUND, BRIDGE = "0000:01:00.0", "0000:01:00.1", "0000:00:01.0"
root = pytest.mark.root
REAL_PUT = pci._put  # pyright: ignore[reportPrivateUsage]


class KilledError(BaseException):
    """The end of a process that nobody catches."""


@dataclass
class Fake:
    """A tree like /sys. Writing to its files does what the kernel would do.

    Attributes:
        refuses: the writes, as `file text`, that fail.
        ignores: drivers that do not take a device when they are asked.
        wrote: what was written.
    """

    folder: Path
    refuses: set[str] = field(default_factory=set[str])
    ignores: set[str] = field(default_factory=set[str])
    wrote: list[str] = field(default_factory=list[str])
    held: bool = False
    dies_after: int = -1

    def __post_init__(self) -> None:
        for name in (
            "devices",
            "drivers/vfio-pci",
            "drivers/nouveau",
            "drivers/snd",
            "drivers/nvme",
        ):
            (self.sys / "bus/pci" / name).mkdir(parents=True)
        (self.sys / "bus/pci/drivers_probe").touch()
        for name in ("net", "block", "graphics", "tty/console"):
            (self.sys / "class" / name).mkdir(parents=True)
        (self.sys / "class/tty/console/active").write_text("tty0 ttyS4\n")
        (self.folder / "swaps").write_text("Filename Type Size Used Priority\n")
        (self.folder / "mounts").write_text("22 1 0:20 / / rw - tmpfs tmpfs rw\n")
        (self.folder / "dev/vfio").mkdir(parents=True)
        (self.folder / "numbers/1:3").mkdir(parents=True)
        (self.folder / "numbers/1:3/uevent").write_text("DEVNAME=vfio/4093\n")

    @property
    def sys(self) -> Path:
        return self.folder / "sys"

    @property
    def node(self) -> Path:
        return self.folder / "dev/vfio/4093"

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Puts this in the place of the host."""
        # A folder of an ordinary user's is no /dev; the real one has no such group.
        patch.setattr(nodes, "DEV", str(self.folder / "dev") if os.geteuid() == 0 else "/dev")
        patch.setattr(nodes, "NUMBERS", str(self.folder / "numbers"))
        patch.setattr(pci, "SYS", str(self.sys))
        patch.setattr(pci, "DEV", str(self.folder / "disks"))
        patch.setattr(pci, "TIMEOUT_S", 0.2)
        patch.setattr(pci, "_put", self.put)
        patch.setattr(pci, "_is_open", self.busy)

    def put(self, fd: int, text: str) -> None:
        """What the kernel does with a write; the caller dies before the last of so many."""
        if self.dies_after == len(self.wrote):
            raise KilledError
        self.write(fd, text)

    def busy(self, path: str) -> bool:
        del path
        return self.held

    def path(self, address: str) -> Path:
        return self.sys / "devices/pci0000:00" / address

    def add(
        self, address: str, driver: str = "", kind: str = "0x030000", group: int | None = 4093
    ) -> Path:
        path = self.path(address)
        path.mkdir(parents=True)
        files = {"vendor": "0x10de", "device": "0x1b80", "class": kind}
        for name, text in (files | {"driver_override": "(null)"}).items():
            (path / name).write_text(text + "\n")
        (self.sys / "bus/pci/devices" / address).symlink_to(path)
        if driver:
            self.bind(address, driver)
        if group is not None:
            members = self.sys / f"kernel/iommu_groups/{group}/devices"
            members.mkdir(parents=True, exist_ok=True)
            (path / "iommu_group").symlink_to(members.parent)
            (members / address).symlink_to(path)
        return path

    def bind(self, address: str, driver: str) -> None:
        drivers = self.sys / "bus/pci/drivers"
        (drivers / driver / "unbind").touch()
        (self.path(address) / "driver").symlink_to(drivers / driver)
        if driver == "vfio-pci" and os.geteuid() == 0 and not self.node.exists():
            os.mknod(self.node, stat.S_IFCHR | 0o600, os.makedev(1, 3))

    def driver(self, address: str) -> str:
        link = self.path(address) / "driver"
        return link.readlink().name if link.is_symlink() else ""

    def override(self, address: str) -> str:
        return (self.path(address) / "driver_override").read_text().strip()

    def child(self, address: str, kind: str, name: str) -> Path:
        path = self.path(address) / kind / name
        path.mkdir(parents=True)
        (self.sys / "class" / kind / name).symlink_to(path)
        return path

    def write(self, fd: int, text: str) -> None:
        file = Path(f"/proc/self/fd/{fd}").readlink()
        self.wrote.append(f"{file.name} {text.strip()}".strip())
        if self.wrote[-1] in self.refuses:
            raise OSError(5, "Input/output error")
        if file.name == "driver_override":
            file.write_text(text if text.strip() else "(null)\n")
        elif file.name == "unbind":
            (self.path(text) / "driver").unlink()
            if file.parent.name == "vfio-pci":
                self.node.unlink(missing_ok=True)
        else:
            self.probe(text)

    def probe(self, address: str) -> None:
        asked = self.override(address)
        driver = asked if asked != "(null)" else "nouveau"
        if driver not in self.ignores and not self.driver(address):
            self.bind(address, driver)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path)
    made.install(monkeypatch)
    return made


def granted(address: str, pinned: str = "10de:1b80") -> Granted:
    return Granted(Request(f"pci {address}", "pci", address), "grant 1", pinned=pinned)


def check(address: str = GPU, *together: str) -> Record:
    return pci.check(granted(address), ALICE, together)


def give(record: Record) -> Record:
    """As `vm_init.apply` does it: what fails is taken back."""
    try:
        pci.give([record], ALICE)
    except (InitError, OSError):
        assert take(record) in ("", f"{GPU}: nouveau does not take it back")
        raise
    return record


def take(record: Record) -> str:
    return pci.take([record], ALICE.uid)[0]


def refusal(fake: Fake, address: str = GPU, *together: str) -> str:
    with pytest.raises(InitError) as caught:
        check(address, *together)
    assert fake.wrote == []
    return str(caught.value)


def test_what_is_intended_tells_group_driver_and_caller(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    assert check() == Record("pci", GPU, 4093, former="nouveau")
    assert fake.wrote == []


@root
def test_a_device_is_bound_given_held_and_given_back(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    record = give(check())
    assert fake.wrote == ["driver_override vfio-pci", f"unbind {GPU}", f"drivers_probe {GPU}"]
    assert nodes.show_owner(fake.node.stat()) == "1234:0:600"
    assert pci.holds(record, ALICE)
    assert not pci.holds(record, ALICE._replace(uid=1235))
    assert give(record) == record
    assert take(record) == ""
    assert (fake.driver(GPU), fake.override(GPU)) == ("nouveau", "(null)")
    assert not pci.holds(record, ALICE)
    before = list(fake.wrote)
    assert take(record) == ""
    assert fake.wrote == before


@root
def test_a_device_without_a_driver_is_left_without_one(fake: Fake) -> None:
    fake.add(GPU)
    record = give(check())
    assert record.former == "-"
    assert take(record) == ""
    assert (fake.driver(GPU), fake.override(GPU)) == ("", "(null)")


@root
def test_a_device_that_the_admin_gave_to_vfio_stays_there(fake: Fake) -> None:
    fake.add(GPU, "vfio-pci")
    fake.node.chmod(0o660)
    os.chown(fake.node, 0, 36)
    record = give(check())
    assert record.former == "vfio-pci 0:36:660"
    assert nodes.show_owner(fake.node.stat()) == "1234:36:660"
    assert take(record) == ""
    assert nodes.show_owner(fake.node.stat()) == "0:36:660"
    assert (fake.driver(GPU), fake.wrote) == ("vfio-pci", [])


@pytest.mark.parametrize("error", [errno.EBUSY, errno.ENOENT, errno.ENXIO])
def test_threat_51_a_disk_that_cannot_be_had_alone_is_refused(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """O_EXCL is refused for what is mounted, swapped on, or part of a RAID or a filesystem."""
    fake.add(GPU, "nvme", "0x010802")
    fake.child(GPU, "block", "sda")
    real = os.open

    def opened(path: str, flags: int, *more: Any, **how: Any) -> int:
        if path.endswith("/disks/sda"):
            assert flags & os.O_EXCL
            raise OSError(error, "no")
        return real(path, flags, *more, **how)

    monkeypatch.setattr(os, "open", opened)
    assert refusal(fake) == f"{GPU}: the host needs it: sda is used, or part of another disk"


def test_a_disk_that_is_free_is_no_reason_nor_is_one_of_vfio(fake: Fake) -> None:
    fake.add(GPU, "nvme", "0x010802")
    fake.child(GPU, "block", "sda")
    (fake.folder / "disks").mkdir()
    (fake.folder / "disks/sda").touch()
    assert check().former == "nvme"
    fake.add(SOUND, "vfio-pci", group=77)
    fake.child(SOUND, "block", "sdb")
    assert check(SOUND).former == "vfio-pci"


@root
def test_threat_51_a_mounted_disk_of_this_machine_cannot_be_opened_alone() -> None:
    with open("/proc/self/mountinfo") as table:
        disks = [line.split()[2] for line in table if " - ext4 " in line]
    for number in disks:
        node = Path("/dev", Path(f"/sys/dev/block/{number}").resolve().name)
        if node.exists():
            with pytest.raises(OSError, match=r"busy|permitted"):
                os.open(node, pci.EXCLUSIVE)
            return
    pytest.skip("no disk is mounted here")


def up(fake: Fake) -> None:
    (fake.child(GPU, "net", "eth0") / "flags").write_text("0x1003\n")


def bridged(fake: Fake) -> None:
    at = fake.child(GPU, "net", "eth0")
    (at / "flags").write_text("0x1002\n")
    (at / "master").symlink_to("../br0")


def under_a_vlan(fake: Fake) -> None:
    at = fake.child(GPU, "net", "eth0")
    (at / "flags").write_text("0x1002\n")
    (at / "upper_bond0.7").symlink_to("../bond0.7")


def elsewhere(fake: Fake) -> None:
    del fake


def boot_display(fake: Fake) -> None:
    (fake.path(GPU) / "boot_vga").write_text("1\n")


def framebuffer(fake: Fake) -> None:
    fake.child(GPU, "graphics", "fb0")


def serial_console(fake: Fake) -> None:
    fake.child(GPU, "tty", "ttyS4")


def functions(fake: Fake) -> None:
    (fake.path(GPU) / "sriov_numvfs").write_text("2\n")


def overridden(fake: Fake) -> None:
    (fake.path(GPU) / "driver_override").write_text("xhci-vm\n")


@pytest.mark.parametrize(
    "use",
    [
        up, bridged, under_a_vlan, elsewhere, boot_display, framebuffer, serial_console, functions,
        overridden,
    ],
)  # fmt: skip
def test_threat_52_what_the_host_uses_is_refused(fake: Fake, use: Callable[[Fake], None]) -> None:
    fake.add(GPU, "nouveau", "0x020000")
    use(fake)
    assert "the host needs it: " in refusal(fake)


def test_threat_53_every_endpoint_of_the_group_must_be_granted(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    fake.add(SOUND, "snd", "0x040300")
    fake.add(BRIDGE, "", "0x060400")
    assert refusal(fake) == (
        f"{GPU}: its IOMMU group 4093 has other devices, which must be granted too: {SOUND} (snd)"
    )
    assert check(GPU, SOUND).number == 4093


def test_threat_53_without_an_iommu_it_is_refused(fake: Fake) -> None:
    fake.add(GPU, "nouveau", group=None)
    assert "no IOMMU" in refusal(fake)


def test_threat_53_a_group_of_noiommu_is_refused(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    (fake.sys / "kernel/iommu_groups/4093/name").write_text("vfio-noiommu\n")
    assert "no IOMMU" in refusal(fake)


@root
def test_threat_53_a_group_that_another_has_is_refused(fake: Fake) -> None:
    fake.add(GPU, "vfio-pci")
    os.chown(fake.node, 1235, 0)
    assert "belongs to uid 1235" in refusal(fake)


def test_threat_54_what_is_not_sysfs_is_not_written(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(GPU, "nouveau")
    record = check()
    monkeypatch.setattr(pci, "_put", REAL_PUT)
    with pytest.raises(OSError, match="is not in sysfs"):
        pci.give([record], ALICE)
    assert fake.override(GPU) == "(null)"


def test_threat_54_a_link_in_the_place_of_a_file_is_not_followed(
    fake: Fake, tmp_path: Path
) -> None:
    fake.add(GPU, "nouveau")
    record = check()
    victim = tmp_path / "victim"
    victim.touch()
    override = fake.path(GPU) / "driver_override"
    override.unlink()
    override.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        pci.give([record], ALICE)
    assert (victim.read_text(), fake.wrote) == ("", [])


@pytest.mark.parametrize("pinned", ["10de:1b81", "8086:1b80", ""])
def test_threat_55_another_card_than_the_policy_names_is_refused(fake: Fake, pinned: str) -> None:
    fake.add(GPU, "nouveau")
    with pytest.raises(InitError, match="is 10de:1b80"):
        pci.check(granted(GPU, pinned), ALICE)


@root
@pytest.mark.parametrize(
    "refused",
    ["driver_override vfio-pci", f"unbind {GPU}", f"drivers_probe {GPU}"],
)
def test_threat_56_a_binding_that_fails_half_way_is_rolled_back(fake: Fake, refused: str) -> None:
    fake.add(GPU, "nouveau")
    record = check()

    fake.refuses.add(refused)
    with pytest.raises(OSError, match="Input/output"):
        pci.give([record], ALICE)
    fake.refuses.clear()
    assert take(record) == ""
    assert (fake.driver(GPU), fake.override(GPU)) == ("nouveau", "(null)")
    assert not fake.node.exists()
    assert take(record) == ""


def test_threat_56_a_driver_that_does_not_take_it_is_waited_for_no_longer(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    fake.ignores.add("vfio-pci")
    with pytest.raises(InitError, match="vfio-pci does not take it"):
        give(check())
    assert (fake.driver(GPU), fake.override(GPU)) == ("nouveau", "(null)")


def test_a_former_driver_that_does_not_take_it_back_is_told(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    record = check()
    fake.ignores |= {"vfio-pci", "nouveau"}
    with pytest.raises(InitError, match="vfio-pci does not take it"):
        pci.give([record], ALICE)
    assert take(record) == f"{GPU}: nouveau does not take it back"


@root
@pytest.mark.parametrize("killed_after", range(4))
def test_threat_70_killed_at_any_write_it_can_be_undone(fake: Fake, killed_after: int) -> None:
    fake.add(GPU, "nouveau")
    record = check()
    fake.dies_after = killed_after
    with contextlib.suppress(KilledError):
        pci.give([record], ALICE)
    fake.dies_after = -1
    for _ in range(2):
        assert take(record) == ""
        assert (fake.driver(GPU), fake.override(GPU)) == ("nouveau", "(null)")
        assert not fake.node.exists()


@root
@pytest.mark.parametrize("killed_after", range(3, 6))
def test_threat_70_killed_at_any_write_of_undoing_it_can_be_undone(
    fake: Fake, killed_after: int
) -> None:
    fake.add(GPU, "nouveau")
    record = give(check())
    fake.dies_after = killed_after
    with pytest.raises(KilledError):
        take(record)
    fake.dies_after = -1
    assert take(record) == ""
    assert (fake.driver(GPU), fake.override(GPU)) == ("nouveau", "(null)")
    assert not fake.node.exists()


@root
def test_threat_71_a_device_that_a_guest_is_using_stays_the_guests(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    record = give(check())
    fake.held = True
    assert "a guest is using it" in take(record)
    assert pci.holds(record, ALICE)
    fake.held = False
    assert take(record) == ""
    assert fake.driver(GPU) == "nouveau"


@root
def test_what_root_has_taken_since_is_left_alone(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    record = give(check())
    os.chown(fake.node, 1235, 0)
    assert "belongs to uid 1235" in take(record)
    assert fake.driver(GPU) == "vfio-pci"


def test_a_device_that_is_gone_needs_no_undoing(fake: Fake) -> None:
    assert fake.wrote == []
    assert take(Record("pci", GPU, 4093, former="snd")) == ""


def test_a_host_without_vfio_is_told_what_to_load(fake: Fake) -> None:
    fake.add(GPU, "nouveau")
    (fake.sys / "bus/pci/drivers/vfio-pci").rmdir()
    assert "modprobe vfio-pci" in refusal(fake)
