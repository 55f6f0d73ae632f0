"""Sysfs: one PCI device's folder, what it says, and what is written into it.

The device's folder is looked up once, below the bus's; everything else is opened below that.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from vm_init import nodes
from vm_init.request import ADDRESS
from vm_init.trusted import Opened
from vm_init.verdict import InitError

SYSFS_MAGIC = 0x62656572
NETLINK_KOBJECT_UEVENT = 15
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_address = re.compile(ADDRESS)
_libc = ctypes.CDLL(None, use_errno=True)


def write(fd: int, text: str) -> None:
    """Write to an open file, if it is sysfs's.

    Raises:
        OSError: it is not, or the kernel refused what was written.
    """
    room = (ctypes.c_long * 32)()  # statfs(2): its type comes first
    if _libc.fstatfs(fd, room) or room[0] != SYSFS_MAGIC:
        raise OSError("is not in sysfs")
    os.write(fd, text.encode("ascii"))


def busy(path: str) -> bool:
    """Whether a guest holds a group's node: the kernel lets one open it, once."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError:
        return os.path.exists(path)
    return False


class Host(NamedTuple):
    """The host that is acted on; only tests have another.

    Attributes:
        sys: where sysfs is.
        nodes: where the device nodes are.
        mounts, swaps: what the kernel says is mounted and swapped on.
        write: writes to an open file of sysfs.
        busy: whether a group's node is held.
        patience: how many seconds a driver may take to appear or to go.
    """

    sys: str = "/sys"
    nodes: nodes.Host = nodes.REAL
    mounts: str = "/proc/self/mountinfo"
    swaps: str = "/proc/swaps"
    write: Callable[[int, str], None] = write
    busy: Callable[[str], bool] = busy
    patience: float = 5.0


REAL = Host()


def device(address: str, host: Host) -> Opened:
    """The device's folder, looked up once below the bus's."""
    if not _address.fullmatch(address):
        raise InitError(f"{address!a}: is no PCI address")
    try:
        with Opened(os.open(f"{host.sys}/bus/pci/devices", FOLDER)) as bus:
            return Opened(os.open(address, FOLDER, dir_fd=bus))
    except FileNotFoundError:
        raise InitError(f"{address}: is not there", os.EX_UNAVAILABLE) from None


def link(fd: int, name: str) -> str:
    """The last part of what a link in the device's folder names; empty when there is none."""
    try:
        return os.path.basename(os.readlink(name, dir_fd=fd))
    except FileNotFoundError:
        return ""


def within(fd: int, name: str) -> str:
    """The path of something below an open folder."""
    return f"/proc/self/fd/{fd}/{name}"


def table(path: str) -> list[str]:
    """The lines of one of the kernel's tables, whole."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        return lines.read().splitlines()


def put(folder: int, name: str, text: str, host: Host) -> None:
    """Write to a file below an open folder."""
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with Opened(os.open(name, flags, dir_fd=folder)) as fd:
        host.write(fd, text)


def probe(address: str, host: Host) -> None:
    """Let the kernel find a driver for a device."""
    with Opened(os.open(f"{host.sys}/bus/pci", FOLDER)) as bus:
        put(bus, "drivers_probe", address, host)


def events() -> socket.socket:
    """The kernel's device events from now on."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
    events.bind((0, 1))
    return events


def comes(fd: int, driver: str, events: socket.socket, host: Host) -> bool:
    """Whether the device gets this driver before patience ends."""
    end = time.monotonic() + host.patience
    while link(fd, "driver") != driver:
        left = end - time.monotonic()
        if left <= 0:
            return False
        # Events are lost outside of the first network namespace: look again all the same.
        if select.select([events], [], [], min(left, 0.1))[0]:
            with suppress(OSError):  # more events than the socket has room for
                events.recv(8192)
    return True
