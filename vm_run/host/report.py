"""What this host has for virtual machines, and lacks: `vm-run --check` without a name.

It changes nothing. Each check is a row of a table, `LINUX` here and that of `freebsd_report`: a
function that returns what is so, or raises what is missing; and what does not work without it.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat

from vm_run import firmware
from vm_run.host import linux, requirements
from vm_run.host.check import check
from vm_run.program import program, run
from vm_spec import library
from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Machine
from vm_spec.types import VmName
from vm_state import platform, statedir
from vm_state.platform import which

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_run.host.requirements import Requirement

    # by what it is about: the check, and what its lack costs; empty where no guest can run then
    Checks = Mapping[str, tuple[Callable[[], str], str]]

LONGEST_NAME = 64  # of a VM, vm.toml(5)
GIB, MIB = 1 << 30, 1 << 20
KVM_CREATE_VM = 0xAE01  # linux/kvm.h
NO_PCI = "no PCI device for a guest"
_TMP = "/tmp"  # noqa: S108  only looked at
_MOUNTS, _SYS = "/proc/self/mountinfo", "/sys/kernel"
POLICY = "/etc/vmman/policy.toml"


def report(checks: Checks) -> tuple[list[str], int]:
    """The lines that a person reads, the last one the next step; and the exit status.

    The status is 0 when a plain guest can run, else 69.
    """
    width = max(map(len, checks))
    lines: list[str] = []
    status, last = os.EX_OK, "a guest can run here; next: vm-pull USER/BOX, or vm-list for your VMs"
    for about, (look, cost) in checks.items():
        try:
            verdict, what, hint = "ok", look(), ""
        except VmError as error:
            what, hint = error.faults[0].problem, error.faults[0].hint
            verdict, what = ("note", f"{what}: {cost}") if cost else ("missing", what)
        if what:
            lines.append(f"{verdict:<7}  {about:<{width}}  {printable(what)}")
        if hint:
            lines.append(f"{'':<{width + 9}}  hint: {printable(hint)}")
        if verdict == "missing":
            status, last = os.EX_UNAVAILABLE, "no guest can run here yet: get what is missing"
    return [*lines, last], status


def lacking(problem: str, hint: str = "") -> VmError:
    """What a check raises."""
    return VmError(Fault(problem=problem, hint=hint))


def _meet(need: Requirement) -> None:
    if fault := check(need, ""):
        raise VmError(fault)


def hypervisor() -> str:
    """The one that runs a plain description; bhyve's version is the system's."""
    path = program(Machine(name=VmName("plain")))
    if platform.is_bsd():
        return f"{os.uname().release} {path}"
    found = re.search(r"version (\d[\w.]*)", run([path, "--version"]))
    return f"{found[1]} {path}" if found else path


def _kvm() -> str:
    _meet(requirements.KVM)
    return "works"


def _kvm_vms() -> str:
    """Where KVM opens and makes no VM, QEMU would use it and fail."""
    if linux.kvm_works():
        node = os.open(requirements.KVM.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.close(fcntl.ioctl(node, KVM_CREATE_VM, 0))
        except OSError as error:
            hint = "end the other hypervisor on this host; or in a description: [qemu] accel = tcg"
            raise lacking(f"KVM: {error.strerror}", hint) from None
        finally:
            os.close(node)
    return ""


def uefi() -> str:
    """The host's UEFI firmware."""
    return firmware.find()[0]


def state() -> str:
    """The place of state directories: sockets and logs of running VMs."""
    place = os.path.dirname(statedir.directory("-"))
    path, hint = os.path.dirname(place), "set XDG_RUNTIME_DIR to another directory of your own"
    longest = statedir.longest_socket() - len(os.fsencode(f"{place}//supervisor.sock"))
    if not _is_own(path):
        raise lacking(f"{path} is not a directory that only you can write to", hint)
    if longest <= 0:
        raise lacking(f"{path} is too long a path for sockets", hint)
    return f"{path}, for names of up to {longest} letters" if longest < LONGEST_NAME else path


def _is_own(path: str) -> bool:
    """Whether only this user can write to a directory, or could make it."""
    if os.path.lexists(path):
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
            return False
    return _is_writable(path)


def directory() -> str:
    """The directory of descriptions and disks, by the rules for each description in it."""
    path = library.confdir()
    if not os.path.exists(path):
        return f"{path} does not exist: vm-pull and new.sh make it"
    about = os.stat(path)
    if not stat.S_ISDIR(about.st_mode):
        raise lacking(f"{path} is no directory", "set VMCONF_DIR to a directory of your own")
    problem = "" if about.st_mode & stat.S_ISVTX else library.stranger(about, path)
    if problem:
        raise lacking(f"{problem}, so descriptions in it are ignored", f"chmod go-w {path}")
    if _file_system(about.st_dev).startswith("nfs"):
        return f"{path} on NFS: its locks hold across hosts; vm-list shows their owners"
    return path


def locks() -> str:
    """Whether locks can lie beside descriptions."""
    if not _is_writable(library.confdir()):
        raise lacking(f"{library.confdir()} is not yours to write to")
    return ""


