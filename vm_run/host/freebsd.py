"""What a FreeBSD host has, and lacks. Untested on FreeBSD.

Source: vmm(4), tap(4), nmdm(4), bhyve(8), mlock(2); usr.sbin/bhyve/uart_backend.c.
"""

from __future__ import annotations

import os
import stat

from vm_run.bhyve import vmm
from vm_run.host import freebsd_kernel as bsd_kernel
from vm_run.host import pciconf
from vm_run.host.bhyve_requirements import Cpus, Module, Root, TapUp, Terminal, Vm, Wired
from vm_run.host.requirements import Interface, Memory, Node, Pci, fault
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_run.host.requirements import OfFreeBsd
    from vm_spec.fault import Fault

__all__ = ["by_vm_init", "lack", "pci_address", "wired"]

DEV = "/dev"
UP = "net.link.tap.up_on_open"
_OPENED = os.R_OK | os.W_OK
_LIMIT, _USED = "vm.max_user_wired", "vm.stats.vm.v_user_wire_count"  # pages
_RULES = "docs/bhyve.md has the rule for devfs.rules"


def lack(need: Interface | Pci | Memory | Node | OfFreeBsd, vm: str) -> Fault | None:
    """What is missing for a need, with the next command to type; None when it is met."""
    match need:
        case Memory() | Node():
            return None  # VFIO and /dev/net/tun are Linux's
        case Interface():
            return _interface(need, vm)
        case Pci():
            return _pci(need, vm)
        case _:
            return _of_kernel(need, vm) or _of_user(need, vm)


def by_vm_init(need: object) -> bool:
    """Whether vm-init makes it for this user; root loads a module itself."""
    given = isinstance(need, Vm) or (isinstance(need, Module) and need.given)
    return given and os.getuid() != 0


def pci_address(lookup: tuple[str, str]) -> str:
    """The first PCI device of this vendor and kind; empty when there is none.

    Raises:
        VmError: pciconf cannot be run (69).
    """
    found = pciconf.find(bsd_kernel.pci(), lookup)
    return found.address if found else ""


def wired() -> tuple[int, int]:
    """How much memory programs may wire, and how much they have wired, in bytes; -1: no limit."""
    page = os.sysconf("SC_PAGE_SIZE")
    limit, used = bsd_kernel.number(_LIMIT), bsd_kernel.number(_USED)
    if limit is None or not 0 <= limit < 1 << 52:  # -1 is shown as the largest number
        return -1, (used or 0) * page
    return limit * page, (used or 0) * page


def _of_kernel(need: OfFreeBsd, vm: str) -> Fault | None:
    """What the kernel has not, or does not allow."""
    match need:
        case Vm():
            return _machine(need, vm)
        case Module():
            return _module(need, vm)
        case Cpus():
            return _cpus(need)
        case Wired():
            return _wired(need)
        case _:
            return None


def _of_user(need: OfFreeBsd, vm: str) -> Fault | None:
    """What this user may not do."""
    match need:
        case Root() if os.getuid() != 0:
            hint = f"let root run {vm}, or take the device away: docs/bhyve.md"
            return fault(need, need.why, hint)
        case Terminal():
            return _terminal(need)
        case TapUp():
            return _tap_up(need)
        case _:
            return None


def _machine(need: Vm, vm: str) -> Fault | None:
    there = any(map(os.path.exists, (f"{vmm.NODES}/{need.name}", vmm.CONTROL)))
    if not there and not bsd_kernel.is_loaded("vmm"):
        return fault(need, "the kernel module vmm is not loaded", _load("vmm", vm))
    binary = which(os.environ.get("BHYVE_BIN") or "bhyve")
    if binary is None:
        return None  # which is told as that
    try:
        way = vmm.choose(need.name, binary)
    except VmError as error:
        return fault(need, error.faults[0].problem, error.faults[0].hint)
    return _fits(need, way, vm)


def _fits(need: Vm, way: vmm.Way, vm: str) -> Fault | None:
    """Whether the machine can be run in this way."""
    if way.kind == "monitor" and need.reboots:
        problem = vmm.alone(" and ".join(need.reboots))
        return fault(need, problem, f"have the VM made for you: sudo vm-init {vm}")
    strange = next(vmm.strange_nodes(need.name), "") if way.kind == "handed" else ""
    if not strange:
        return None
    return fault(need, f"{strange} is root's, and bhyve opens it for a firmware", _RULES)


def _load(module: str, vm: str) -> str:
    return f"kldload {module}" if os.getuid() == 0 else f"sudo vm-init {vm}"


