"""What a Linux host has: KVM, taps, device nodes, PCI devices for VFIO, memory that may be locked.

Source: Linux's Documentation/ABI (sysfs), proc(5), VFIO's drivers/vfio/vfio_iommu_type1.c.
"""

from __future__ import annotations

import errno
import os
import stat

from vm_run.host.requirements import Interface, Memory, Node, Pci, fault
from vm_spec.frozen import TYPE_CHECKING, assert_never
from vm_state import pci

if TYPE_CHECKING:
    from vm_run.host.requirements import File
    from vm_spec.fault import Fault

    OwnKind = Interface | Pci | Memory | Node  # of requirement

_SYS, _KVM, _CPUINFO = "/sys", "/dev/kvm", "/proc/cpuinfo"
_INTERRUPTS = "/proc/interrupts"
IOMMU_OFF = "switch the IOMMU on: in the firmware, and with intel_iommu=on for Intel"
NO_REMAPPING = "the IOMMU does not remap interrupts, so VFIO hands over no device"
UNSAFE = (
    "switch interrupt remapping on in the firmware; or an admin puts 'options vfio_iommu_type1 "
    "allow_unsafe_interrupts=1' into /etc/modprobe.d/vmman.conf, which lets a guest that has a "
    "device send the host any interrupt"
)


def kvm_works() -> bool:
    """Whether QEMU can use KVM: /dev/kvm opens and the processor has what it takes.

    A /dev/kvm that opens where the processor lacks vmx and svm hangs the guest that trusts it.
    """
    return opens(_KVM) and virtualizes()


def opens(path: str) -> bool:
    """Whether a node opens: access(2) knows nothing of a container's limits, nor of modules."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def virtualizes() -> bool:
    """Whether the processor has what KVM takes."""
    flags = read(_CPUINFO).partition("\nflags")[2].partition("\n")[0].split()
    return "vmx" in flags or "svm" in flags


def check(need: OwnKind, vm: str) -> Fault | None:
    """What is missing for a requirement, with the next command to type; None when it is met."""
    match need:
        case Interface():
            return _interface(need, vm)
        case Pci():
            return _pci(need, vm)
        case Memory():
            return _memory(need)
        case Node():
            return _kernels_node(need)
        case _:
            assert_never(need)


def is_node(path: str) -> bool:
    """Whether a path is a device's; opening one can wake a driver."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path.startswith("/dev/")
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def node(need: File, vm: str) -> Fault | None:
    """What keeps this user from opening a device node that a description names."""
    if os.access(need.path, os.R_OK | (os.W_OK if need.write else 0)):
        return None
    exists = os.path.exists(need.path)
    why = "is not yours to open" if exists else "is missing"
    if need.granted:
        hint = f"sudo vm-init {vm}"
    elif "{}" not in need.hint:
        hint = need.hint
    elif exists:
        hint = f"ask the admin for it; ls -l {quote(need.path)} shows whose it is"
    else:  # the hint would make a file there
        hint = f"ls {quote(os.path.dirname(need.path))} shows the nodes"
    return fault(need, f"{need.path} {why}", hint)


def quote(path: str) -> str:
    """A path as a shell reads it."""
    import shlex  # only to say what is wrong

    return shlex.quote(path)


