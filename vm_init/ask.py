"""The child that becomes the caller finally, reads the description, and writes the request.

The parser of what a user wrote never runs as root, and root never opens a path that a user chose.
The child answers with a frame of `vm_init.request`, or with `fault STATUS` and a message.
`ask` runs before a ledger, a lock or a netlink socket is open.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from vm_init import hardening
from vm_init.caller import Caller
from vm_init.errors import InitError, escape
from vm_init.hardening import IS_LINUX, close_from, prctl, set_capabilities
from vm_init.request import MAX_BYTES, Request, RequestError, parse

T = TypeVar("T")
FAULT = re.compile(rb"fault (6[4569]|7[07])\n(.*)", re.DOTALL)
TIMEOUT_S = 4.5
KILL_TIMEOUT_S = 0.5  # one that waits for a dead file server may stay
LIMITS = {"RLIMIT_AS": 256 << 20, "RLIMIT_CPU": 2, "RLIMIT_NOFILE": 16}
NONE_OF = ("RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_CORE")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ask(
    caller: Caller, vm: str, confdir: str, meanwhile: Callable[[], T]
) -> tuple[tuple[Request, ...], T]:
    """What a user's description requests, read by a process that is that user's.

    Args:
        caller: the user.
        vm: the VM's name.
        confdir: the user's VMCONF_DIR; empty for ~/vm.
        meanwhile: what to do while the description is read; its result is returned too.

    Raises:
        InitError: what is wrong with the description, or that there was no answer in time.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # `_end` waits for it
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _run_child(caller, vm, confdir, theirs, parent)
    os.close(theirs)
    try:
        done = meanwhile()
        frame = _receive(ours)
    finally:
        os.close(ours)
        status = _end(child)
    if len(frame) <= MAX_BYTES and (fault := FAULT.fullmatch(frame)):
        lines = fault[2].decode("latin-1").split("\n")
        raise InitError("\n".join(map(escape, lines)), int(fault[1]))
    with suppress(RequestError):
        return parse(frame), done
    problem = f"the description could not be read (its reader ended with status {status})"
    raise InitError(problem, os.EX_DATAERR)


def _run_child(caller: Caller, vm: str, confdir: str, pipe: int, parent: int) -> NoReturn:
    """Never returns, whatever happens."""
    try:
        _confine(pipe)
        become(caller, confdir)
        if IS_LINUX:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the ids: their change resets it
        if os.getppid() == parent:
            from vm_init import description  # it brings the parser: never before root is given up

            os.write(3, description.answer(vm)[:MAX_BYTES])
            os._exit(0)
    finally:
        os._exit(1)


def _confine(pipe: int) -> None:
    """No terminal, no file, no descriptor but /dev/null and, as 3, the pipe; small limits."""
    os.setsid()
    null, kept = os.open(os.devnull, os.O_RDWR), os.dup(pipe)
    for number, source in ((0, null), (1, null), (2, null), (3, kept)):
        os.dup2(source, number)
    close_from(4)
    for name, limit in (LIMITS | dict.fromkeys(NONE_OF, 0)).items():
        resource.setrlimit(getattr(resource, name), (limit, limit))


def become(caller: Caller, confdir: str = "") -> None:
    """Makes this process the user's finally, with an environment of its own.

    Raises:
        InitError: root could be had again, or an id is not as it must be (70).
    """
    os.setgroups(caller.groups)
    os.setresgid(caller.gid, caller.gid, caller.gid)
    os.setresuid(caller.uid, caller.uid, caller.uid)
    if IS_LINUX:
        set_capabilities(())
        prctl(hardening.PR_SET_NO_NEW_PRIVS, 1)
        prctl(hardening.PR_SET_DUMPABLE, 0)
    ids = ((caller.uid,) * 3, (caller.gid,) * 3)
    is_caller = (os.getresuid(), os.getresgid()) == ids and {*os.getgroups()} == {*caller.groups}
    with suppress(PermissionError):
        os.setresuid(0, 0, 0)
        is_caller = False
    if not is_caller:
        raise InitError("root cannot be given up", os.EX_SOFTWARE)
    os.environ.clear()
    os.environ.update(HOME=caller.home, USER=caller.name, LOGNAME=caller.name, PATH="/usr/bin:/bin")
    if confdir:
        os.environ["VMCONF_DIR"] = confdir


def _receive(pipe: int) -> bytes:
    """The whole answer; cut off after TIMEOUT_S seconds, or when it is too long to be right."""
    frame, until = b"", time.monotonic() + TIMEOUT_S
    while len(frame) <= MAX_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise InitError("the description could not be read in time", os.EX_DATAERR)
        if not (chunk := os.read(pipe, MAX_BYTES + 1)):
            break
        frame += chunk
    return frame


def _end(child: int) -> int:
    """Kills the child; its exit status, minus a signal's number, 0 when it cannot be had."""
    with suppress(PermissionError):  # root without CAP_KILL: the child ends when we do
        os.kill(child, signal.SIGKILL)
    signal.sigtimedwait({signal.SIGCHLD}, KILL_TIMEOUT_S)
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else 0
