"""What this host has for virtual machines, and lacks: `vm-run --check` without a name.

It changes nothing. Each check is a function of a table, `LINUX` here and `FREEBSD` in
`freebsd_report`.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat

from vm_run import command, firmware
from vm_run.host import linux, requirements
from vm_run.host.check import check
from vm_run.program import program
from vm_spec import library
from vm_spec.fault import VmError, printable
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Machine
from vm_spec.types import VmName
from vm_state import platform, statedir
from vm_state.platform import which

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vm_run.host.requirements import Requirement

    Result = tuple[str, str, str]  # verdict, what is so, the next step
    Checks = Mapping[str, Callable[[], Iterable[Result]]]  # by what they are about

OK, NOTE, MISSING = "ok", "note", "missing"
LONGEST_NAME = 64  # of a VM, vm.toml(5)
GIB, MIB = 1 << 30, 1 << 20
KVM_CREATE_VM = 0xAE01  # linux/kvm.h
_TMP = "/tmp"  # noqa: S108  only looked at
_MOUNTS, _SYS = "/proc/self/mountinfo", "/sys/kernel"
_POLICY = "/etc/vmman/policy.toml"


def report(checks: Checks) -> tuple[list[str], int]:
    """The lines that a person reads, the last one the next step; and the exit status.

    The status is 0 when a plain guest can run, else 69.
    """
    width = max(map(len, checks))
    lines: list[str] = []
    status, last = os.EX_OK, "a guest can run here; next: vm-pull USER/BOX, or vm-list for your VMs"
    for about, look in checks.items():
        for verdict, what, hint in look():
            lines.append(f"{verdict:<7}  {about:<{width}}  {printable(what)}")
            if hint:
                lines.append(f"{'':<{width + 9}}  hint: {printable(hint)}")
            if verdict == MISSING:
                status, last = os.EX_UNAVAILABLE, "no guest can run here yet: get what is missing"
    return [*lines, last], status


def hypervisor() -> Iterator[Result]:
    """The one that runs a plain description."""
    try:
        path = program(Machine(name=VmName("plain")))
        # bhyve has no option that shows its version, which is the system's
        version = os.uname().release if platform.is_bsd() else _version(path)
    except VmError as error:
        yield MISSING, error.faults[0].problem, error.faults[0].hint
    else:
        yield OK, f"{version} {path}".strip(), ""


def _version(path: str) -> str:
    found = re.search(r"version (\d[\w.]*)", command.run([path, "--version"]))
    return found[1] if found else ""


def _kvm() -> Iterator[Result]:
    """Whether guests run on the processor itself."""
    if fault := check(requirements.KVM, ""):
        yield NOTE, f"{fault.problem}, so guests are emulated, which is slower", fault.hint
        return
    try:
        node = os.open(requirements.KVM.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.close(fcntl.ioctl(node, KVM_CREATE_VM, 0))
        finally:
            os.close(node)
        yield OK, "works", ""
    except OSError as error:  # QEMU would use it, and fail
        hint = "end the other hypervisor on this host; or in a description: [qemu] accel = tcg"
        yield MISSING, f"{requirements.KVM.path}: {error.strerror}", hint


def uefi() -> Iterator[Result]:
    """The host's UEFI firmware, which bhyve always needs."""
    try:
        yield OK, firmware.find()[0], ""
    except VmError as error:
        fault, bsd = error.faults[0], platform.is_bsd()
        rest = "" if bsd else "; guests with a BIOS run"
        yield MISSING if bsd else NOTE, f"{fault.problem}{rest}", fault.hint


def state() -> Iterator[Result]:
    """The place of state directories: sockets and logs of running VMs."""
    place = os.path.dirname(statedir.folder("-"))
    path, hint = os.path.dirname(place), "set XDG_RUNTIME_DIR to a directory of your own"
    longest = statedir.longest_socket() - len(os.fsencode(f"{place}//supervisor.sock"))
    if not _is_own(path):
        yield MISSING, f"{path} is not a directory that only you can write to", hint
    elif longest <= 0:
        yield MISSING, f"{path} is too long a path for sockets", hint
    elif longest < LONGEST_NAME:
        yield NOTE, f"{path} is a long path: VM names have at most {longest} letters", hint
    elif os.environ.get("XDG_RUNTIME_DIR", "").startswith("/"):
        yield OK, path, ""
    else:
        yield OK, f"{path}, since XDG_RUNTIME_DIR is not set", ""


def _is_own(path: str) -> bool:
    """Whether only this user can write to a directory, or could make it."""
    if os.path.lexists(path):
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
            return False
    return _is_writable(path)


def directory() -> Iterator[Result]:
    """The directory of descriptions and their disks, as each description in it is judged."""
    path = library.confdir()
    if not os.path.exists(path):
        yield NOTE, f"{path} does not exist; vm-pull and new.sh make it", ""
        return
    if problem := _untrusted(path):
        hint = f"chmod go-w {path}, or set VMCONF_DIR to a directory of your own"
        yield MISSING, f"{path}: {problem}; descriptions in it are ignored", hint
        return
    yield _space(path, GIB, "a pulled box takes a GiB or two")
    if not _is_writable(path):
        yield NOTE, f"{path} is not yours to write to: other hosts see no lock", ""
    if _file_system(path).startswith("nfs"):
        yield NOTE, f"{path} is on NFS: its locks hold across hosts; vm-list shows their owners", ""