def _kernels_node(need: Node) -> Fault | None:
    """Opened to know, which does nothing with any of these, and is what QEMU will do."""
    try:
        os.close(os.open(need.path, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError as error:
        allowed = f"start this container with --device {need.path}"
        hint = allowed if error.errno == errno.EPERM else need.hint or _by_group(need.path)
        return fault(need, f"{need.path} is not yours to open", hint)
    except OSError as error:
        why = " is missing" if error.errno == errno.ENOENT else f": {error.strerror}"
        return fault(need, f"{need.path}{why}", f"sudo modprobe {need.module}")
    if need.path == _KVM and not virtualizes():
        hint = "switch virtualization on in the firmware, or for a guest: in its host"
        return fault(need, "the processor has neither vmx nor svm, which KVM needs", hint)
    return None


def _by_group(path: str) -> str:
    """How this user comes to open a node that is a group's."""
    import grp

    from vm_spec import library

    gid, user = os.stat(path).st_gid, library.context("").user
    if gid == 0:
        opened = f"sudo chgrp kvm {path} && sudo chmod 660 {path}, as udev does"
        return f"{opened}; sudo usermod -aG kvm {user}; log in again"
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return f"ask the admin: its group is {gid}"
    if user in group.gr_mem and gid not in os.getgroups():
        return f"log in again: you are in the group {group.gr_name} by now"
    return f"sudo usermod -aG {group.gr_name} {user}, then log in again"


def _interface(need: Interface, vm: str) -> Fault | None:
    init = f"sudo vm-init {vm}"
    link = f"{_SYS}/class/net/{need.name}"
    kind = "macvtap" if need.macvtap else "tap"
    if not os.path.isdir(link):
        return fault(need, f"{kind} {need.name} is missing", init)
    if not need.macvtap:
        return _tap(need, link, init)
    path = macvtap_node(need.name)
    ready = os.access(path, os.R_OK | os.W_OK)
    return None if ready else fault(need, f"{path} of macvtap {need.name} is not yours", init)


def macvtap_node(name: str) -> str:
    """The device node of a macvtap: /dev/tap and the interface's index."""
    return f"/dev/tap{read(f'{_SYS}/class/net/{name}/ifindex')}"


def _tap(need: Interface, link: str, init: str) -> Fault | None:
    if not read(f"{link}/tun_flags"):
        return fault(need, f"{need.name} exists and is no tap", "give the NIC another name")
    if read(f"{link}/owner") not in (str(os.getuid()), "-1") and os.getuid() != 0:
        return fault(need, f"tap {need.name} belongs to another user", init)
    if read(f"{link}/carrier") == "1":
        return fault(need, f"tap {need.name} is in use", f"vm-list shows by whom; or {init}")
    return None


def _memory(need: Memory) -> Fault | None:
    """Root, and a user who may lock anything, is not limited."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if os.getuid() == 0 or limit < 0 or limit >= need.bytes:
        return None
    kib = -(-need.bytes // 1024)
    problem = f"VFIO locks the guest's memory: {kib} KiB, and you may lock {limit >> 10} KiB"
    rule = "@vmusers - memlock unlimited"
    hint = f"an admin puts '{rule}' into /etc/security/limits.d/vmman.conf; then log in again"
    return fault(need, problem, hint)


def _pci(need: Pci, vm: str) -> Fault | None:
    init = f"sudo vm-init {vm}"
    address = need.address or pci.find(need.lookup)
    if not address:
        return fault(need, f"there is no PCI device {need.lookup[0]} {need.lookup[1]}", "lspci -n")
    return _vfio(need, address, init)


def _vfio(need: Pci, address: str, init: str) -> Fault | None:
    """What keeps VFIO from handing a PCI device over."""
    device = f"{_SYS}/bus/pci/devices/{address}"
    if not os.path.isdir(device):
        return fault(need, f"there is no PCI device {address}", "lspci -D")
    if os.path.basename(os.path.realpath(f"{device}/driver")) != "vfio-pci":
        return fault(need, f"PCI device {address} is not bound to vfio-pci", init)
    if not os.path.exists(f"{device}/iommu_group"):
        return fault(need, f"PCI device {address} is in no IOMMU group", IOMMU_OFF)
    group = os.path.basename(os.path.realpath(f"{device}/iommu_group"))
    if not os.access(f"/dev/vfio/{group}", os.R_OK | os.W_OK):
        return fault(need, f"/dev/vfio/{group} is not yours", init)
    if not remaps_interrupts():
        return fault(need, NO_REMAPPING, UNSAFE)
    return None


def remaps_interrupts() -> bool:
    """Whether VFIO hands devices over: their interrupts are remapped, or an admin goes without.

    x86's interrupt controllers have names that begin with IR- where the IOMMU remaps.
    """
    allowed = f"{_SYS}/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    interrupts = read(_INTERRUPTS, 1 << 18)
    return "IO-APIC" not in interrupts or " IR-" in interrupts or read(allowed) == "Y"


def read(path: str, most: int = 8192) -> str:
    """The first bytes of a file of sysfs or proc; empty when it is not there or empty."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(most).strip()
    except OSError:
        return ""


def entries(path: str) -> list[str]:
    """The names in a directory of sysfs, in order; none when it is not there."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
