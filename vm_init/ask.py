"""The child that becomes the caller for good, reads his description, and says what it wants.

The parser of what a user wrote never runs as root, and root never opens a path that a user chose.
What comes back is a frame of `vm_init.request`, or what is wrong with the description:

    fault STATUS
    TEXT

`ask` is called before a ledger, a lock or a netlink socket is open.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from vm_init import start
from vm_init.arguments import vm_name
from vm_init.request import MOST_BYTES, Request, RequestError, parse, render
from vm_init.start import IS_LINUX, capabilities, close_from, prctl
from vm_init.verdict import Caller, InitError, plain

T = TypeVar("T")
FAULT = re.compile(rb"fault (6[4569]|7[07])\n(.*)", re.DOTALL)
WRONG, BUG = 65, 70

PATIENCE_S = 4.5  # with the next, 5
LAST_S = 0.5  # for a killed child to be gone; one that waits for a dead file server may stay
LIMITS = {"RLIMIT_AS": 256 << 20, "RLIMIT_CPU": 2, "RLIMIT_NOFILE": 16}
NONE_OF = ("RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_CORE")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ask(
    who: Caller, vm: str, confdir: str, meanwhile: Callable[[], T]
) -> tuple[tuple[Request, ...], T]:
    """What a user's description wants, read by a process that is that user's; and something else.

    Args:
        who: the user.
        vm: the VM's name.
        confdir: the user's VMCONF_DIR; empty for ~/vm.
        meanwhile: what to do while the description is read; its result is returned too.

    Raises:
        InitError: what is wrong with the description, or that nothing came in time.
    """
    vm_name(vm)
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _child(who, vm, confdir, theirs, parent)
    os.close(theirs)
    try:
        done = meanwhile()
        frame = _receive(ours)
    finally:
        os.close(ours)
        status = _end(child)
    return _answer(frame, status), done


def _child(who: Caller, vm: str, confdir: str, pipe: int, parent: int) -> NoReturn:
    """Never returns, whatever happens."""
    try:
        _confine(pipe)
        become(who, confdir)
        if IS_LINUX:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the ids: their change takes it away
        if os.getppid() == parent:
            os.write(3, _frame(vm))
            os._exit(0)
    finally:
        os._exit(1)


def _confine(pipe: int) -> None:
    """No terminal, no file, no descriptor but /dev/null and, as 3, the pipe; small limits."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    kept = os.dup(pipe)
    for number, source in ((0, null), (1, null), (2, null), (3, kept)):
        os.dup2(source, number)
    close_from(4)
    for name, limit in (LIMITS | dict.fromkeys(NONE_OF, 0)).items():
        resource.setrlimit(getattr(resource, name), (limit, limit))


def become(who: Caller, confdir: str = "") -> None:
    """Makes this process the user's for good, with an environment of his own.

    Raises:
        InitError: root could be had again, or something else is not as it must be.
    """
    os.setgroups([who.gid, *(each for each in who.groups if each != who.gid)])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    if IS_LINUX:
        capabilities(())
        prctl(start.PR_SET_NO_NEW_PRIVS, 1)
        prctl(start.PR_SET_DUMPABLE, 0)
    is_his = (os.getresuid(), os.getresgid()) == ((who.uid,) * 3, (who.gid,) * 3)
    if not is_his or {who.gid, *os.getgroups()} != {who.gid, *who.groups} or _is_root_again():
        raise InitError("root cannot be given up", BUG)
    given = {"HOME": who.home, "USER": who.name, "LOGNAME": who.name, "PATH": "/usr/bin:/bin"}
    os.environ.clear()
    os.environ.update(given | ({"VMCONF_DIR": confdir} if confdir else {}))


def _is_root_again() -> bool:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return False
    return True


def _frame(vm: str) -> bytes:
    from vm_init import wanted  # it brings the parser: never before root is given up

    try:
        return render(wanted.read(vm))
    except InitError as error:
        text = str(error).encode("ascii", "backslashreplace")
        return f"fault {error.status}\n".encode() + text[: MOST_BYTES - 16]


def _receive(pipe: int) -> bytes:
    """All that comes; cut off after `PATIENCE_S` seconds, or when it is too long to be right."""
    frame, until = b"", time.monotonic() + PATIENCE_S
    while len(frame) <= MOST_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise InitError("the description could not be read in time", WRONG)
        if not (came := os.read(pipe, MOST_BYTES + 1)):
            break
        frame += came
    return frame


def _end(child: int) -> int:
    """How the child ended (wait(2)'s status): it is killed if it has not; 0 if it cannot be."""
    with suppress(PermissionError):  # root without CAP_KILL: it ends when we do
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, os.WNOHANG)[1] if _is_gone(child) else 0


def _is_gone(child: int) -> bool:
    if sys.platform == "linux":
        watched = os.pidfd_open(child)
        try:
            return bool(select.select([watched], [], [], LAST_S)[0])
        finally:
            os.close(watched)
    else:
        queue = select.kqueue()
        ends = select.kevent(child, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        try:
            return bool(queue.control([ends], 1, LAST_S))
        finally:
            queue.close()


def _answer(frame: bytes, status: int) -> tuple[Request, ...]:
    if len(frame) <= MOST_BYTES and (fault := FAULT.fullmatch(frame)):
        raise InitError(_shown(fault[2]), int(fault[1]))
    with suppress(RequestError):
        return parse(frame)
    ended = f"signal {status & 127}" if status & 127 else f"status {status >> 8}"
    raise InitError(f"the description could not be read (its reader ended with {ended})", WRONG)


def _shown(text: bytes) -> str:
    """What an untrusted process says, as lines of printable ASCII."""
    lines = text.decode("latin-1").split("\n")
    told = (line if line.isascii() and line.isprintable() else plain(line) for line in lines)
    return "\n".join(told)
