"""PCI devices for a guest: bound to vfio-pci, and given back to their former driver.

Every endpoint of the IOMMU group is judged, for whoever has one of them can reach the others. The
device's files are opened below its folder, which is looked up once. A record has the group in
`number`, the uid in `target`, and in `former` the driver (`-` for none) and, where the group's node
was there before, its `uid:gid:mode`. What the host itself uses no policy may take from it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator

from vm_init import nodes, sysfs
from vm_init.record import Record
from vm_init.sysfs import REAL, Host
from vm_init.trusted import Opened, text
from vm_init.verdict import Caller, Granted, InitError

VFIO = "vfio-pci"
BRIDGE, ETHERNET = "0x06", "0x0200"
UP = 1  # IFF_UP
PATH_OF_DISK = re.compile(r"(nvme\d+)c\d+(n\d+.*)")  # one way of several to an NVMe disk
ALONE = os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def intend(
    granted: Granted, caller: Caller, vm: str, together: Collection[str] = (), host: Host = REAL
) -> Record:
    """A record of the device as it is now.

    Args:
        granted: a request for a PCI device, with the id that it is pinned to.
        caller: who is to have it.
        vm: unused: a device does not know its VM.
        together: every address that this run grants to this caller.
        host: where sysfs and the nodes are.

    Raises:
        InitError: it is another device than pinned, used by the host, or not alone in its group.
    """
    address = granted.request[0]
    with sysfs.device(address, host) as fd:
        found = f"{_text(fd, 'vendor')[2:]}:{_text(fd, 'device')[2:]}"
        if found != granted.pinned:
            raise InitError(f"{address}: is {found}, and the policy names {granted.pinned or '-'}")
        group = _group(fd, address)
        driver = sysfs.link(fd, "driver")
        if driver != VFIO and (why := _use(fd, address, host)):
            raise InitError(f"{address}: the host needs it: {why}")
        _judge_group(fd, address, {address, *together})
    if not os.path.isdir(f"{host.sys}/bus/pci/drivers/{VFIO}"):
        raise InitError(f"{address}: the host has no {VFIO}: modprobe {VFIO}", os.EX_UNAVAILABLE)
    former = " ".join(filter(None, (driver or "-", _former_node(group, caller, host))))
    return Record("pci", address, number=group, target=str(caller.uid), former=former)


def act(record: Record, caller: Caller, host: Host = REAL) -> Record:
    """Bind the device to vfio-pci and give its group's node to the caller, or neither.

    Raises:
        InitError: status 69; what was begun has been undone.
    """
    try:
        with sysfs.device(record.name, host) as fd:
            if sysfs.link(fd, "driver") != VFIO:
                _bind(fd, record.name, host)
        nodes.give(_node(record.number), caller.uid, host.nodes)
    except (OSError, InitError) as error:
        left = undo(record, host)
        raise InitError(f"{record.name}: {error}{left and '; ' + left}", 69) from None
    return record._replace(done=True)


def holds(record: Record, caller: Caller, host: Host = REAL) -> bool:
    """Whether the device is still vfio-pci's, in that group, and the group's node the caller's."""
    try:
        with sysfs.device(record.name, host) as fd:
            bound = sysfs.link(fd, "driver") == VFIO and _group(fd, record.name) == record.number
        return bound and nodes.look(_node(record.number), host.nodes).st_uid == caller.uid
    except (OSError, InitError):
        return False


def undo(record: Record, host: Host = REAL) -> str:
    """Restore the former driver and the node's owner; empty, or why they stay."""
    driver, _, former = record.former.partition(" ")
    try:
        left = _take_node(record, former or "0:0:600", host)
        if left or driver == VFIO:
            return left
        with sysfs.device(record.name, host) as fd:
            return _release(fd, record.name, driver, host)
    except InitError as error:
        return "" if error.status == os.EX_UNAVAILABLE else str(error)
    except OSError as error:
        return f"{record.name}: {error}"


def _judge_group(fd: int, address: str, granted: set[str]) -> None:
    """Refuse when an endpoint of the group is not granted; bridges stay the host's."""
    members = "iommu_group/devices"
    others = sorted(set(os.listdir(sysfs.within(fd, members))) - granted)
    others = [it for it in others if not _text(fd, f"{members}/{it}/class").startswith(BRIDGE)]
    if others:
        raise InitError(f"{address}: shares its IOMMU group with {', '.join(others)}")


def _bind(fd: int, address: str, host: Host) -> None:
    with sysfs.events() as events:
        sysfs.put(fd, "driver_override", VFIO, host)
        if sysfs.link(fd, "driver"):
            sysfs.put(fd, "driver/unbind", address, host)
        sysfs.probe(address, host)
        if not sysfs.comes(fd, VFIO, events, host):
            raise InitError(f"{VFIO} does not take it")


