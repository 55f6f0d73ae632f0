"""Files and folders that only root could have written.

What is asked: root owns it, neither a group nor everybody may write it, and the same of each folder
on the way from `/`. A sticky folder is not enough: others may put names there. An access list of
POSIX.1e shows in the group's bits; one of NFSv4 need not, and is not looked for.
"""

from __future__ import annotations

import errno
import os
import stat

from vm_init.verdict import InitError

MOST_BYTES = 256 * 1024
MOST_STEPS = 256

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: a FIFO in its place would hold us until somebody writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LINK = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}  # FreeBSD's O_NOFOLLOW says EMLINK


class Opened(int):
    """An open descriptor; `with` gives it, and closes it in the end."""

    def __enter__(self) -> int:
        """The descriptor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self)


def opened(name: str, flags: int, shown: str, folder: int | None = None) -> Opened:
    """A file or folder below an open one; what is made is root's alone.

    Raises:
        InitError: status 78, about it as it is shown.
        FileNotFoundError: it is not there.
    """
    try:
        return Opened(os.open(name, flags, 0o600, dir_fd=folder))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _LINK:
            raise InitError(f"{shown} is a symbolic link, or not a folder", 78) from None
        raise InitError(f"{shown} cannot be opened: {error.strerror}", 78) from None


def text(path: str) -> str:
    """What the kernel says in a file of sysfs, which may be absent."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096).strip()
    except OSError:
        return ""


def read(path: str, owner: int = 0) -> bytes:
    """The bytes of a regular file, opened once, by way of folders that are looked at one by one.

    Args:
        path: absolute, without `.`, `..` and symbolic links.
        owner: whose the file must be; a folder on the way must be his or root's.

    Raises:
        InitError: status 78, naming the first part that is unsafe, or the file when it is no
            regular one, cannot be read, or is larger than 256 KiB.
        FileNotFoundError: it is not there, and nobody but root could change that.
    """
    parts = _parts(path)
    here, done = os.open("/", _FOLDER), "/"
    try:
        for part in parts[:-1]:
            _demand(here, done, owner, "folder")
            inner = opened(part, _FOLDER, done := os.path.join(done, part), here)
            os.close(here)
            here = inner
        _demand(here, done, owner, "folder")
        file = opened(parts[-1], _FILE, path, here)
    finally:
        os.close(here)
    with file as fd:
        _demand(fd, path, owner, "file")
        return _whole(fd, path)


def _parts(path: str) -> list[str]:
    parts = path.split("/")[1:]
    if not path.startswith("/") or "\0" in path or not {"", ".", ".."}.isdisjoint(parts):
        raise InitError(f"{path!a} is not an absolute path without '.' and '..'", 78)
    return parts


def _demand(fd: int, path: str, owner: int, kind: str) -> None:
    status, is_file = os.fstat(fd), kind == "file"
    if not (stat.S_ISREG if is_file else stat.S_ISDIR)(status.st_mode):
        raise InitError(f"{path} is not a regular {kind}", 78)
    if fault := _fault(status, {owner} if is_file else {0, owner}):
        raise InitError(f"{path} {fault}: only its owner may be able to write it", 78)


def _whole(fd: int, path: str) -> bytes:
    try:
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InitError(f"{path} cannot be read: {error.strerror}", 78) from None
    if len(data) > MOST_BYTES:
        raise InitError(f"{path} is larger than {MOST_BYTES // 1024} KiB", 78)
    return data


def _fault(status: os.stat_result, owners: set[int]) -> str:
    if status.st_uid not in owners:
        return f"belongs to uid {status.st_uid}"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if status.st_mode & stat.S_IWGRP:
        return f"can be written by group {status.st_gid}"
    return ""


def unsafe(path: str, owner: int = 0) -> str:
    """Empty, or what about a file, a folder or the way to it lets others than `owner` change it.

    Symbolic links are followed, since Python itself is often behind one: each link and each folder
    on both ways must be safe. To open a file by this answer would be a race: see `read`.
    """
    done = "/"
    try:
        todo = _parts(path)[::-1] if path != "/" else []
        for _ in range(MOST_STEPS):
            status = os.lstat(done)
            link = stat.S_ISLNK(status.st_mode)
            if fault := _of_any(status, {0, owner}, link):
                return f"{done} {fault}"
            if link:
                target = os.readlink(done)
                todo += [part for part in target.split("/")[::-1] if part not in ("", ".")]
                done = "/" if target.startswith("/") else os.path.dirname(done)
            elif todo:
                part = todo.pop()
                done = os.path.dirname(done) if part == ".." else os.path.join(done, part)
            else:
                return ""
    except OSError as error:
        return f"{done} cannot be looked at: {error.strerror}"
    except InitError as error:
        return str(error)
    return f"{path} is behind too many symbolic links"


def _of_any(status: os.stat_result, owners: set[int], link: bool) -> str:
    """What is unsafe about a file, a folder or a link; a link's own mode means nothing."""
    if link:
        return "" if status.st_uid in owners else f"belongs to uid {status.st_uid}"
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "is neither a regular file nor a folder"
    return _fault(status, owners)
