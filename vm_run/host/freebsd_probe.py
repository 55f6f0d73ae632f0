"""What `vm-run --check` without a name looks at on FreeBSD; it changes nothing.

Untested on FreeBSD.
"""

from __future__ import annotations

import os

from vm_run.bhyve import vmm
from vm_run.host import bhyve_requirements as needs_bhyve
from vm_run.host import freebsd as host_bsd
from vm_run.host import freebsd_kernel as bsd_kernel
from vm_spec.fault import VmError
from vm_spec.frozen import Value
from vm_state.platform import which

__all__ = ["Bhyve", "look"]

_MODULES = ("vmm", "nmdm", "if_tuntap", "if_bridge")
_PROGRAMS = (
    ("swtpm", "swtpm", "a TPM"),
    ("grub2-bhyve", "grub-bhyve", "guests that grub-bhyve loads"),
)


class Bhyve(Value):
    """What a FreeBSD host has for bhyve.

    Attributes:
        modules: those of vmm, nmdm, if_tuntap, if_bridge that the kernel has.
        root: whether it is root who asks.
        monitor: whether bhyve has -M.
        control: whose /dev/vmmctl is: mine, root, a group's name, or empty where it is not.
        joined: whether this user is in that group by now, though not since the last login.
        ppt: PCI devices that are bound to ppt(4), by address; None when nobody could tell.
        wired: (bytes that programs may wire, or -1; bytes that they have wired).
        up: what net.link.tap.up_on_open is; None where there is none.
        absent: packages whose files are not there, each with what it is for.
    """

    modules: tuple[str, ...] = ("vmm", "nmdm", "if_tuntap", "if_bridge")
    root: bool = False
    monitor: bool = False
    control: str = ""
    joined: bool = False
    ppt: tuple[str, ...] | None = ()
    wired: tuple[int, int] = (-1, 0)
    up: int | None = 1
    absent: tuple[tuple[str, str], ...] = ()


def look() -> Bhyve:
    """What this FreeBSD host has for bhyve."""
    binary = which(os.environ.get("BHYVE_BIN") or "bhyve")
    group = vmm.group_of(vmm.CONTROL)
    return Bhyve(
        modules=tuple(name for name in _MODULES if bsd_kernel.is_loaded(name)),
        root=os.getuid() == 0,
        monitor=binary is not None and vmm.has_monitor(binary),
        control=_control(group),
        joined=bool(group) and vmm.joined(group),
        ppt=_ppt(),
        wired=host_bsd.wired(),
        up=bsd_kernel.number(host_bsd.UP),
        absent=_absent(),
    )


def _control(group: str) -> str:
    if not os.path.exists(vmm.CONTROL):
        return ""
    if os.access(vmm.CONTROL, os.R_OK | os.W_OK):
        return "mine"
    return group or "root"


def _ppt() -> tuple[str, ...] | None:
    try:
        return tuple(card.address for card in bsd_kernel.pci() if card.driver == "ppt")
    except VmError:
        return None


def _absent() -> tuple[tuple[str, str], ...]:
    lacking = [(package, why) for package, name, why in _PROGRAMS if which(name) is None]
    if not os.path.exists(needs_bhyve.SLIRP):
        lacking.append(("libslirp", "user networking"))
    return tuple(lacking)