def _release(fd: int, address: str, former: str, host: Host) -> str:
    """Give the device to its former driver, if it is still as this module left it."""
    ours = _text(fd, "driver_override") == VFIO
    with sysfs.events() as events:
        if ours and sysfs.link(fd, "driver") == VFIO:
            sysfs.put(fd, "driver/unbind", address, host)
        # Last of what tells that it is ours: a kill before it is undone again.
        if ours:
            sysfs.put(fd, "driver_override", "\n", host)
        if former == "-" or sysfs.link(fd, "driver"):
            return ""
        sysfs.probe(address, host)
        back = sysfs.comes(fd, former, events, host)
    return "" if back or sysfs.link(fd, "driver") else f"{address}: {former} does not take it back"


def _take_node(record: Record, former: str, host: Host) -> str:
    """Take the group's node back, unless a guest has it open: it would wait for the guest."""
    path = _node(record.number)
    try:
        with Opened(nodes.pin(path, host.nodes)) as fd:
            # By default the node is made anew with its group: root's own is left alone.
            had = os.fstat(fd).st_uid
            known = had or " " in record.former
            left = nodes.restore(fd, record.target, former) if known else ""
    except InitError as error:
        return "" if error.status == os.EX_UNAVAILABLE else str(error)
    if left or not host.busy(host.nodes.dev + path.removeprefix("/dev")):
        return left
    if had:
        nodes.give(path, had, host.nodes)
    return f"{record.name}: a guest is using it"


def _former_node(group: int, caller: Caller, host: Host) -> str:
    """The owner of a group's node that is there already; empty when there is none yet."""
    try:
        seen = nodes.look(_node(group), host.nodes)
    except InitError as error:
        if error.status == os.EX_UNAVAILABLE:
            return ""
        raise
    if seen.st_uid not in (0, caller.uid):
        raise InitError(f"IOMMU group {group} belongs to uid {seen.st_uid}")
    return nodes.owner(seen) if seen.st_uid == 0 else ""


def _node(group: int) -> str:
    return f"/dev/vfio/{group}"


def _text(fd: int, name: str) -> str:
    return text(sysfs.within(fd, name))


def _group(fd: int, address: str) -> int:
    group = sysfs.link(fd, "iommu_group")
    if not group.isdecimal() or "noiommu" in _text(fd, "iommu_group/name"):
        raise InitError(f"{address}: no IOMMU keeps it apart from the host's memory")
    return int(group)


def _use(fd: int, address: str, host: Host) -> str:
    """What the host needs the device for, in a few words; empty when it does not."""
    if _text(fd, "driver_override") not in ("", "(null)"):
        return "somebody else has set its driver_override"
    if _text(fd, "boot_vga") == "1":
        return "the firmware's display"
    if _text(fd, "sriov_numvfs") not in ("", "0"):
        return "it has virtual functions"
    if any(_children(address, f"{host.sys}/class/graphics")):
        return "a console on its framebuffer"
    active = text(f"{host.sys}/class/tty/console/active").split()
    if any(tty in active for tty in _children(address, f"{host.sys}/class/tty")):
        return "the console"
    return _network(fd, address, host.sys) or _storage(address, host)


def _children(address: str, folder: str) -> Iterator[str]:
    """The members of a class of sysfs that hang on a device."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        at = f"{folder}/{name}"
        if os.path.islink(at) and address in os.readlink(at).split("/"):
            yield name


def _network(fd: int, address: str, sys: str) -> str:
    interfaces = list(_children(address, f"{sys}/class/net"))
    for name in interfaces:
        at = f"{sys}/class/net/{name}"
        if int(text(f"{at}/flags") or "1", 16) & UP:
            return f"{name} is up"
        if any(entry == "master" or entry.startswith("upper_") for entry in os.listdir(at)):
            return f"{name} is part of another interface"
    bound = sysfs.link(fd, "driver")
    if bound and not interfaces and _text(fd, "class").startswith(ETHERNET):
        return "its interface is in another network namespace"
    return ""


def _storage(address: str, host: Host) -> str:
    used = {line.split(" ", 1)[0] for line in sysfs.table(host.swaps)}
    for line in sysfs.table(host.mounts):
        before, _, after = line.partition(" - ")
        used |= {before.split(" ")[2], after.split(" ")[1]} if after else set()
    for name in _children(address, f"{host.sys}/class/block"):
        disk = PATH_OF_DISK.sub(r"\1\2", name)
        at = f"{host.sys}/class/block/{disk}"
        if used & {f"/dev/{disk}", text(f"{at}/dev")}:
            return f"{disk} is mounted or swapped on"
        if (os.path.isdir(f"{at}/holders") and os.listdir(f"{at}/holders")) or _is_claimed(at):
            return f"{disk} is part of another disk or filesystem"
    return ""


def _is_claimed(at: str) -> bool:
    """Whether an exclusive open is refused: a ZFS or btrfs member has no other sign.

    Opening a block device to read wakes nothing but the disk.
    """
    try:
        fd = os.open(f"/dev/{os.path.basename(at)}", ALONE)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOMEDIUM, errno.ENXIO)
    seen = os.fstat(fd)
    os.close(fd)
    named = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"
    return not stat.S_ISBLK(seen.st_mode) or named != text(f"{at}/dev")