def _module(need: Module, vm: str) -> Fault | None:
    if bsd_kernel.is_loaded(need.name):
        return None
    hint = _load(need.name, vm) if need.given else f"sudo kldload {need.name}"
    return fault(need, f"the kernel module {need.name} is not loaded", hint)


def _cpus(need: Cpus) -> Fault | None:
    most = bsd_kernel.number("hw.vmm.maxcpu")  # there with vmm, and in FreeBSD 13.2 or later
    if most is None or need.count <= most:
        return None
    hint = f"cpu = {most}, or hw.vmm.maxcpu={need.count} in /boot/loader.conf"
    return fault(need, f"has {need.count} processors, and hw.vmm.maxcpu is {most}", hint)


def _wired(need: Wired) -> Fault | None:
    """A VM that is in the kernel has kept its memory, which counts as wired already."""
    limit, used = wired()
    if limit < 0 or used + need.bytes <= limit or os.path.exists(f"{vmm.NODES}/{need.name}"):
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    pages = -(-(used + need.bytes) // page)
    left, wanted = max(0, limit - used) >> 20, -(-need.bytes >> 20)
    problem = f"{need.why} wires {wanted} MiB of memory, and {_LIMIT} leaves {left} MiB"
    return fault(need, problem, f"sudo sysctl {_LIMIT}={pages}, or a smaller mem")


def _terminal(need: Terminal) -> Fault | None:
    null_modem = need.path.startswith("/dev/nmdm")  # it appears when it is looked at
    try:
        mode = os.stat(need.path).st_mode
    except OSError as error:
        return None if null_modem else fault(need, f"{need.path}: {error.strerror}")
    if not stat.S_ISCHR(mode):
        hint = f'{need.device} = "nmdm", or a terminal device below /dev'
        problem = f"{need.path} is no terminal device, and bhyve takes no file or socket here"
        return fault(need, problem, hint)
    if os.access(need.path, _OPENED):
        return None
    return fault(need, f"{need.path} is not yours to open", _RULES)


def _tap_up(need: TapUp) -> Fault | None:
    """A bhyve without a monitor mode sets a tap up as root only; this makes the kernel do it."""
    if os.getuid() == 0 or bsd_kernel.number(UP) != 0:
        return None
    binary = which(os.environ.get("BHYVE_BIN") or "bhyve")
    if binary is None or vmm.has_monitor(binary):
        return None
    problem = f"{UP} is 0, so a tap that bhyve opens for you stays down"
    return fault(need, problem, f"sudo sysctl {UP}=1; for good: /etc/sysctl.conf")


def _interface(need: Interface, vm: str) -> Fault | None:
    if need.macvtap:
        return fault(need, f"{need.name} is a macvtap, which is Linux's", 'type = "tap"')
    node, init = f"{DEV}/{need.name}", f"sudo vm-init {vm}"
    if not os.path.exists(node):
        return fault(need, f"tap {need.name} is missing", init)
    return None if os.access(node, _OPENED) else fault(need, f"{node} is not yours", init)


def _pci(need: Pci, vm: str) -> Fault | None:
    try:
        listed = bsd_kernel.pci()
    except VmError as error:
        return fault(need, error.faults[0].problem)
    if need.address:
        found = next((card for card in listed if card.address == need.address), None)
        shown = _selector(need.address)
    else:
        found, shown = pciconf.find(listed, need.lookup), " ".join(need.lookup)
    if not found:
        return fault(need, f"there is no PCI device {shown}", "pciconf -lv")
    where = _selector(found.address)
    if found.header == pciconf.FAILED:
        hint = "its SR-IOV has failed: see iovctl(8), and the firmware's settings"
        return fault(need, f"PCI device {where} does not answer (header type 0x7f)", hint)
    if found.header in pciconf.BRIDGES:
        hint = "give the devices behind it: pciconf -lv"
        return fault(need, f"PCI device {where} is a bridge, which no guest can have", hint)
    if found.driver != "ppt":
        driver = found.driver or "none"
        init = f"sudo vm-init {vm}"
        return fault(need, f"PCI device {where} is not bound to ppt, but to {driver}", init)
    return None


def _selector(address: str) -> str:
    """`pci0:1:0:0` of 0000:01:00.0, as pciconf has it."""
    domain, bus, rest = address.split(":")
    slot, _, function = rest.partition(".")
    return f"pci{int(domain, 16)}:{int(bus, 16)}:{int(slot, 16)}:{function}"
