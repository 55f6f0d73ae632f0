"""PCI devices: bound to vfio-pci for a user, and given back to their former driver.

Every endpoint of the IOMMU group is checked, for whoever has one of them can reach the others. The
device's files are opened below its directory, which is looked up once. What the host itself uses no
policy can take from it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from vm_init import nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.policy import Granted
from vm_init.trusted import Opened

SYS, DEV = "/sys", "/dev"
VFIO, BRIDGE, ETHERNET = "vfio-pci", "0x06", "0x0200"
IFF_UP, TIMEOUT_S, SYSFS_MAGIC = 1, 5.0, 0x62656572
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
EXCLUSIVE = os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def check(granted: Granted, caller: Caller, together: Collection[str] = ()) -> Record:
    """A record of the device as it is now.

    Args:
        granted: a request for a PCI device, with the id that it is pinned to.
        caller: who is to have it.
        together: every address that this run grants to this caller.

    Raises:
        InitError: it is another device than pinned, used by the host, or not alone in its group.
    """
    address = granted.request.name
    with _open_device(address) as fd:
        found = f"{_read(fd, 'vendor')[2:]}:{_read(fd, 'device')[2:]}"
        if found != granted.pinned:
            raise InitError(f"{address}: is {found}, and the policy names {granted.pinned or '-'}")
        group = _link(fd, "iommu_group")
        if not group.isdecimal() or "noiommu" in _read(fd, "iommu_group/name"):
            raise InitError(f"{address}: no IOMMU keeps it apart from the host's memory")
        driver = _link(fd, "driver")
        use = "" if driver == VFIO else next(_find_uses(fd, address), "")
        if use:
            raise InitError(f"{address}: the host needs it: {use}")
        others = [f"{each} ({driver or 'no driver'})" for each, driver in _list_group(fd)
                  if each not in {address, *together}]  # fmt: skip
        if others:
            problem = f"its IOMMU group {group} has other devices, which must be granted too"
            raise InitError(f"{address}: {problem}: {', '.join(others)}")
    if not os.path.isdir(f"{SYS}/bus/pci/drivers/{VFIO}"):
        problem = f"the host has no {VFIO}; as root: modprobe {VFIO}"
        raise InitError(f"{address}: {problem}", os.EX_UNAVAILABLE)
    former = " ".join(filter(None, (driver or "-", _check_node(group, caller))))
    return Record("pci", address, int(group), former=former)


def give(records: Sequence[Record], caller: Caller) -> None:
    """Binds devices to vfio-pci and gives their groups' nodes to the caller.

    Raises:
        InitError: the driver does not take it, or there is no node (69).
    """
    for record in records:
        with _open_device(record.name) as fd:
            if _link(fd, "driver") != VFIO:
                _write(fd, "driver_override", VFIO)
                _rebind(fd, record.name, VFIO)
            if _link(fd, "driver") != VFIO:
                raise InitError(f"{record.name}: {VFIO} does not take it", os.EX_UNAVAILABLE)
        with Opened(nodes.pin(f"/dev/vfio/{record.number}")) as node:
            os.chown(f"/proc/self/fd/{node}", caller.uid, -1)


def holds(record: Record, caller: Caller) -> bool:
    """Whether the device is still vfio-pci's, in that group, and the group's node the caller's."""
    with suppress(OSError, InitError), _open_device(record.name) as fd:
        found = (_link(fd, "driver"), _link(fd, "iommu_group"))
        with Opened(nodes.pin(f"/dev/vfio/{record.number}")) as node:
            return found == (VFIO, str(record.number)) and os.fstat(node).st_uid == caller.uid
    return False


def take(records: Sequence[Record], uid: int, *, force: bool = False) -> list[str]:
    """Restores former drivers and the nodes' owners; for each empty, or why they stay."""
    del force  # the kernel would wait for the guest
    return [_take(record, uid) for record in records]


def _take(record: Record, uid: int) -> str:
    driver, _, former = record.former.partition(" ")
    path = f"/dev/vfio/{record.number}"
    try:
        with Opened(nodes.pin(path)) as node:
            owner = os.fstat(node).st_uid
            # By default the node is new with its group: root's own stays as it is.
            left = nodes.restore(node, path, uid, former or "0:0:600") if owner or former else ""
            if not left and _is_open(path):  # asked when nobody new can open it
                os.chown(f"/proc/self/fd/{node}", owner, -1)
                left = f"{record.name}: a guest is using it"
            if left:
                return left
    except InitError as error:
        if error.status != os.EX_UNAVAILABLE:
            return str(error)
    try:
        with _open_device(record.name) as fd:
            if driver != VFIO and _read(fd, "driver_override") == VFIO:
                _write(fd, "driver/unbind", record.name, missing_is_fine=True)
                _write(fd, "driver_override", "\n")
            if driver not in ("-", VFIO) and not _link(fd, "driver"):
                _rebind(fd, record.name, driver)
            is_back = driver in ("-", VFIO) or _link(fd, "driver")
            return "" if is_back else f"{record.name}: {driver} does not take it back"
    except InitError:
        return ""  # the device is gone


