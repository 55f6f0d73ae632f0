"""What this host has: Linux's answers; `vm_run.host.freebsd` has FreeBSD's."""

from __future__ import annotations

import errno
import os
import stat

from vm_run.host.requirements import (
    File,
    Folder,
    FreeSocket,
    Interface,
    Lockable,
    Node,
    OfFreeBsd,
    Pci,
    Port,
    Tool,
    fault,
)
from vm_spec.frozen import TYPE_CHECKING, assert_never
from vm_state import pci, platform
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_run.host.requirements import Need
    from vm_spec.fault import Fault

__all__ = ["accelerator", "kvm_works", "lack", "opens", "pci_address", "virtualizes"]

_SYS, _KVM, _CPUINFO = "/sys", "/dev/kvm", "/proc/cpuinfo"


def kvm_works() -> bool:
    """Whether QEMU can use KVM: /dev/kvm opens and the processor has what it takes.

    A /dev/kvm that opens where the processor lacks vmx and svm hangs the guest that trusts it.
    """
    return opens(_KVM) and virtualizes()


def opens(node: str) -> bool:
    """Whether a node opens: access(2) knows nothing of a container's limits, nor of modules."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def virtualizes() -> bool:
    """Whether the processor has what KVM takes."""
    try:
        with open(_CPUINFO, "rb") as cpuinfo:
            first = cpuinfo.read(8192).partition(b"\nflags")[2].partition(b"\n")[0].split()
    except OSError:
        return False
    return b"vmx" in first or b"svm" in first


def lack(need: Need, vm: str) -> Fault | None:
    """What is missing for a need, with the next command to type; None when it is met."""
    match need:
        case File():
            found = _file(need, vm)
        case Folder():
            found = _folder(need)
        case Tool():
            found = None if which(need.name) else _no_tool(need)
        case Interface() | Pci() | Lockable() | Node() | OfFreeBsd():
            found = _of_system(need, vm)
        case Port() | FreeSocket():
            found = _end(need, vm)
        case _:
            assert_never(need)
    return found


def _of_system(need: Interface | Pci | Lockable | Node | OfFreeBsd, vm: str) -> Fault | None:
    """What Linux and FreeBSD have each in its own way."""
    if platform.is_bsd() or isinstance(need, OfFreeBsd):
        from vm_run.host import freebsd as host_bsd

        return host_bsd.lack(need, vm)
    match need:
        case Interface():
            return _interface(need, vm)
        case Pci():
            return _pci(need, vm)
        case Lockable():
            return _lockable(need)
        case Node():
            return _of_kernel(need)
        case _:
            assert_never(need)


def _no_tool(need: Tool) -> Fault:
    return fault(need, f"{need.name} is not there", need.hint)


def _end(need: Port | FreeSocket, vm: str) -> Fault | None:
    from vm_run.host import endpoints  # it brings socket, which a machine without ends does without

    return endpoints.port(need) if isinstance(need, Port) else endpoints.unix(need, vm)


def _file(need: File, vm: str) -> Fault | None:
    if is_node(need.path):
        return _node(need, vm)
    flags = (os.O_RDWR if need.write else os.O_RDONLY) | os.O_NONBLOCK | os.O_NOCTTY
    try:
        found = os.open(need.path, flags | os.O_CLOEXEC)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return fault(need, f"{need.path}: {error.strerror}", _how(need) if missing else "")
    opened = os.fstat(found)
    os.close(found)
    if stat.S_ISDIR(opened.st_mode):
        return fault(need, f"{need.path}: is a folder")
    if need.most and (opened.st_size > need.most or not stat.S_ISREG(opened.st_mode)):
        return fault(need, f"{need.path}: is no regular file of at most {need.most >> 10} KiB")
    return None


def _folder(need: Folder) -> Fault | None:
    if os.path.isdir(need.path):
        return None
    if os.path.lexists(need.path):
        return fault(need, f"{need.path}: is no folder")
    return fault(need, f"{need.path}: no folder", _how(need))


def _how(need: File | Folder) -> str:
    return need.hint.replace("{}", _quoted(need.path))


def _quoted(path: str) -> str:
    import shlex  # only to say what is wrong

    return shlex.quote(path)


def is_node(path: str) -> bool:
    """Whether a path is a device's; opening one can wake a driver."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path.startswith("/dev/")
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(need: File, vm: str) -> Fault | None:
    wanted = os.R_OK | (os.W_OK if need.write else 0)
    if os.access(need.path, wanted):
        return None
    why = "is not yours to open" if os.path.exists(need.path) else "is missing"
    hint = f"sudo vm-init {vm}" if need.given else _of_node(need)
    return fault(need, f"{need.path} {why}", hint)


