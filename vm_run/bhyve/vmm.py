"""The way in which this user may run a VM in FreeBSD's kernel. Untested on FreeBSD.

What this host offers is looked at, never its version: whose /dev/vmm/NAME is, whether bhyve has a
monitor mode, and who may open /dev/vmmctl.

Source: vmm(4), bhyve(8), -M; commit af099eaa5ec3 of FreeBSD, "vmm: Enable unprivileged bhyve".
"""

from __future__ import annotations

import os
import stat

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Way", "alone", "choose", "group_of", "has_monitor", "joined", "strange_nodes"]

NODES, CONTROL, MEMORY = "/dev/vmm", "/dev/vmmctl", "/dev/vmm.io"
PATIENCE_S = 10
_OPENED = os.R_OK | os.W_OK
_told: dict[str, bool] = {}  # bhyve's path -> whether it has -M, asked once


class Way(Value):
    """How a VM comes into the kernel.

    Attributes:
        kind: handed (it is there, and this user's: vm-init made it), monitor (bhyve -M makes it,
            and it goes with bhyve) or root (bhyve makes it, and it stays).
        said: the same, as a line for the user.
    """

    kind: str
    said: str


def choose(name: str, binary: str) -> Way:
    """The way in which this user can run a VM here.

    Args:
        name: the VM's.
        binary: the path of bhyve.

    Raises:
        VmError: there is none (69); with what is missing, and the next command.
    """
    node = f"{NODES}/{name}"
    if os.getuid() == 0:
        return Way(kind="root", said="bhyve runs as root")
    if os.path.exists(node):
        if os.access(node, _OPENED):
            return Way(kind="handed", said=f"bhyve runs in the VM of vm-init: {node} is yours")
        raise _none(f"{node} is there and is not yours", _taken(name))
    init = f"sudo vm-init {name}"
    if not has_monitor(binary):
        lacking = f"there is no {node}, and this bhyve has no monitor mode (-M) to make it for you"
        raise _none(lacking, init)
    if os.access(CONTROL, _OPENED):
        said = f"bhyve runs in its monitor mode (-M): {CONTROL} is yours to open"
        return Way(kind="monitor", said=said)
    raise _none(*_closed(node, init))


def _none(problem: str, hint: str) -> VmError:
    return VmError(Fault(problem=problem, hint=hint), status=os.EX_UNAVAILABLE)


def _taken(name: str) -> str:
    return f"choose another name; or, if nobody runs it: sudo bhyvectl --vm={name} --destroy"


def _closed(node: str, init: str) -> tuple[str, str]:
    """What to say where bhyve has a monitor mode, and this user no use of it."""
    if not os.path.exists(CONTROL):
        return f"there is no {node} and no {CONTROL}: vmm is not loaded", init
    group = group_of(CONTROL)
    if not group:
        return f"there is no {node}, and {CONTROL} is root's alone", init
    why = f"there is no {node}, and {CONTROL} is the group {group}'s"
    if joined(group):
        return f"{why}, which you are in since your last login", f"log in again; or {init}"
    return (
        f"{why}, which you are not in",
        f"sudo pw groupmod {group} -m {_user()}, then log in again; or {init}",
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def group_of(path: str) -> str:
    """The group whose members may open a node; empty when there is no node, or only root may."""
    import grp

    try:
        found = os.stat(path)
    except OSError:
        return ""
    if found.st_mode & (stat.S_IRGRP | stat.S_IWGRP) != stat.S_IRGRP | stat.S_IWGRP:
        return ""
    try:
        return grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        return str(found.st_gid)


def joined(group: str) -> bool:
    """Whether this user has been put into a group since the last login."""
    import grp

    try:
        found = grp.getgrnam(group)
    except KeyError:
        return False
    return _user() in found.gr_mem and found.gr_gid not in os.getgroups()


def has_monitor(binary: str) -> bool:
    """Whether a bhyve has -M, as its usage tells; False when it does not answer."""
    if binary not in _told:
        _told[binary] = any(line.split()[:1] == [b"-M:"] for line in _usage(binary).splitlines())
    return _told[binary]


def _usage(binary: str) -> bytes:
    import subprocess

    try:
        return subprocess.run(
            [binary, "-h"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""


def alone(what: str) -> str:
    """Why something that needs a supervisor between two guests has none in the monitor mode."""
    return f"bhyve's monitor mode reboots by itself, so {what} cannot work"


def strange_nodes(name: str) -> Iterator[str]:
    """The memory of a VM that this user may not open, such as a bootrom's, by path.

    Where the kernel gives it to root, it is in the way of anybody else's next start.
    """
    try:
        names = sorted(os.listdir(MEMORY))
    except OSError:
        return
    for each in names:
        path = f"{MEMORY}/{each}"
        if each.rpartition(".")[0] == name and not os.access(path, _OPENED):
            yield path
