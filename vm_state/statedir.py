"""The state directory of a running VM: where it is, who may write to it, how files get into it."""

from __future__ import annotations

import os
import stat

from vm_spec.fault import Fault, VmError

__all__ = ["directory", "fallback_note", "longest_socket", "make", "names", "replace_file"]

_LONGEST_NAME = "/supervisor.sock"


def directory(name: str) -> str:
    """The state directory of the VM of this name."""
    return f"{_runtime()}/vm/{name}"


def _runtime() -> str:
    """The directory of all that this user runs, for every command.

    The XDG specification says to ignore a relative one. One that neither exists nor can be
    created, as in a job without a login, is passed over too.
    """
    preferred = os.environ.get("XDG_RUNTIME_DIR", "")
    if preferred.startswith("/") and (
        os.path.lexists(preferred) or os.access(os.path.dirname(preferred), os.W_OK | os.X_OK)
    ):
        return preferred
    return f"/tmp/vm-{os.getuid()}"  # noqa: S108  checked below


def fallback_note() -> str:
    """What to tell the user when XDG_RUNTIME_DIR is passed over; empty when it is not."""
    preferred, used = os.environ.get("XDG_RUNTIME_DIR", ""), _runtime()
    if not preferred.startswith("/") or used == preferred:
        return ""
    return f"XDG_RUNTIME_DIR={preferred} does not exist; using {used}"


def longest_socket() -> int:
    """The most bytes that the path of a socket may have: unix(7), and unix(4) of FreeBSD."""
    return 103 if os.uname().sysname == "FreeBSD" else 107


def make(name: str) -> str:
    """Creates the state directory of a VM, for this user alone, and returns its path.

    Raises:
        VmError: it cannot be created or others can write to it (77), or its path is too long for
            sockets (69).
    """
    path = directory(name)
    if len(os.fsencode(path)) + len(_LONGEST_NAME) > longest_socket():
        fault = Fault(
            problem=f"{path} is too long a path for sockets",
            hint="set XDG_RUNTIME_DIR to a shorter path",
        )
        raise VmError(fault, status=os.EX_UNAVAILABLE)
    everything = os.path.dirname(path)
    for part in (os.path.dirname(everything), everything, path):
        try:
            os.mkdir(part, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            hint = "set XDG_RUNTIME_DIR to a directory of your own, or unset it"
            problem = f"{part} cannot be created: {error.strerror}"
            raise VmError(Fault(problem=problem, hint=hint), status=os.EX_NOPERM) from None
        _check_private(part)
    return path


def names() -> list[str]:
    """The names of all state directories; none where others could have made them."""
    everything = os.path.dirname(directory("-"))
    try:
        _check_private(os.path.dirname(everything))
        _check_private(everything)
        return os.listdir(everything)
    except (OSError, VmError):
        return []


def _check_private(path: str) -> None:
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        problem = f"{path} is not a directory that only you can write to"
        hint = f"check it: ls -ld {path}"
        raise VmError(Fault(problem=problem, hint=hint), status=os.EX_NOPERM)


def replace_file(path: str, text: str) -> None:
    """Writes a file so that a reader sees either all of it or what was there before."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
