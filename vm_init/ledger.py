"""What was given, to be taken back: one small file for each VM of each user.

    ROOT/lock            one vm-init at a time
    ROOT/UID/VM.json     {"version", "uid", "vm", "boot", "job", "records"}

Every change is a new file, synced, renamed over the old one, and the directory synced. What is read
was written by root and is checked as if a user had written it: directories and files must be root's
alone, and each field of the form that it is written in. Keys that are not known are kept.

A ledger of another boot counts as empty: its interfaces ended with their kernel, its nodes
are new, its devices have their drivers.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from vm_init.errors import InitError
from vm_init.request import ADDRESS, MAC, NAME, VM

ROOT = "/run/vmman" if os.uname().sysname == "Linux" else "/var/run/vmman"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MAX_BYTES = 1 << 18
KEYS = {"version", "uid", "vm", "boot", "job", "records"}
UID = r"[1-9][0-9]{0,9}"
OWNER = r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9}):([0-7]{1,4})"
_TAG = rf"vmman:{UID}:([A-Za-z0-9_.-]{{1,64}}:)?[0-9a-f]{{16}}"  # 0.1.0 had the VM's name in it
_DRIVER = rf"([A-Za-z0-9_-]{{1,64}})( {OWNER})?"
_NODE = r"/dev(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:-]{1,64}){1,6}"
# Of each kind: name, target, former, mac, tag.
_FORMS = {
    "tap": (NAME, rf"({NAME})?", "", "", _TAG),
    "macvtap": (NAME, NAME, "", MAC, _TAG),
    "node": (_NODE, "[0-9]*", OWNER, "", ""),
    "pci": (ADDRESS, "[0-9]*", _DRIVER, "", ""),
    "vm": (VM, "[0-9]*", "", "", ""),
}


class Record(NamedTuple):
    """One thing that was given, or is about to be.

    Attributes:
        kind: tap, macvtap, node, pci or vm.
        name: the interface, the node's path, the PCI address, the VM.
        number: the interface's index, the node's device number, or the IOMMU group.
        target: the bridge or interface that it is joined to; empty for none.
        former: what was there before: a node's `uid:gid:mode`; a PCI device's driver (`-` for none)
            and, where its group's node was there, that node's `uid:gid:mode`.
        mac: a macvtap's Ethernet address.
        tag: an interface's alias, its mark in the kernel.
        port: of a tap in a bridge, what its port is, in words of `netlink.PORT`.
        more: keys of the file that this version does not know.
    """

    kind: str
    name: str
    number: int = 0
    target: str = ""
    former: str = ""
    mac: str = ""
    tag: str = ""
    port: str = ""
    more: Mapping[str, Any] = {}


class Ledger:
    """The ledger of one VM of one user, while the lock is held.

    Attributes:
        uid: whose VM.
        vm: its name.
        jobs: the scheduler's ids for it; kept with the next change.
        records: what was given, or was about to be, in order.
    """

    def __init__(self, uid: int, vm: str, root: str = ROOT) -> None:
        """Reads the ledger; it has no records when there is none yet.

        Raises:
            InitError: it, or a directory of it, is not as root's half leaves them (78).
        """
        self.uid, self.vm, self.root = uid, vm, root
        self.jobs: list[str] = []
        self.records: list[Record] = []
        self._more: dict[str, Any] = {}  # of a later version's file
        self._directory, self._file = f"{root}/{uid}", f"{root}/{uid}/{vm}.json"
        try:
            require_private(root, stat.S_ISDIR)
            require_private(self._directory, stat.S_ISDIR)
            require_private(self._file, stat.S_ISREG)
            with open(self._file, "rb") as file:
                self.jobs, self.records, self._more = _parse(file.read(MAX_BYTES), uid, vm)
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError, RecursionError):
            problem = f"{self._file}: is not as vm-init writes it"
            raise InitError(problem, os.EX_CONFIG) from None

    def write(self, records: list[Record]) -> None:
        """Replaces the records; the file goes with the last of them."""
        head = {**self._more, "version": 1, "uid": self.uid, "vm": self.vm, "boot": _boot()}
        tables: list[dict[str, Any]] = [{**one.more, **one._asdict()} for one in records]
        for table in tables:
            del table["more"]
        content = {**head, "job": " ".join(self.jobs), "records": tables}
        data = json.dumps(content, separators=(",\n", ": ")).encode("ascii")
        _parse(data, self.uid, self.vm)  # what could not be read again is not written
        for directory in (self.root, self._directory):
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            require_private(directory, stat.S_ISDIR)
        temporary = f"{self._directory}/.{self.vm}.json"
        if records:
            with open(temporary, "wb", opener=_open_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, self._file)
        else:
            for path in (temporary, self._file):
                with suppress(FileNotFoundError):
                    os.unlink(path)
        _sync(self._directory)
        if not records:
            with suppress(OSError):  # another VM of this user may be in it
                os.rmdir(self._directory)
        _sync(self.root)
        self.records = records


def _parse(data: bytes, uid: int, vm: str) -> tuple[list[str], list[Record], dict[str, Any]]:
    """The jobs, the records and the unknown keys of a file; none for a ledger of another boot.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: it is not of the right form.
    """
    content: Any = json.loads(data.decode("ascii"))
    is_right = (content["uid"], content["vm"], content["version"]) == (uid, vm, 1)
    is_typed = type(content["version"]) is int and isinstance(content["records"], list)
    if not is_right or not is_typed or not re.fullmatch(rf"({VM}( {VM})*)?", content["job"]):
        raise ValueError
    if content["boot"] != _boot():
        return [], [], {}
    records = [_parse_record(table, uid) for table in content["records"]]
    if len({record[:2] for record in records}) != len(records):
        raise ValueError
    more = {key: content[key] for key in content.keys() - KEYS}
    return content["job"].split(), records, more


def _parse_record(table: dict[str, Any], uid: int) -> Record:
    known = {key: table.pop(key) for key in Record._fields if key in table}
    record = Record(**known, more=table)
    texts = (record.name, record.target, record.former, record.mac, record.tag)
    is_right = all(map(re.fullmatch, _FORMS[record.kind], texts))
    is_theirs = not record.tag or int(record.tag.split(":")[1]) == uid
    is_number = type(record.number) is int and 0 <= record.number < 1 << 63
    if not (is_right and is_theirs and is_number):
        raise ValueError
    return record


def _boot() -> str:
    """Which boot this is; empty on FreeBSD, where /var/run is emptied at each."""
    with suppress(FileNotFoundError), open(BOOT_ID, encoding="ascii") as file:
        return file.read().strip()
    return ""


def list_ledgers(root: str = ROOT, owner: int | None = None) -> Iterator[Ledger | InitError]:
    """Each ledger of this boot that has records; in place of one that cannot be read, why.

    Args:
        root: where they are.
        owner: the uid of the only user whose ledgers are read; None for every user's.
    """
    for directory, _, names in sorted(os.walk(root if owner is None else f"{root}/{owner}")):
        for name in sorted(names):
            uid, vm = os.path.basename(directory), name.removesuffix(".json")
            if name != vm and re.fullmatch(UID, uid) and re.fullmatch(VM, vm):
                try:
                    if (ledger := Ledger(int(uid), vm, root)).records:
                        yield ledger
                except InitError as error:
                    yield error


@contextmanager
def lock(timeout_s: float, root: str = ROOT) -> Generator[None]:
    """Holds the lock that lets one vm-init at a time act.

    The kernel wakes a waiter; the signal of a timer ends the wait. It repeats, because one that
    comes just before flock(2) begins would not interrupt it.

    Raises:
        InitError: others hold it for longer (75).
    """

    def stop(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise InitError("another vm-init is at work; try again", os.EX_TEMPFAIL)

    with suppress(FileExistsError):
        os.mkdir(root, 0o700)
    require_private(root, stat.S_ISDIR)
    with open(f"{root}/lock", "ab", opener=_open_private) as file:
        signal.signal(signal.SIGALRM, stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001), 0.05)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        yield


def require_private(path: str, is_kind: Callable[[int], bool]) -> None:
    """Refuses what is not of this kind, or not root's alone.

    Only the first part of a path can be others': below a directory of root's alone nobody else can
    put anything.

    Raises:
        InitError: it is not root's alone (78).
        FileNotFoundError: it is not there.
    """
    seen = os.lstat(path)
    if not is_kind(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise InitError(f"{path}: is not root's alone", os.EX_CONFIG)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
