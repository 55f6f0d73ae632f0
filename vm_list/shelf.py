"""What descriptions said when they were last read, kept by what the kernel says of their files.

What is kept is used only while nothing can have changed of what it was made of. That is the
file's contents, for which its change time stands: the kernel sets that at each write, chmod and
rename, and nobody else can. It moves in ticks, so a file that was changed a moment before it was
read is not kept: a second change in the same tick would not show. It is asked of a local file
system only: a server has a clock of its own, and a client shows times that are seconds old. And it
is all else that a fact depends on: who reads, from where, and with which program (`_around`).
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time

from vm_list import facts
from vm_spec.frozen import TYPE_CHECKING, is_list, is_table
from vm_spec.names import confdir

if TYPE_CHECKING:
    from vm_list.facts import Facts

    Stamp = list[int]
    Kept = dict[str, tuple[Stamp, Facts]]

__all__ = ["local_device", "read"]

_WORTH = 100  # descriptions; fewer are read as fast as what is kept of them
_MOST_BYTES = 64 << 20
_SETTLED_NS = 2_000_000_000  # more than any tick of a file system in _LOCAL: ext3's is a second
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "tmpfs"}
_KEPT = (".toml", ".json")  # what uclcmd makes of a file is for uclcmd to say
_CODE = ("vm_spec", "vm_list", "vm_run", "tomli")


def read(folder: str, files: list[str]) -> list[Facts]:
    """What each description of a folder says, as `facts.of` has it."""
    if len(files) < _WORTH:
        return facts.each(files)
    now = time.time_ns()
    try:
        device, around = local_device(folder), _around(folder)
    except OSError:
        device, around = 0, []
    if not device:
        return facts.each(files)
    kept = _load(folder, around)
    stamps = [_stamp(file, device) for file in files]
    found = [_hit(kept, file, stamp) for file, stamp in zip(files, stamps, strict=True)]
    missed = [index for index, said in enumerate(found) if said is None]
    for index, said in zip(missed, facts.each([files[i] for i in missed]), strict=True):
        found[index] = said
        stamp = stamps[index]
        if (
            stamp
            and _may_be_kept(files[index], stamp, now)
            and _stamp(files[index], device) == stamp
        ):
            kept[files[index]] = (stamp, said)
    if len(missed) * 50 > len(files):  # to write it costs as much as to read a fiftieth afresh
        _save(folder, around, {file: kept[file] for file in files if file in kept})
    return [said for said in found if said is not None]


def _hit(kept: Kept, file: str, stamp: Stamp | None) -> Facts | None:
    found = kept.get(file)
    return found[1] if found and found[0] == stamp else None


def _stamp(file: str, device: int) -> Stamp | None:
    """What changes with a file; None for what is no regular file of the folder's file system."""
    try:
        found = os.lstat(file)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_dev != device:
        return None
    return [
        found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
        found.st_mode, found.st_uid, found.st_gid,
    ]  # fmt: skip


def _may_be_kept(file: str, stamp: Stamp, now: int) -> bool:
    return file.endswith(_KEPT) and stamp[3] < now - _SETTLED_NS


def local_device(folder: str) -> int:
    """The file system of a folder, if it keeps its times here; 0 for any other.

    Source: proc(5), /proc/PID/mountinfo.
    """
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if fields.split(" ")[2] == wanted:
                return device if rest.split(" ")[0] in _LOCAL else 0
    return 0


def _around(folder: str) -> list[object]:
    """All that facts depend on beside their files."""
    found = os.stat(folder)
    code = [_code(name) for name in _CODE]
    return [
        folder, found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid,
        os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.path.expanduser("~"), confdir(),
        _user(), list(os.uname()), sys.version, code,
    ]  # fmt: skip


def _user() -> str:
    """The account's name, which generated addresses are made of."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _code(package: str) -> list[list[int]]:
    """What changes with a package's files.

    Raises:
        OSError: it is not in a folder.
    """
    from importlib.machinery import PathFinder  # to import it would take longer than all else

    found = PathFinder.find_spec(package)
    with os.scandir(os.path.dirname(found.origin or "") if found else "") as entries:
        files = sorted((entry for entry in entries if entry.is_file()), key=lambda e: e.name)
    return [[f.stat().st_ino, f.stat().st_size, f.stat().st_ctime_ns] for f in files]


def _place() -> str:
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not home.startswith("/"):  # the XDG specification: a relative one is to be ignored
        home = os.path.expanduser("~/.cache")
    return f"{home}/vmman"


def _is_own(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _path(folder: str) -> str:
    from binascii import crc32

    return f"{_place()}/list-{crc32(os.fsencode(folder)):08x}.json"


def _load(folder: str, around: list[object]) -> Kept:
    """What was kept of a folder, if it was made of the same."""
    try:
        fd = os.open(_path(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not _is_own(os.fstat(fd)) or not _is_own(os.lstat(_place())):
                return {}
            table: object = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not is_list(table) or len(table) != 2 or table[0] != around or not is_table(table[1]):
        return {}
    return table[1]  # type: ignore[return-value]  # whoever wrote `around` wrote this


def _save(folder: str, around: list[object], kept: Kept) -> None:
    """Keeps it for the next time; where that cannot be, the next time reads afresh."""
    path = _path(folder)
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(_place(), 0o700, exist_ok=True)
        if not _is_own(os.lstat(_place())):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "w", encoding="ascii") as file:
            file.write(json.dumps([around, kept], separators=(",", ":")))
        os.replace(temporary, path)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