def _untrusted(path: str) -> str:
    about = os.stat(path)
    if not stat.S_ISDIR(about.st_mode):
        return "it is no directory"
    return "" if about.st_mode & stat.S_ISVTX else library.stranger(about, "it")


def _is_writable(path: str) -> bool:
    """Whether a path, or the nearest directory above it that exists, can be written to."""
    while not os.path.exists(path):
        path = os.path.dirname(os.path.abspath(path))
    return os.access(path, os.W_OK | os.X_OK)


def _space(path: str, least: int, use: str) -> Result:
    """Whether a file system has this many bytes free."""
    volume = os.statvfs(path)
    free = volume.f_bavail * volume.f_frsize
    if free < least:
        return NOTE, f"{path}, only {_size(free)} free; {use}", ""
    return OK, f"{path}, {_size(free)} free", ""


def _file_system(path: str) -> str:
    """The type of a file system. Source: proc(5), /proc/PID/mountinfo."""
    device = os.stat(path).st_dev
    number = f" {os.major(device)}:{os.minor(device)} "
    for line in linux.read(_MOUNTS, MIB).splitlines():
        if number in line.partition(" / ")[0] + " ":
            return line.partition(" - ")[2].partition(" ")[0]
    return ""


def tmp() -> Iterator[Result]:
    """Space for temporary files."""
    yield _space(_TMP, 64 * MIB, "logs and sockets are there")


def qemu_img() -> Iterator[Result]:
    """What vm-pull converts images with."""
    bsd, debian = "sudo pkg install qemu-tools", "Debian: sudo apt install qemu-utils"
    without = "vm-pull takes no box that has to be converted"
    return _tool(["qemu-img", "--version"], without, bsd if platform.is_bsd() else debian)


def _bwrap() -> Iterator[Result]:
    """What vm-pull confines qemu-img with."""
    hint = "Debian: sudo apt install bubblewrap; sudo sysctl kernel.unprivileged_userns_clone=1"
    without = "vm-pull's qemu-img has limits and no sandbox"
    return _tool(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], without, hint)


def _tool(argv: list[str], without: str, hint: str) -> Iterator[Result]:
    """A program that does without complaint what it is called for."""
    path = which(argv[0])
    try:
        if path:
            command.run([path, *argv[1:]])
            yield OK, path, ""
        else:
            yield NOTE, f"missing; {without}", hint
    except VmError as error:
        yield NOTE, f"{error.faults[0].problem}; {without}", hint


def vm_init() -> Iterator[Result]:
    """Root's part, which a VM with user networking does not need."""
    path = which("vm-init") or which("/usr/local/bin/vm-init")
    policy = "/usr/local" * platform.is_bsd() + _POLICY
    if path is None:
        what = "missing; user networking only, no taps and no PCI devices"
        yield NOTE, what, "an admin: sudo make install"
        return
    try:
        os.close(os.open(policy, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        yield OK, f"{path}; vm-init NAME --dry-run shows what {policy} grants you", ""
    except OSError as error:
        what = f"{path}; {policy}: {error.strerror}, so vm-init grants nothing"
        yield NOTE, what, "man vm-policy.toml"
    try:
        command.run([path, "--self-check"])
    except VmError as error:
        yield NOTE, error.faults[0].problem, "an admin: vm-init --self-check shows everything"


def _met(need: Requirement, met: str, without: str) -> Iterator[Result]:
    """Whether the host has what some descriptions need."""
    fault = check(need, "")
    if fault:
        yield NOTE, f"{fault.problem}; {without}", fault.hint
    else:
        yield OK, met, ""


def _taps() -> Iterator[Result]:
    return _met(requirements.TUN, "/dev/net/tun opens", "user networking and macvtaps only")


def _iommu() -> Iterator[Result]:
    groups, without = len(linux.entries(f"{_SYS}/iommu_groups")), "no PCI device for a guest"
    if not groups:
        yield NOTE, f"off; {without}", linux.IOMMU_OFF
    elif linux.remaps_interrupts():
        yield from _met(requirements.VFIO, f"{groups} groups, and VFIO", without)
    else:
        yield NOTE, linux.NO_REMAPPING, linux.UNSAFE


def _memlock() -> Iterator[Result]:
    smallest = requirements.Memory(bytes=requirements.OF_DEVICES + 256 * MIB)
    return _met(smallest, "enough for PCI devices", "no PCI device for a guest of 256 MiB")


def _hugepages() -> Iterator[Result]:
    pools, reserved = f"{_SYS}/mm/hugepages", False
    for name in linux.entries(pools):
        total, free = (linux.read(f"{pools}/{name}/{each}_hugepages") for each in ("nr", "free"))
        if total not in ("", "0"):
            reserved = True
            yield OK, f"{free} of {total} free, of {name.removeprefix('hugepages-')}", ""
    if not reserved:
        yield NOTE, "none reserved; only hugepages of [qemu] needs them", ""


def _size(size: int) -> str:
    """A size as a person writes it: 3.4 GiB, 512 MiB, 8 MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size // MIB} MiB"


LINUX: Checks = {
    "QEMU": hypervisor,
    "KVM": _kvm,
    "UEFI": uefi,
    "state": state,
    "directory": directory,
    "qemu-img": qemu_img,
    "bwrap": _bwrap,
    "tmp": tmp,
    "vm-init": vm_init,
    "taps": _taps,
    "IOMMU": _iommu,
    "memlock": _memlock,
    "hugepages": _hugepages,
}