def _find_uses(fd: int, address: str) -> Iterator[str]:
    """What the host needs a device for."""
    active = _read_file(f"{SYS}/class/tty/console/active").split()
    facts = {
        "its driver_override is set already": _read(fd, "driver_override") not in ("", "(null)"),
        "it is the firmware's display": _read(fd, "boot_vga") == "1",
        "it has virtual functions": _read(fd, "sriov_numvfs") not in ("", "0"),
        "a console is on its framebuffer": any(_list_children(address, "graphics")),
        "it has the console": any(tty in active for tty in _list_children(address, "tty")),
    }
    yield from (fact for fact, is_true in facts.items() if is_true)
    interfaces = list(_list_children(address, "net"))
    for name in interfaces:
        at = f"{SYS}/class/net/{name}"
        if int(_read_file(f"{at}/flags") or "1", 16) & IFF_UP:
            yield f"{name} is up; as root: ip link set {name} down"
        if any(entry == "master" or entry.startswith("upper_") for entry in os.listdir(at)):
            yield f"{name} is part of another interface"
    if _link(fd, "driver") and not interfaces and _read(fd, "class").startswith(ETHERNET):
        yield "its interface is in another network namespace"
    for name in _list_children(address, "block"):
        # An exclusive open is refused for whatever is mounted, swapped on, or part of another
        # disk or filesystem; one that cannot be tried counts as used.
        try:
            os.close(os.open(f"{DEV}/{name}", EXCLUSIVE))
        except OSError as error:
            if error.errno != errno.ENOMEDIUM:
                yield f"{name} is used, or part of another disk"


def _list_group(fd: int) -> Iterator[tuple[str, str]]:
    """The endpoints of a device's IOMMU group, with their drivers; bridges stay the host's."""
    members = f"/proc/self/fd/{fd}/iommu_group/devices"
    for address in sorted(os.listdir(members)):
        if not _read_file(f"{members}/{address}/class").startswith(BRIDGE):
            yield address, _link(fd, f"iommu_group/devices/{address}/driver")


def _check_node(group: str, caller: Caller) -> str:
    """The `uid:gid:mode` of a group's node that is there already; empty for none."""
    try:
        with Opened(nodes.pin(f"/dev/vfio/{group}")) as fd:
            seen = os.fstat(fd)
    except InitError as error:
        if error.status == os.EX_UNAVAILABLE:
            return ""
        raise
    if seen.st_uid not in (0, caller.uid):
        raise InitError(f"IOMMU group {group} belongs to uid {seen.st_uid}")
    return nodes.show_owner(seen) if seen.st_uid == 0 else ""


def _is_open(path: str) -> bool:
    """Whether a guest holds a group's node: the kernel lets one open it, once."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _rebind(fd: int, address: str, driver: str) -> None:
    """Lets the kernel find a driver again, and waits until the device has this one."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as events:  # kobject_uevent
        events.bind((0, 1))
        _write(fd, "driver/unbind", address, missing_is_fine=True)
        with Opened(os.open(f"{SYS}/bus/pci", DIRECTORY)) as bus:
            _write(bus, "drivers_probe", address)
        until = time.monotonic() + TIMEOUT_S
        while _link(fd, "driver") != driver and (left := until - time.monotonic()) > 0:
            # Events are lost outside of the first network namespace: look again all the same.
            if select.select([events], [], [], min(left, 0.1))[0]:
                with suppress(OSError):  # more events than the socket has room for
                    events.recv(8192)


def _list_children(address: str, kind: str) -> Iterator[str]:
    """The members of a class of sysfs that hang on a device."""
    directory = f"{SYS}/class/{kind}"
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        at = f"{directory}/{name}"
        if os.path.islink(at) and address in os.readlink(at).split("/"):
            yield name


def _open_device(address: str) -> Opened:
    """The device's directory, looked up once below the bus's.

    Raises:
        InitError: there is no such device (69).
    """
    try:
        with Opened(os.open(f"{SYS}/bus/pci/devices", DIRECTORY)) as bus:
            return Opened(os.open(address, DIRECTORY, dir_fd=bus))
    except FileNotFoundError:
        raise InitError(f"{address}: is not there", os.EX_UNAVAILABLE) from None


def _link(fd: int, name: str) -> str:
    """The last part of what a link below the device names; empty when there is none."""
    with suppress(FileNotFoundError):
        return os.path.basename(os.readlink(name, dir_fd=fd))
    return ""


def _read(fd: int, name: str) -> str:
    return _read_file(f"/proc/self/fd/{fd}/{name}")


def _read_file(path: str) -> str:
    """The text of a file of sysfs; empty when it is not there."""
    with suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read(4096).strip()
    return ""


def _put(fd: int, text: str) -> None:
    """Writes to an open file, if it is sysfs's."""
    kind = (ctypes.c_long * 32)()  # statfs(2): the type comes first
    if ctypes.CDLL(None).fstatfs(fd, kind) or kind[0] != SYSFS_MAGIC:
        raise OSError(errno.EXDEV, "is not in sysfs")
    os.write(fd, text.encode("ascii"))


def _write(directory: int, name: str, text: str, *, missing_is_fine: bool = False) -> None:
    """Writes to a file below an open directory."""
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with Opened(os.open(name, flags, dir_fd=directory)) as fd:
            _put(fd, text)
    except FileNotFoundError:
        if not missing_is_fine:
            raise
