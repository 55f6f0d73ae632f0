"""Whether the host has what a machine needs; what can be repaired; which PCI device is meant.

What Linux and FreeBSD each answer in their own way is in `linux` and `freebsd`.
"""

from __future__ import annotations

import os
import stat

from vm_run.host import linux, requirements
from vm_run.host.requirements import Directory, File, Port, Socket, Tool, fault
from vm_run.program import hypervisor, run
from vm_spec.devices import Passthru
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import pci, platform
from vm_state.platform import which
from vm_state.statedir import longest_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vm_run.host.requirements import Requirement
    from vm_run.pci_slots import Placed


def lacks(placed: Placed, vm: str) -> list[Fault]:
    """Everything that this host lacks for a machine."""
    return [fault for need in _needs(placed, False) if (fault := check(need, vm))]


def require(
    placed: Placed, vm: str, fix: bool, note: Callable[[str], None], detached: bool = False
) -> None:
    """Makes sure that a machine can start here.

    Args:
        placed: what is to start.
        vm: what the user calls it.
        fix: whether every known repair is applied, and not only those the description asks for.
        note: takes a line about each repair.
        detached: whether the machine has no terminal.

    Raises:
        VmError: with everything that is lacking and has no repair (69).
    """
    missing = [need for need in _needs(placed, detached) if check(need, vm)]
    if not missing:
        return
    _repair([need for need in missing if fix or need.fix], vm, note)
    faults = [fault for need in missing if (fault := check(need, vm))]
    if faults:
        raise VmError(*faults, status=os.EX_UNAVAILABLE)


def _needs(placed: Placed, detached: bool) -> list[Requirement]:
    if hypervisor(placed.machine) != "bhyve":
        from vm_run import qemu

        return qemu.needs(placed)
    if not platform.is_bsd():  # elsewhere a bhyve can only be a stand-in
        return []
    from vm_run.host.bhyve_requirements import needs_of

    return needs_of(placed.machine, detached)


def check(need: Requirement, vm: str) -> Fault | None:
    """What is missing for a requirement, with the next command to type; None when it is met."""
    match need:
        case File():
            found = linux.node(need, vm) if linux.is_node(need.path) else _file(need)
        case Directory():
            found = _directory(need)
        case Tool():
            found = None if which(need.name) else fault(need, f"{need.name} is missing", need.hint)
        case Port():
            found = _port(need)
        case Socket():
            found = _socket(need, vm)
        case requirements.OfFreeBsd():
            found = _freebsd(need, vm)
        case _:
            found = _freebsd(need, vm) if platform.is_bsd() else linux.check(need, vm)
    return found


def _freebsd(need: linux.OwnKind | requirements.OfFreeBsd, vm: str) -> Fault | None:
    from vm_run.host import freebsd

    return freebsd.lack(need, vm)


def _file(need: File) -> Fault | None:
    flags = (os.O_RDWR if need.write else os.O_RDONLY) | os.O_NONBLOCK | os.O_NOCTTY
    try:
        opened = os.open(need.path, flags | os.O_CLOEXEC)
    except OSError as error:
        hint = _hint(need) if isinstance(error, FileNotFoundError) else ""
        return fault(need, f"{need.path}: {error.strerror}", hint)
    about = os.fstat(opened)
    os.close(opened)
    if stat.S_ISDIR(about.st_mode):
        return fault(need, f"{need.path}: is a directory")
    if need.most and (about.st_size > need.most or not stat.S_ISREG(about.st_mode)):
        return fault(need, f"{need.path}: is no regular file of at most {need.most >> 10} KiB")
    return None


def _directory(need: Directory) -> Fault | None:
    if os.path.isdir(need.path):
        return None
    if os.path.lexists(need.path):
        return fault(need, f"{need.path}: is no directory")
    return fault(need, f"{need.path}: no such directory", _hint(need))


def _hint(need: File | Directory) -> str:
    return need.hint.replace("{}", linux.quote(need.path))


def _port(need: Port) -> Fault | None:
    import socket  # 2 ms, which a machine without ports does without

    kind = socket.SOCK_STREAM if need.protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in need.address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((need.address, need.port))
        except (OSError, UnicodeError) as error:  # idna refuses some words with the second
            why = getattr(error, "strerror", None) or "is no address"
            problem = f"{need.protocol} port {need.port} of {need.address}: {why}"
            return fault(need, problem, "choose another port")
    return None


def _socket(need: Socket, vm: str) -> Fault | None:
    directory = os.path.dirname(need.path) or "."
    if not os.path.isdir(directory):
        return fault(need, f"{directory}: no such directory")
    if len(os.fsencode(need.path)) > longest_socket():
        return fault(need, f"{need.path} is too long a path for a socket", "choose a shorter one")
    if not os.path.lexists(need.path):
        writable = os.access(directory, os.W_OK | os.X_OK)
        return None if writable else fault(need, f"{directory} is not yours to write to")
    if not stat.S_ISSOCK(os.lstat(need.path).st_mode):
        return fault(need, f"{need.path} exists and is no socket", "choose another path")
    if _answers(need.path):
        return fault(need, f"another process listens at {need.path}", "choose another path")
    hint = f"rm {linux.quote(need.path)}; or vm-run --fix {vm}"
    return fault(need, f"{need.path} is left over", hint)


def is_leftover(path: str) -> bool:
    """Whether a path is a socket that no process listens at."""
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode) and not _answers(path)
    except OSError:
        return False


def _answers(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)  # a listener that is busy makes others wait
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # another user's, or of another kind: that is no leftover of ours
            return True
    return True


def _repair(missing: Iterable[Requirement], vm: str, note: Callable[[str], None]) -> None:
    by_root = False
    for need in missing:
        if isinstance(need, Socket) and is_leftover(need.path):
            note(f"rm {linux.quote(need.path)}")
            try:
                os.unlink(need.path)
            except OSError:
                pass  # it is still there, and reported as that
        by_root = by_root or _is_vm_inits(need)
    if by_root:
        note(f"sudo vm-init {vm}")
        run(["sudo", "vm-init", vm], terminal=True)


def _is_vm_inits(need: Requirement) -> bool:
    """Whether vm-init makes what is missing."""
    if isinstance(need, requirements.OfFreeBsd):
        from vm_run.host import freebsd

        return freebsd.by_vm_init(need)
    node = isinstance(need, File) and need.granted and linux.is_node(need.path)
    return node or isinstance(need, requirements.Interface | requirements.Pci)


def find_pci(lookup: tuple[str, str]) -> str:
    """The address of the first PCI device of this vendor and kind; empty when there is none.

    Args:
        lookup: each 0x and 8 hex digits, the main id then the subsystem's.

    Raises:
        VmError: FreeBSD's pciconf cannot be run (69).
    """
    if platform.is_bsd():
        from vm_run.host import freebsd

        return freebsd.pci_address(lookup)
    return pci.find(lookup)


def look_up(placed: Placed) -> dict[str, str]:
    """Label of each device that is looked up -> its address on this host.

    Raises:
        VmError: one of them does not exist, or this host's devices cannot be listed (69).
    """
    found: dict[str, str] = {}
    for device in placed.machine.emulations:
        if isinstance(device, Passthru) and device.lookup:
            ids = device.lookup.vendor, device.lookup.device
            found[device.label] = find_pci(ids)
            if not found[device.label]:
                problem, name = f"there is no PCI device {ids[0]} {ids[1]}", device.label
                fault = Fault(problem=problem, device=f"{device.kind} {name}")
                raise VmError(fault, status=os.EX_UNAVAILABLE)
    return found
