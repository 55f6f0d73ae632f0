"""qemu-img in a room of its own: one folder to write, nothing else to read, no network, limits."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys

from vm_pull.images import limited
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Limits", "program", "run", "sandbox"]

LACKING = 69
FAILED = 74
MIB = 1 << 20
TAIL = 4096
"""Bytes of what a program said last that are looked at."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/"}
INSIDE = "/disk"
SYSTEM = ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
LIBRARIES = "/etc/ld.so.cache"


class Limits(Value):
    """What a run may use at most.

    Attributes:
        cpu_s: seconds on a processor.
        file: bytes of the largest file it writes.
        memory: bytes of its address space.
    """

    cpu_s: int
    file: int
    memory: int = 2048 * MIB

    def __str__(self) -> str:
        """As `limited` reads them. No core: it would hold the guest's data."""
        return f"CPU={self.cpu_s},FSIZE={self.file},AS={self.memory},NOFILE=256,CORE=0"


def program() -> str:
    """The path of qemu-img.

    Raises:
        VmError: there is none (69).
    """
    found = shutil.which("qemu-img")
    if found is None:
        hint = "install qemu-utils (Debian, Ubuntu), qemu-img (Fedora) or qemu-tools (FreeBSD)"
        raise VmError(Fault(problem="qemu-img is missing", hint=hint), status=LACKING)
    return os.path.abspath(found)


def sandbox(bwrap: str, folder: str) -> list[str]:
    """The words before a program that put it into a sandbox with one folder.

    Args:
        bwrap: the path of bubblewrap.
        folder: what the program may read and write; it starts in it.
    """
    return [
        bwrap, "--unshare-all", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL",
        "--ro-bind", "/usr", "/usr",
        *(word for path in (*SYSTEM, LIBRARIES) for word in ("--ro-bind-try", path, path)),
        "--dev", "/dev",
        "--bind", folder, INSIDE,
        "--chdir", INSIDE,
        "--",
    ]  # fmt: skip


def run(folder: str, words: Sequence[str], limits: Limits, *, tell: Callable[[str], None]) -> str:
    """Runs qemu-img in a folder, and returns what it printed, a mebibyte of it at most.

    Args:
        folder: where it runs, and all it can reach.
        words: its arguments; paths in them begin with `./`.
        limits: what it may use.
        tell: is told when there is no sandbox and the limits must do.

    Raises:
        VmError: there is no qemu-img (69), or it fails (69 when the disk is full, else 74).
    """
    import tempfile

    qemu_img = program()
    room = _room(qemu_img, folder, tell)
    argv = [sys.executable, "-ISB", limited.__file__, str(limits), *room, qemu_img, *words]
    with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as said:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=said,
            env=ENVIRONMENT,
            cwd=folder,
        )
        code = _end(process)
        if code:
            raise _failure(shlex.join(["qemu-img", *words]), code, _tail(said.fileno()))
        return os.pread(out.fileno(), MIB, 0).decode(errors="replace")


def _room(qemu_img: str, folder: str, tell: Callable[[str], None]) -> list[str]:
    """The sandbox's words, when it works here: many containers allow none inside them."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        tell("bwrap is missing, so qemu-img runs without a sandbox, under limits only")
        return []
    words = sandbox(os.path.abspath(bwrap), os.path.realpath(folder))
    if not _works(words, qemu_img):
        tell("bwrap does not work here, so qemu-img runs without a sandbox, under limits only")
        return []
    return words


_tried: dict[tuple[str, ...], bool] = {}


def _works(words: list[str], qemu_img: str) -> bool:
    """Whether a sandbox can be made and qemu-img starts in it; each is tried once."""
    key = (*words, qemu_img)
    if key not in _tried:
        null = subprocess.DEVNULL
        argv = [*words, qemu_img, "--version"]
        done = subprocess.run(
            argv, stdin=null, stdout=null, stderr=null, env=ENVIRONMENT, check=False
        )
        _tried[key] = done.returncode == 0
    return _tried[key]


def _end(process: subprocess.Popen[bytes]) -> int:
    """Waits for a program; when we are interrupted it is ended first."""
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _tail(fd: int) -> str:
    """The last line that a program said."""
    size = os.fstat(fd).st_size
    text = os.pread(fd, TAIL, max(0, size - TAIL)).decode(errors="replace")
    return "".join(text.strip().splitlines()[-1:])


def _failure(line: str, code: int, said: str) -> VmError:
    # bwrap tells of a signal in its child as a shell does
    number = -code if code < 0 else code - 128 if code > 128 else 0
    ended = f"exit status {code}"
    if number in set(signal.Signals):
        ended = signal.Signals(number).name
    hints = {
        "SIGXCPU": "it took too long",
        "SIGKILL": "it took too long",
        "SIGXFSZ": "it wrote more than the disk has",
    }
    full = "No space left on device" in said
    hint = "make room and try again" if full else hints.get(ended, "")
    problem = ": ".join(part for part in (line, ended, said) if part)
    return VmError(Fault(problem=problem, hint=hint), status=LACKING if full else FAILED)
