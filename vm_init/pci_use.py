"""What the host itself uses a PCI device for, which no policy may take from it."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING

from vm_init.sysfs import table, text

if TYPE_CHECKING:
    from collections.abc import Iterator


UP = 1  # IFF_UP
PATH_OF_DISK = re.compile(r"(nvme\d+)c\d+(n\d+.*)")  # one way of several to an NVMe disk
ETHERNET = "0x0200"


def why(fd: int, address: str, sys: str, mounts: str, swaps: str) -> str:
    """What the host needs the device for, in a few words; empty when it does not.

    Args:
        fd: the device's folder.
        address: its address.
        sys: where sysfs is.
        mounts: /proc/self/mountinfo.
        swaps: /proc/swaps.
    """
    here = f"/proc/self/fd/{fd}"
    if text(f"{here}/boot_vga") == "1":
        return "the firmware's display"
    if text(f"{here}/sriov_numvfs") not in ("", "0"):
        return "it has virtual functions"
    if any(_children(address, f"{sys}/class/graphics")):
        return "a console on its framebuffer"
    active = text(f"{sys}/class/tty/console/active").split()
    if any(tty in active for tty in _children(address, f"{sys}/class/tty")):
        return "the console"
    return _network(here, address, sys) or _storage(address, sys, mounts, swaps)


def _children(address: str, folder: str) -> Iterator[str]:
    """The members of a class of sysfs that hang on a device."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        at = f"{folder}/{name}"
        if os.path.islink(at) and address in os.readlink(at).split("/"):
            yield name


def _network(here: str, address: str, sys: str) -> str:
    interfaces = list(_children(address, f"{sys}/class/net"))
    for name in interfaces:
        at = f"{sys}/class/net/{name}"
        if int(text(f"{at}/flags") or "1", 16) & UP:
            return f"{name} is up"
        if any(entry == "master" or entry.startswith("upper_") for entry in os.listdir(at)):
            return f"{name} is part of another interface"
    bound = os.path.islink(f"{here}/driver")
    if bound and not interfaces and text(f"{here}/class").startswith(ETHERNET):
        return "its interface is in another network namespace"
    return ""


def _storage(address: str, sys: str, mounts: str, swaps: str) -> str:
    used = {line.split(" ", 1)[0] for line in table(swaps)}
    for line in table(mounts):
        before, _, after = line.partition(" - ")
        used |= {before.split(" ")[2], after.split(" ")[1]} if after else set()
    for name in _children(address, f"{sys}/class/block"):
        disk = PATH_OF_DISK.sub(r"\1\2", name)
        at = f"{sys}/class/block/{disk}"
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
        fd = os.open(
            f"/dev/{os.path.basename(at)}",
            os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
        )
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOMEDIUM, errno.ENXIO)
    seen = os.fstat(fd)
    os.close(fd)
    named = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"
    return not stat.S_ISBLK(seen.st_mode) or named != text(f"{at}/dev")
