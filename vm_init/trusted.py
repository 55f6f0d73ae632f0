"""Files that only root could have written.

Root owns the file, neither a group nor others may write it, and the same of each directory on the
way from `/`. A sticky directory is not enough: others may add names to it. An access list of
POSIX.1e shows in the group's bits; one of NFSv4 need not, and is not looked for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from vm_init.errors import InitError

Kind = Callable[[int], bool]
MAX_BYTES = 256 * 1024
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: a FIFO in its place would block until another process writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LINK = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}  # FreeBSD's O_NOFOLLOW says EMLINK


class Opened(int):
    """An open descriptor; `with` gives it, and closes it."""

    def __enter__(self) -> int:
        """The descriptor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        os.close(self)


def open_at(name: str, flags: int, shown: str, directory: int | None = None) -> Opened:
    """A file or directory below an open one; a new one is root's alone.

    Raises:
        InitError: it cannot be opened, or is a symbolic link (78); `shown` names it.
        FileNotFoundError: it is not there.
    """
    try:
        return Opened(os.open(name, flags, 0o600, dir_fd=directory))
    except FileNotFoundError:
        raise
    except OSError as error:
        problem = f"cannot be opened: {error.strerror}"
        if error.errno in _LINK:
            problem = "is a symbolic link, or not a directory"
        raise InitError(f"{shown} {problem}", os.EX_CONFIG) from None


def read(path: str, owner: int = 0) -> bytes:
    """The bytes of a regular file, opened once, by way of directories that are checked one by one.

    Args:
        path: absolute, without `.`, `..` and symbolic links.
        owner: whose the file must be; a directory on the way must be theirs or root's.

    Raises:
        InitError: the first part that is unsafe, or the file when it is not a regular one or is
            larger than 256 KiB (78).
        FileNotFoundError: it is not there, and only root could change that.
    """
    *directories, name = path.split("/")
    if directories[:1] != [""] or "\0" in path or {"", ".", ".."} & {*directories[1:], name}:
        problem = f"{path!a} is not an absolute path without '.' and '..'"
        raise InitError(problem, os.EX_CONFIG)
    here, done = Opened(os.open("/", _DIRECTORY)), "/"
    for part in [*directories[1:], ""]:
        with here:
            require_safe(here, done, stat.S_ISDIR, {0, owner})
            done = os.path.join(done, part) if part else path
            here = open_at(part or name, _DIRECTORY if part else _FILE, done, here)
    with here:
        require_safe(here, path, stat.S_ISREG, {owner})
        with open(here, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InitError(f"{path} is larger than {MAX_BYTES // 1024} KiB", os.EX_CONFIG)
    return data


def require_safe(fd: int, path: str, is_kind: Kind, owners: set[int], mode: int = 0o022) -> None:
    """Refuses what is of another kind, of other owners, or has one of these bits of the mode.

    Raises:
        InitError: it is unsafe (78).
    """
    seen = os.fstat(fd)
    problem = ""
    if not is_kind(seen.st_mode):
        problem = "is not a regular file or directory"
    elif seen.st_uid not in owners:
        problem = f"belongs to uid {seen.st_uid}"
    elif seen.st_mode & mode:
        problem = f"has mode {stat.S_IMODE(seen.st_mode):o}: only its owner may be able to write it"
    if problem:
        raise InitError(f"{path} {problem}", os.EX_CONFIG)
