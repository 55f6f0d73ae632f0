"""Where a pull works: a folder beside what it will make, gone when it ends."""

from __future__ import annotations

import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.lock import is_at, take

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

__all__ = ["EXISTS", "Room", "sweep"]

BUSY, EXISTS, CANNOT_WRITE = 75, 73, 74
_ENDING = ".pull"
_LOCK, _PLACED = "lock", "placed"


class Room:
    """One pull's own folder, `.NAME.pull`, locked as long as it works.

    Attributes:
        folder: where the results go; on the same file system, so that they get there by rename.
        path: the room itself.
        fd: it, open.
    """

    def __init__(self, folder: str, path: str, lock: int) -> None:
        self.folder = folder
        self.path = path
        self.lock = lock
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    @classmethod
    def enter(cls, folder: str, name: str) -> Self:
        """An empty room for what will be called `name` in `folder`, which is made if it lacks.

        Raises:
            VmError: another pull makes the same (75); the folder cannot be written (74).
        """
        path = f"{folder}/.{name}{_ENDING}"
        try:
            os.makedirs(folder, exist_ok=True)
            sweep(folder)
            lock = _claimed(path)
        except OSError as error:
            problem = f"{error.filename or folder} cannot be made: {error.strerror or error}"
            raise VmError(Fault(problem=problem), status=CANNOT_WRITE) from None
        if lock is None:
            hint = f"wait for it, or call this one otherwise: --name {name}-2"
            problem = f"another vm-pull is making {name} in {folder}"
            raise VmError(Fault(problem=problem, hint=hint), status=BUSY)
        return cls(folder, path, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        _remove(self.path, self.lock)

    def write(self, name: str, content: bytes) -> None:
        """Writes a new file, all the way to the disk.

        Raises:
            VmError: there is no space for it (74).
        """
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.fd)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
        except OSError as error:
            problem = f"{self.path}/{name}: {error.strerror or error}"
            raise VmError(Fault(problem=problem), status=CANNOT_WRITE) from None

    def place(self, files: Sequence[tuple[str, str]], *, force: bool) -> None:
        """Gives finished files their names in the folder; the last is the one that counts.

        Args:
            files: (name in the room, final name), in order.
            force: whether files of these names are replaced.

        Raises:
            VmError: one is there already (73), or it cannot be done (74). Then none was placed.
        """
        # written down first, so that a later sweep can take half of it back
        self.write(_PLACED, "".join(f"{final}\n" for _, final in files).encode())
        done: list[str] = []
        try:
            for name, final in files:
                _move(f"{self.path}/{name}", f"{self.folder}/{final}", force=force)
                done.append(final)
            _sync(self.folder)
        except OSError as error:
            if not force:
                for final in done:
                    os.unlink(f"{self.folder}/{final}")
            raise _not_placed(error, f"{self.folder}/{files[len(done)][1]}") from None


def _not_placed(error: OSError, path: str) -> VmError:
    if isinstance(error, FileExistsError):
        hint = "another name: --name NAME; to overwrite it: --force"
        return VmError(Fault(problem=f"{path} exists already", hint=hint), status=EXISTS)
    return VmError(Fault(problem=f"{path}: {error.strerror or error}"), status=CANNOT_WRITE)


def _move(source: str, target: str, *, force: bool) -> None:
    """Renames a file; without `force` never over another, whoever makes that meanwhile."""
    if force:
        os.replace(source, target)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as FAT or sshfs
        if os.path.lexists(target):
            raise FileExistsError from None
        os.rename(source, target)


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _claimed(path: str) -> int | None:
    """The lock of a room that is ours now, and empty; None when somebody else has it."""
    while True:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        try:
            lock = _locked(path, os.O_CREAT)
        except FileNotFoundError:
            continue  # its last owner has just removed it
        if lock is None:
            return None
        if is_at(lock, f"{path}/{_LOCK}"):
            _empty(path)
            return lock
        os.close(lock)


def _locked(path: str, flags: int = 0) -> int | None:
    """A room's lock, held; None when another process holds it. It ends with the process."""
    flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{path}/{_LOCK}", flags, 0o600)
    try:
        take(fd)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def sweep(folder: str) -> list[str]:
    """Removes the rooms of pulls that died, and what one had placed without its description.

    Returns:
        The rooms that were removed.
    """
    swept: list[str] = []
    for entry in os.listdir(folder):
        path = f"{folder}/{entry}"
        if not (entry.startswith(".") and entry.endswith(_ENDING)) or not _is_own(path):
            continue
        try:
            lock = _locked(path)
        except OSError:
            continue  # not one of ours, or being made
        if lock is not None:
            _take_back(folder, path)
            _remove(path, lock)
            swept.append(entry)
    return swept


def _is_own(path: str) -> bool:
    found = os.lstat(path)
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000


def _take_back(folder: str, path: str) -> None:
    """Undoes a placing that was cut short: its files carry two names, and the last has none."""
    try:
        with open(f"{path}/{_PLACED}", encoding="utf-8") as file:
            finals = file.read().splitlines()
    except (OSError, ValueError):
        return
    mine = {_identity(f"{path}/{name}") for name in os.listdir(path)}
    if not finals or _identity(f"{folder}/{finals[-1]}") in mine:
        return
    for final in finals:
        if os.path.basename(final) == final and _identity(f"{folder}/{final}") in mine:
            os.unlink(f"{folder}/{final}")


def _identity(path: str) -> tuple[int, int] | str:
    """What tells a file from all others; a text that equals none when it is not there."""
    try:
        found = os.lstat(path)
    except OSError:
        return path
    return found.st_dev, found.st_ino


def _empty(path: str) -> None:
    for name in os.listdir(path):
        if name != _LOCK:
            os.unlink(f"{path}/{name}")


def _remove(path: str, lock: int) -> None:
    """Removes a room whose lock is held, and lets go of it."""
    try:
        _empty(path)
        os.unlink(f"{path}/{_LOCK}")
        os.rmdir(path)
    except OSError:
        pass  # the next pull sweeps it
    finally:
        os.close(lock)
