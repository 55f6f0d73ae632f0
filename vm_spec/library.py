"""A VM's name -> its description's file; the only module of the language that opens files."""

from __future__ import annotations

import os
import stat

from vm_spec.decode import loads
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_spec.limits import MOST_BYTES
from vm_spec.names import SYNTAXES, confdir, names
from vm_spec.syntax import Context
from vm_spec.types import VmName

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_spec.machine import Description

    Judge = Callable[[os.stat_result, str], None]

__all__ = ["confdir", "content", "context", "find", "load", "names", "read", "stranger"]

NO_SUCH_VM, CANNOT_READ, REFUSED = 66, 66, 77


def context(file: str, name: str = "", overrides: tuple[tuple[str, str], ...] = ()) -> Context:
    """What a file is read for: by whom, and as what.

    Args:
        file: its path, or "-" for standard input.
        name: the machine's name, over the file's stem.
        overrides: (key, value) pairs laid over the description.
    """
    stem, ending = os.path.splitext(os.path.basename(file))
    return Context(
        file=file,
        folder=os.path.dirname(file),
        name=name or ("" if file == "-" else stem),
        user=_user(),
        uid=os.getuid(),
        home=os.path.expanduser("~"),
        confdir=confdir(),
        syntax="json" if file == "-" else SYNTAXES.get(ending, "toml"),
        overrides=overrides,
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def load(file: str, name: str = "", overrides: tuple[tuple[str, str], ...] = ()) -> Description:
    """The description in a file; "-" is standard input.

    Args:
        file: its path; .toml, .json, or .ucl and .conf through uclcmd.
        name: the machine's name, over the description's own.
        overrides: (key, value) pairs laid over the description.

    Raises:
        VmError: it cannot be read (66), is not safe to believe (77), or is wrong (65).
    """
    if name:
        overrides = (*overrides, ("name", name))
    here = context(file, overrides=overrides)
    if file == "-":
        text = _decoded(content("-", MOST_BYTES), "-")
        syntax = "json" if text.lstrip().startswith("{") else "toml"
        return loads(text, replace(here, syntax=syntax))
    text = read(file)
    if here.syntax == "ucl":
        return loads(_from_ucl(file), replace(here, syntax="json"))
    return loads(text, here)


def find(name: str) -> str:
    """The file of the VM of this name in the folder of descriptions.

    Raises:
        VmError: the name is none, or there is no such VM (66).
    """
    try:
        VmName(name)
    except ValueError as error:
        hint = f"a file is run by vm-run -c {name}" if "/" in name else ""
        raise VmError(Fault(problem=f"a VM's name {error}", hint=hint), status=64) from None
    folder = confdir()
    for ending in SYNTAXES:
        path = f"{folder}/{name}{ending}"
        if os.path.lexists(path):
            return path
    raise VmError(_no_such_vm(name, folder), status=NO_SUCH_VM)


def _no_such_vm(name: str, folder: str) -> Fault:
    from vm_spec.reader import nearest

    close = nearest(name, (known for known, _ in names(folder)))
    hint = f"did you mean {close}?" if close else "vm-list shows what there is"
    return Fault(problem=f"there is no VM {name} in {folder}", hint=hint)


def read(path: str) -> str:
    """A description's text.

    Raises:
        VmError: it is no regular file, too long, unreadable, no text; or somebody else could have
            written it: what QEMU is told to do, it does with the caller's rights.
    """
    return _decoded(content(path, MOST_BYTES, _refuse_strangers), path)


def content(path: str, most_bytes: int, judge: Judge = lambda _found, _path: None) -> bytes:
    """What a file holds, whoever could have written it.

    Args:
        path: the file's; a device or a FIFO does not hold us up; "-" is standard input, which
            does, and of which somewhat more than `most_bytes` may come.
        most_bytes: how much it may be.
        judge: looks at the open file before it is read, and may raise.

    Raises:
        VmError: it is no regular file, or unreadable (66), or too long (65).
    """
    if path == "-":
        return _standard_input(most_bytes)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        opened = os.open(path, flags)
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise VmError(Fault(file=path, problem=problem), status=CANNOT_READ) from None
    try:
        found = os.fstat(opened)
        _demand_a_short_file(found, path, most_bytes)
        judge(found, path)
        return os.read(opened, most_bytes + 1)
    finally:
        os.close(opened)


def _demand_a_short_file(found: os.stat_result, path: str, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise VmError(Fault(file=path, problem="is not a regular file"), status=CANNOT_READ)
    if found.st_size > most_bytes:
        problem = f"is longer than {most_bytes // 1024} KiB: not a description"
        raise VmError(Fault(file=path, problem=problem))


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise VmError(Fault(file=path, problem="is not UTF-8 text")) from None


def _refuse_strangers(found: os.stat_result, path: str) -> None:
    """Refuses what somebody else than the caller or root can write."""
    folder = os.stat(os.path.dirname(path) or ".")
    sticky = folder.st_mode & stat.S_ISVTX
    problem = stranger(found, "it")
    if not problem and not sticky:
        problem = stranger(folder, "its folder")
    if problem:
        hint = "take that right away (chmod go-w), or copy the file to a place of your own"
        raise VmError(Fault(file=path, problem=problem, hint=hint), status=REFUSED)


def stranger(found: os.stat_result, what: str) -> str:
    """Who else than the caller and root could write something, as a sentence; empty for nobody."""
    if found.st_uid not in (0, os.getuid()):
        return f"{what} belongs to another user"
    if found.st_mode & stat.S_IWOTH:
        return f"{what} can be written by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid != os.getgid() and found.st_gid != 0:
        return f"{what} can be written by another group"
    return ""


def _standard_input(most_bytes: int) -> bytes:
    text = b""
    while len(text) <= most_bytes and (chunk := os.read(0, most_bytes + 1)):
        text += chunk
    return text


def _from_ucl(path: str) -> str:
    """A UCL file as JSON, by uclcmd.

    Raises:
        VmError: uclcmd is not installed, or refuses the file.
    """
    import subprocess

    call = ["uclcmd", "get", "-c", "-f", path if path.startswith("/") else f"./{path}"]
    try:
        done = subprocess.run(call, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        hint = "install uclcmd (FreeBSD: pkg install uclcmd), or write the same in TOML or JSON"
        problem = "is UCL, and uclcmd is not installed"
        raise VmError(Fault(file=path, problem=problem, hint=hint), status=69) from None
    if done.returncode:
        problem = f"uclcmd refused it: {done.stderr.decode(errors='replace').strip()}"
        raise VmError(Fault(file=path, problem=problem))
    return _decoded(done.stdout, path)