def space() -> str:
    """Space for disk images."""
    return _space(library.confdir(), GIB)


def tmp() -> str:
    """Space for temporary files."""
    return _space(_TMP, 64 * MIB)


def _existing(path: str) -> str:
    """A path, or the nearest directory above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(os.path.abspath(path))
    return path


def _is_writable(path: str) -> bool:
    return os.access(_existing(path), os.W_OK | os.X_OK)


def _space(path: str, least: int) -> str:
    """The free space of a file system, which is to be that many bytes."""
    volume = os.statvfs(_existing(path))
    free = volume.f_bavail * volume.f_frsize
    size = f"{free / GIB:.1f} GiB" if free >= GIB else f"{free // MIB} MiB"
    if free < least:
        raise lacking(f"only {size} free in {path}")
    return f"{size} free in {path}"


def _file_system(device: int) -> str:
    """The type of a file system. Source: proc(5), /proc/PID/mountinfo."""
    number = f" {os.major(device)}:{os.minor(device)} "
    for line in linux.read(_MOUNTS, MIB).splitlines():
        if number in line.partition(" / ")[0] + " ":
            return line.partition(" - ")[2].partition(" ")[0]
    return ""


def qemu_img() -> str:
    """What vm-pull converts images with."""
    bsd, debian = "sudo pkg install qemu-tools", "Debian: sudo apt install qemu-utils"
    return _run(["qemu-img", "--version"], bsd if platform.is_bsd() else debian)


def _bwrap() -> str:
    """What vm-pull confines qemu-img with."""
    hint = "Debian: sudo apt install bubblewrap; sudo sysctl kernel.unprivileged_userns_clone=1"
    return _run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], hint)


def _run(argv: list[str], hint: str) -> str:
    """The path of a program that does without complaint what it is called for."""
    path = which(argv[0])
    if path is None:
        raise lacking("missing", hint)
    try:
        run([path, *argv[1:]])
    except VmError as error:
        raise lacking(error.faults[0].problem, hint) from None
    return path


def vm_init() -> str:
    """Root's part."""
    path = which("vm-init") or which("/usr/local/bin/vm-init")
    if path is None:
        raise lacking("missing", "an admin: sudo make install")
    return f"{path}; vm-init NAME --dry-run shows what the policy grants you"


def policy() -> str:
    """Whether there is a policy; vm-init alone reads it."""
    path = "/usr/local" * platform.is_bsd() + POLICY
    if not os.access(path, os.R_OK):
        raise lacking(f"{path} cannot be read", "man vm-policy.toml")
    return path


def self_check() -> str:
    """Whether all that runs as root is root's alone."""
    path = which("vm-init") or which("/usr/local/bin/vm-init")
    return run([path, "--self-check"]).strip() if path else ""


def _taps() -> str:
    _meet(requirements.TUN)
    return f"{requirements.TUN.path} opens"


def _iommu() -> str:
    groups = len(linux.entries(f"{_SYS}/iommu_groups"))
    if not groups:
        raise lacking("off", linux.IOMMU_OFF)
    _meet(requirements.VFIO)
    if not linux.remaps_interrupts():
        raise lacking(linux.NO_REMAPPING, linux.UNSAFE)
    return f"{groups} groups, and VFIO"


def _memlock() -> str:
    _meet(requirements.Memory(bytes=requirements.OF_DEVICES + 256 * MIB))
    return "enough for PCI devices"


def _hugepages() -> str:
    pools = f"{_SYS}/mm/hugepages"
    found: list[str] = []
    for name in linux.entries(pools):
        total, free = (linux.read(f"{pools}/{name}/{each}_hugepages") for each in ("nr", "free"))
        if total not in ("", "0"):
            found.append(f"{free} of {total} free, of {name.removeprefix('hugepages-')}")
    if not found:
        raise lacking("none reserved")
    return ", ".join(found)


LINUX: Checks = {
    "QEMU": (hypervisor, ""),
    "KVM": (_kvm, "guests are emulated, which is slower"),
    "VMs": (_kvm_vms, ""),
    "UEFI": (uefi, "only guests with a BIOS run"),
    "state": (state, ""),
    "directory": (directory, ""),
    "locks": (locks, "other hosts see no lock"),
    "space": (space, "a pulled box takes a GiB or two"),
    "tmp": (tmp, "logs and sockets may be there"),
    "qemu-img": (qemu_img, "vm-pull takes no box that has to be converted"),
    "bwrap": (_bwrap, "vm-pull's qemu-img has limits and no sandbox"),
    "vm-init": (vm_init, "user networking only, no taps and no PCI devices"),
    "policy": (policy, "vm-init grants nothing"),
    "install": (self_check, "vm-init is unsafe, and its admin sees why: vm-init --self-check"),
    "taps": (_taps, "user networking and macvtaps only"),
    "IOMMU": (_iommu, NO_PCI),
    "memlock": (_memlock, NO_PCI),
    "hugepages": (_hugepages, "no hugepages of [qemu]"),
}