def _of_node(need: File) -> str:
    """The next step for a node that vm-init does not give: what is said for files may be wrong."""
    if "{}" not in need.hint:
        return need.hint
    if os.path.exists(need.path):
        return f"ask the admin for it; ls -l {_quoted(need.path)} shows whose it is"
    return f"ls {_quoted(os.path.dirname(need.path))} shows what is there"


def _interface(need: Interface, vm: str) -> Fault | None:
    init = f"sudo vm-init {vm}"
    link = f"{_SYS}/class/net/{need.name}"
    kind = "macvtap" if need.macvtap else "tap"
    if not os.path.isdir(link):
        return fault(need, f"{kind} {need.name} is missing", init)
    if need.macvtap:
        node = macvtap_node(need.name)
        ready = os.access(node, os.R_OK | os.W_OK)
        return None if ready else fault(need, f"{node} of macvtap {need.name} is not yours", init)
    return _tap(need, link, init)


def macvtap_node(name: str) -> str:
    """The device node of a macvtap: /dev/tap and the interface's index."""
    return f"/dev/tap{_word(f'{_SYS}/class/net/{name}/ifindex')}"


def _tap(need: Interface, link: str, init: str) -> Fault | None:
    flags = _word(f"{link}/tun_flags")
    if not flags:
        return fault(need, f"{need.name} is there and is no tap", "give the card another name")
    if _word(f"{link}/owner") not in (str(os.getuid()), "-1") and os.getuid() != 0:
        return fault(need, f"tap {need.name} belongs to another user", init)
    if _word(f"{link}/carrier") == "1":
        return fault(need, f"tap {need.name} is in use", f"vm-list shows by whom; or {init}")
    return None


def _lockable(need: Lockable) -> Fault | None:
    """Root, and whoever may lock anything, is not limited."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if os.getuid() == 0 or limit < 0 or limit >= need.bytes:
        return None
    kib = -(-need.bytes // 1024)
    problem = f"VFIO locks the guest's memory: {kib} KiB, and you may lock {limit >> 10} KiB"
    rule = "@vmusers - memlock unlimited"
    hint = f"an admin puts '{rule}' into /etc/security/limits.d/vmman.conf; then log in again"
    return fault(need, problem, hint)


def _of_kernel(need: Node) -> Fault | None:
    """Opened to know, which does nothing with any of these, and is what QEMU will do."""
    try:
        os.close(os.open(need.path, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError as error:
        allowed = f"start this container with --device {need.path}"
        hint = allowed if error.errno == errno.EPERM else need.hint
        return fault(need, f"{need.path} is not yours to open", hint)
    except FileNotFoundError:
        return fault(need, f"{need.path} is missing", f"sudo modprobe {need.module}")
    except OSError as error:
        return fault(need, f"{need.path}: {error.strerror}", f"sudo modprobe {need.module}")
    if need.path == _KVM and not virtualizes():
        return fault(need, "the processor has neither vmx nor svm, which KVM takes", need.hint)
    return None


def _word(path: str) -> str:
    """A file of sysfs; empty when it is not there or has nothing to say."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pci(need: Pci, vm: str) -> Fault | None:
    init = f"sudo vm-init {vm}"
    address = need.address or pci_address(need.lookup)
    if not address:
        return fault(need, f"there is no PCI device {need.lookup[0]} {need.lookup[1]}", "lspci -n")
    device = f"{_SYS}/bus/pci/devices/{address}"
    if not os.path.isdir(device):
        return fault(need, f"there is no PCI device {address}", "lspci -D")
    if os.path.basename(os.path.realpath(f"{device}/driver")) != "vfio-pci":
        return fault(need, f"PCI device {address} is not bound to vfio-pci", init)
    if not os.path.exists(f"{device}/iommu_group"):
        hint = "switch the IOMMU on: in the firmware, and with intel_iommu=on for Intel"
        return fault(need, f"PCI device {address} is in no IOMMU group", hint)
    group = os.path.basename(os.path.realpath(f"{device}/iommu_group"))
    if not os.access(f"/dev/vfio/{group}", os.R_OK | os.W_OK):
        return fault(need, f"/dev/vfio/{group} is not yours", init)
    return None


def pci_address(lookup: tuple[str, str]) -> str:
    """The first PCI device of this vendor and kind; empty when there is none.

    Args:
        lookup: each 0x and 8 hex digits, the main id then the subsystem's.

    Raises:
        VmError: FreeBSD's pciconf cannot be run (69).
    """
    if platform.is_bsd():
        from vm_run.host import freebsd as host_bsd

        return host_bsd.pci_address(lookup)
    return pci.find(lookup)


def accelerator() -> str:
    """The best of QEMU's accelerators that works here."""
    return "kvm" if kvm_works() else "tcg"
