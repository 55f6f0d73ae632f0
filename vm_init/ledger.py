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
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from vm_init.ledger_text import MOST_BYTES, UID, parse, render
from vm_init.opened import Opened
from vm_init.request import VM
from vm_init.verdict import InitError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from vm_init.record import Record


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
        self.uid = uid
        self.vm = vm
        self.job = job
        self.records = records
        self._root = root

    @classmethod
    def open(cls, root: str, uid: int, vm: str) -> Self:
        """The ledger; without records when there is none yet.

        Raises:
            InitError: it, or a folder of it, is not as root's half leaves them (78).
        """
        if not re.fullmatch(VM, vm) or not re.fullmatch(UID, str(uid)):
            raise InitError(f"{vm!a} of {uid}: no VM is called so", os.EX_USAGE)
        try:
            with _folder(root, str(uid)) as folder:
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
                _remove_empty(top, str(self.uid))
            os.fsync(top)
        self.records = records


def everything(root: str) -> Iterator[tuple[int, str, tuple[Record, ...]]]:
    """Each ledger of this boot that has records: uid, VM, records.

    Raises:
        InitError: any of them is not as root's half leaves them (78).
    """
    try:
        opened = _folder(root)
    except FileNotFoundError:
        return
    with opened as top:
        for user in sorted(name for name in os.listdir(top) if re.fullmatch(UID, name)):
            with _folder(user, at=top) as folder:
                names = sorted(os.listdir(folder))
            for vm in (name.removesuffix(".json") for name in names if name.endswith(".json")):
                if re.fullmatch(VM, vm):
                    ledger = Ledger.open(root, int(user), vm)
                    if ledger.records:
                        yield ledger.uid, ledger.vm, ledger.records


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
        try:
            opened = Opened(os.open("lock", flags, 0o600, dir_fd=folder))
        except OSError as error:
            raise InitError(f"{root}/lock: {error.strerror}", os.EX_CONFIG) from None
    with opened as fd:
        _check(os.fstat(fd), stat.S_ISREG, f"{root}/lock")
        _wait(fd, seconds)
        yield


def _wait(fd: int, seconds: float) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        return

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


def _folder(*path: str, make: bool = False, at: int | None = None) -> Opened:
    """An open folder that is root's alone; each name of the path is below the one before."""
    name, *more = path
    if make:
        try:
            os.mkdir(name, 0o700, dir_fd=at)
        except FileExistsError:
            pass
    try:
        fd = Opened(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InitError(f"{name}: {error.strerror}", os.EX_CONFIG) from None
    try:
        _check(os.fstat(fd), stat.S_ISDIR, name)
    except InitError:
        os.close(fd)
        raise
    if not more:
        return fd
    with fd:
        return _folder(*more, make=make, at=fd)


def _check(seen: os.stat_result, kind: Callable[[int], bool], name: str) -> None:
    if not kind(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise InitError(f"{name}: is not root's alone", os.EX_CONFIG)


def _replace(folder: int, name: str, data: bytes) -> None:
    """Put a file with this content in the place of one, or none for no content."""
    temporary = f".{name}"
    for leftover in (temporary,) if data else (temporary, name):
        try:
            os.unlink(leftover, dir_fd=folder)
        except FileNotFoundError:
            pass
    if data:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _remove_empty(top: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=top)
    except OSError:
        pass  # another VM of this user is in it


def _read(folder: int, uid: int, vm: str) -> tuple[str, tuple[Record, ...]]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"{vm}.json", flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InitError(f"{uid}/{vm}.json: {error.strerror}", os.EX_CONFIG) from None
    with open(fd, "rb") as file:
        _check(os.fstat(fd), stat.S_ISREG, f"{uid}/{vm}.json")
        return parse(file.read(MOST_BYTES + 1), uid, vm)
