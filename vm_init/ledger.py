"""What was given, to be taken back: one small file for each VM of each user.

    ROOT/lock            one vm-init at a time
    ROOT/UID/VM.json     {"version", "uid", "vm", "boot", "job", "records"}

Every change is a new file, synced, put in the place of the old one, and the folder synced. What is
read was written by root and is believed no more than a user's: folders and files must be root's
alone, and each field of the form that it is written in, or the run ends and the file stays.

A ledger of another boot counts as empty, and is overwritten: the interfaces in it ended with their
kernel, the nodes were made anew, the devices have their drivers.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from vm_init.record import MOST_BYTES, UID, Record, parse, render
from vm_init.request import VM
from vm_init.trusted import Opened, opened
from vm_init.verdict import InitError

ROOT = "/run/vmman" if os.uname().sysname == "Linux" else "/var/run/vmman"


class Ledger:
    """The ledger of one VM of one user, while the lock is held.

    Attributes:
        uid: whose VM.
        vm: its name.
        job: the scheduler's id for it, or empty; kept with the next change.
        records: what was given, or was about to be, in order.
    """

    def __init__(self, root: str, uid: int, vm: str, job: str, records: tuple[Record, ...]) -> None:
        self.uid, self.vm, self._root = uid, vm, root
        self.job, self.records = job, records

    @classmethod
    def open(cls, root: str, uid: int, vm: str) -> Self:
        """The ledger; without records when there is none yet.

        Raises:
            InitError: it, or a folder of it, is not as root's half leaves them (78).
        """
        if not re.fullmatch(VM, vm) or not re.fullmatch(UID, str(uid)):
            raise InitError(f"{vm!a} of {uid}: no VM is called so", os.EX_USAGE)
        try:
            with _folder(root) as top, _folder(str(uid), at=top) as folder:
                return cls(root, uid, vm, *_read(folder, uid, vm))
        except FileNotFoundError:
            return cls(root, uid, vm, "", ())

    def intend(self, *records: Record) -> None:
        """Add what is about to be given."""
        kept = {record[:2] for record in self.records}
        if not kept.isdisjoint(record[:2] for record in records):
            raise InitError("the ledger has this already", os.EX_SOFTWARE)
        self._write((*self.records, *records))

    def done(self, *records: Record) -> None:
        """Put what was found out in the place of what was intended."""
        new = {record[:2]: record._replace(done=True) for record in records}
        self._write(tuple(new.get(record[:2], record) for record in self.records))

    def forget(self, *records: Record) -> None:
        """Leave out what was taken back; the file goes with the last of it.

        Without records it removes what a kill before the first of them left.
        """
        gone = {record[:2] for record in records}
        self._write(tuple(record for record in self.records if record[:2] not in gone))

    def _write(self, records: tuple[Record, ...]) -> None:
        data = render(self.uid, self.vm, self.job, records)
        parse(data, self.uid, self.vm)  # what could not be read again is not written
        with _folder(self._root, make=True) as top:
            with _folder(str(self.uid), make=True, at=top) as folder:
                _replace(folder, f"{self.vm}.json", data if records else b"")
            if not records:
                with suppress(OSError):  # another VM of this user may be in it
                    os.rmdir(str(self.uid), dir_fd=top)
            os.fsync(top)
        self.records = records


def everything(root: str) -> Iterator[Ledger]:
    """Each ledger of this boot that has records.

    Raises:
        InitError: any of them is not as root's half leaves them (78).
    """
    try:
        whole = _folder(root)
    except FileNotFoundError:
        return
    with whole as top:
        for user in sorted(name for name in os.listdir(top) if re.fullmatch(UID, name)):
            with _folder(user, at=top) as folder:
                names = sorted(os.listdir(folder))
            for vm in (name.removesuffix(".json") for name in names if name.endswith(".json")):
                if re.fullmatch(VM, vm):
                    ledger = Ledger.open(root, int(user), vm)
                    if ledger.records:
                        yield ledger


@contextmanager
def lock(root: str, seconds: float) -> Generator[None]:
    """Holds the lock that lets one vm-init at a time act.

    The kernel wakes the one that waits; a timer's signal ends the waiting. It comes again and
    again, because one that comes just before flock(2) begins would not interrupt it.

    Raises:
        InitError: others hold it for longer than `seconds` (75).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _folder(root, make=True) as folder:
        file = opened("lock", flags, f"{root}/lock", folder)
    with file as fd:
        _check(fd, stat.S_ISREG, f"{root}/lock")
        _wait(fd, seconds)
        yield


def _wait(fd: int, seconds: float) -> None:
    with suppress(BlockingIOError):
        return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def late(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # once is enough
        raise InitError("another vm-init is at work; try again", os.EX_TEMPFAIL)

    signal.signal(signal.SIGALRM, late)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 0.05)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})


def _folder(name: str, *, make: bool = False, at: int | None = None) -> Opened:
    """An open folder that is root's alone."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at)
    fd = opened(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, name, at)
    try:
        _check(fd, stat.S_ISDIR, name)
    except InitError:
        os.close(fd)
        raise
    return fd


def _check(fd: int, kind: Callable[[int], bool], name: str) -> None:
    seen = os.fstat(fd)
    if not kind(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise InitError(f"{name}: is not root's alone", os.EX_CONFIG)


def _replace(folder: int, name: str, data: bytes) -> None:
    """Put a file with this content in the place of one, or none for no content."""
    temporary = f".{name}"
    for leftover in (temporary,) if data else (temporary, name):
        with suppress(FileNotFoundError):
            os.unlink(leftover, dir_fd=folder)
    if data:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _read(folder: int, uid: int, vm: str) -> tuple[str, tuple[Record, ...]]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(opened(f"{vm}.json", flags, f"{uid}/{vm}.json", folder), "rb") as file:
        _check(file.fileno(), stat.S_ISREG, f"{uid}/{vm}.json")
        return parse(file.read(MOST_BYTES + 1), uid, vm)
