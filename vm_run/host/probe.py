"""What `vm-run --check` without a name looks at; it changes nothing.

Of FreeBSD what is the same there; `vm_run.host.freebsd_probe` looks at the rest.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat

from vm_run import program
from vm_run.host import linux
from vm_run.host.facts import Bhyve, Facts, Folder, Kvm, Program
from vm_run.host.requirements import TUN
from vm_spec import library
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import platform, statedir
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_spec.fault import Fault

__all__ = ["look"]

_KVM, _MOUNTS = "/dev/kvm", "/proc/self/mountinfo"
_IOMMU, _VFIO = "/sys/kernel/iommu_groups", "/dev/vfio/vfio"
_HUGEPAGES = "/sys/kernel/mm/hugepages"
_POLICY = "/etc/vmman/policy.toml"
_KVM_CREATE_VM = 0xAE01  # linux/kvm.h
_BEFORE_NAME = len("/supervisor.sock")


def look() -> Facts:
    """What this host is like now."""
    place = os.path.dirname(statedir.directory("-"))
    policy = "/usr/local" * platform.is_bsd() + _POLICY
    return Facts(
        bsd=platform.is_bsd(),
        user=_user(),
        hypervisor=_hypervisor(),
        kvm=Kvm() if platform.is_bsd() else _kvm(),
        bhyve=_bhyve(),
        tun=_tun(),
        firmware=_firmware(),
        qemu_img=_program("qemu-img", "--version"),
        bwrap=_program("bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"),
        vm_init=which("vm-init") or which("/usr/local/bin/vm-init") or "",
        policy=policy,
        policy_problem=_reading(policy),
        iommu_groups=len(_entries(_IOMMU)),
        vfio=os.path.exists(_VFIO),
        hugepages=tuple(_hugepages()),
        memlock=_memlock(),
        runtime=_runtime(os.path.dirname(place)),
        runtime_given=os.environ.get("XDG_RUNTIME_DIR", "").startswith("/"),
        longest_name=statedir.longest_socket() - _BEFORE_NAME - len(os.fsencode(place)) - 1,
        confdir=_confdir(library.confdir()),
        tmp=_folder("/tmp"),  # noqa: S108  only looked at
    )


def _bhyve() -> Bhyve:
    if not platform.is_bsd():
        return Bhyve()
    from vm_run.host import freebsd_probe as examination_bsd

    return examination_bsd.look()


def _tun() -> tuple[str, str]:
    lacking = linux.lack(TUN, "")
    return (lacking.problem, lacking.hint) if lacking else ("", "")


def _user() -> str:
    return library.context("").user


def _hypervisor() -> Program:
    """The one that a plain description is run by."""
    from vm_run.program import program
    from vm_spec.machine import Machine
    from vm_spec.types import VmName

    try:
        path = program(Machine(name=VmName("plain")))
    except VmError as error:
        fault: Fault = error.faults[0]
        return Program(problem=fault.problem, hint=fault.hint)
    if platform.is_bsd():  # bhyve has no option that tells; it comes with the system
        return Program(path=path, version=os.uname().release)
    return _program(path, "--version")


def _program(name: str, *words: str) -> Program:
    """What a program is that can be called with these words, if it is there."""
    path = which(name)
    if path is None:
        return Program()
    try:
        said = program.run([path, *words])
    except VmError as error:
        return Program(path=path, problem=error.faults[0].problem)
    found = re.search(r"version (\d[\w.]*)", said)
    return Program(path=path, version=found[1] if found else "")


def _kvm() -> Kvm:
    try:
        node = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Kvm(problem="missing")
    except PermissionError:
        return _denied() if linux.virtualizes() else Kvm(problem="processor")
    except OSError as error:
        return Kvm(problem=str(error.strerror))
    try:
        if not linux.kvm_works():
            return Kvm(problem="processor")
        os.close(fcntl.ioctl(node, _KVM_CREATE_VM, 0))
    except OSError as error:  # another hypervisor has the processor, for instance
        return Kvm(problem=str(error.strerror))
    finally:
        os.close(node)
    return Kvm()


def _denied() -> Kvm:
    import grp

    number = os.stat(_KVM).st_gid
    try:
        group = grp.getgrgid(number)
    except KeyError:
        return Kvm(problem="denied", group=str(number))
    joined = _user() in group.gr_mem and number not in os.getgroups()
    return Kvm(problem="denied", group=group.gr_name, joined=joined)


def _firmware() -> str:
    from vm_run.host import firmware

    try:
        code, _ = firmware.find()
    except VmError:
        return ""
    return code if os.path.exists(code) else ""


def _reading(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return str(error.strerror)
    return ""


def _entries(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _hugepages() -> list[tuple[int, int, int]]:
    found = [re.fullmatch(r"hugepages-(\d+)kB", name) for name in _entries(_HUGEPAGES)]
    return [
        (int(size[1]), _number(f"{size[0]}/nr_hugepages"), _number(f"{size[0]}/free_hugepages"))
        for size in found
        if size
    ]


def _number(file: str) -> int:
    try:
        with open(f"{_HUGEPAGES}/{file}", encoding="ascii") as content:
            return int(content.read())
    except (OSError, ValueError):
        return 0


def _memlock() -> int:
    import resource

    return -1 if os.getuid() == 0 else resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]


def _runtime(path: str) -> Folder:
    """The place of state folders: a folder that nobody else can write to, or one to be made."""
    found = _folder(path)
    if not found.exists:
        problem = "" if found.writable else "is not there, and cannot be made"
        return Folder(path=path, exists=False, writable=found.writable, problem=problem)
    about = os.lstat(path)
    own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    if own and not about.st_mode & 0o022 and found.writable:
        return found
    return Folder(path=path, problem="is not a folder that only you can write to")


def _confdir(path: str) -> Folder:
    """The folder of descriptions, judged as each description in it will be."""
    found = _folder(path)
    if not found.exists:
        return found
    about = os.stat(path)
    problem = library.stranger(about, "it")
    if not stat.S_ISDIR(about.st_mode):
        problem = "it is no folder"
    elif about.st_mode & stat.S_ISVTX or not problem:
        return found
    return Folder(path=path, problem=problem, kind=found.kind, free=found.free)


def _folder(path: str) -> Folder:
    """A folder, or what would be there: the nearest one above it tells."""
    there = os.path.abspath(path)
    while not os.path.exists(there):
        there = os.path.dirname(there)
    room = os.statvfs(there)
    return Folder(
        path=path,
        exists=os.path.exists(path),
        writable=os.access(there, os.W_OK | os.X_OK),
        kind=_kind(os.stat(there).st_dev),
        free=room.f_bavail * room.f_frsize,
    )


def _kind(device: int) -> str:
    """The kind of a file system. Source: proc(5), /proc/PID/mountinfo."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ")[2] == wanted:
                    return rest.split(" ")[0]
    except (OSError, IndexError):
        pass
    return ""
