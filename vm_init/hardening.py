"""The process made root's own: after `start` nothing that the caller left behind has an effect.

sudo and doas pass on the caller's limits, ignored signals, directory, cgroup, scheduling, and
partly descriptors and environment. What only Linux has is left out elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Collection
from contextlib import suppress

from vm_init.errors import InitError

KEPT = ("SUDO_UID", "SUDO_GID", "SUDO_USER", "DOAS_USER", "VMCONF_DIR")
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# While root's half runs. What ends it anyway (SIGKILL, a SIGSEGV) the ledger survives.
BLOCKED = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGALRM),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2),
}
NO_LIMIT, MIB = resource.RLIM_INFINITY, 1 << 20
# What is requested, and the least to work with. Root's processes are not counted: no NPROC.
LIMITS = {
    "RLIMIT_AS": (NO_LIMIT, 512 * MIB), "RLIMIT_CPU": (NO_LIMIT, 60),
    "RLIMIT_DATA": (NO_LIMIT, 256 * MIB), "RLIMIT_FSIZE": (NO_LIMIT, MIB),
    "RLIMIT_NOFILE": (4096, 64), "RLIMIT_STACK": (8 * MIB, MIB),
}  # fmt: skip
IS_LINUX = sys.platform == "linux"
# linux/prctl.h, linux/capability.h, asm/unistd.h
PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_CAPBSET_DROP = 4, 23, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAP_CHOWN, CAP_NET_ADMIN, CAPABILITY_VERSION_3 = 0, 12, 0x20080522
SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}


def start() -> dict[str, str]:
    """Makes this process root's half.

    Returns:
        The caller's variables that say who asks and where the descriptions are.

    Raises:
        InitError: this is not wholly root (77), or the host gives too little to work with (69).
            Nothing outside of this process has changed.
    """
    if (os.getresuid(), os.getresgid()) != ((0, 0, 0), (0, 0, 0)):
        raise InitError("vm-init must run as root: sudo vm-init")
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    os.environ.clear()
    os.environ.update(CLEAN)
    while os.open(os.devnull, os.O_RDWR) < 3:  # 0 to 2 are open, and nothing else is
        pass
    for standard in range(3):
        os.set_inheritable(standard, True)
    close_from(3)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    raise_limits()
    os.umask(0o077)
    os.chdir("/")
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 0)
        reset_scheduling()
        leave_cgroups()
        require_host_network()
    with suppress(PermissionError):  # it leads its group, as under sudo's use_pty
        os.setsid()
    return environment


def close_from(first: int) -> None:
    """Closes every descriptor from this number: close_range(2), also above the limit."""
    os.closerange(first, 2**31 - 1)


def raise_limits() -> None:
    """Raises the caller's limits.

    Raises:
        InitError: one of them is too low, and root here may not raise it (69).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, (wanted, least) in LIMITS.items():
        which: int = getattr(resource, name)
        for limit in (resource.getrlimit(which)[1], wanted):
            with suppress(OSError, ValueError):  # hard limits take CAP_SYS_RESOURCE
                resource.setrlimit(which, (limit, limit))
        allowed = resource.getrlimit(which)[0]
        if allowed != NO_LIMIT and allowed < least:
            problem = f"{name} is {allowed} and cannot be raised to {least}; see ulimit"
            raise InitError(problem, os.EX_UNAVAILABLE)


def reset_scheduling() -> None:
    """Resets class, nice value, I/O class and processors: a slow lock owner blocks all users."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with suppress(OSError):  # a container may lack CAP_SYS_NICE
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if number := SYS_IOPRIO_SET.get(os.uname().machine):
        ctypes.CDLL(None).syscall(number, 1, 0, 0)  # IOPRIO_WHO_PROCESS, this one, no class


def leave_cgroups() -> None:
    """Moves to the root cgroup where it can: the owner of a cgroup can freeze and kill its members.

    A session of systemd owns one of version 2, a container manager one of the freezer of version 1.
    """
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        for controllers, path in [line.rstrip("\n").split(":", 2)[1:] for line in file]:
            if path != "/" and controllers in {"", "freezer"}:
                for root in (f"/{controllers}",) if controllers else ("", "/unified"):
                    procs = f"/sys/fs/cgroup{root}/cgroup.procs"
                    with suppress(OSError), open(procs, "r+b", 0) as moved:
                        moved.write(b"0")


def require_host_network() -> None:
    """Refuses a network namespace that is not the first process's.

    The PID namespace of /proc says which process is the first, and only root there can choose it:
    a container, and a test, with both namespaces its own is a host.
    """
    try:
        is_same = os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net")
    except OSError as error:
        problem = f"the network namespace is unknown: {error.strerror}"
        raise InitError(problem, os.EX_UNAVAILABLE) from None
    if not is_same:
        raise InitError("this is not the host's network: run vm-init outside of the namespace")


def drop_capabilities() -> None:
    """Gives up all that root may do but for interfaces and owners, finally.

    Three ways: no program gives more (no_new_privs), no more can be had (the bounding set), and
    this is all that is left. Root still owns root's files.

    Raises:
        InitError: the kernel refused (69).
    """
    if not IS_LINUX:
        return
    kept = {CAP_CHOWN, CAP_NET_ADMIN}
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    each = 0
    while ctypes.CDLL(None).prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0:
        if each not in kept:
            prctl(PR_CAPBSET_DROP, each)
        each += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    set_capabilities(kept)


def set_capabilities(kept: Collection[int]) -> None:
    """Keeps at most these capabilities, none of them inheritable.

    Raises:
        InitError: the kernel refused, because one of them is not there for instance (69).
    """
    low = sum(1 << each for each in kept)  # all that we keep are below 32
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    if ctypes.CDLL(None).capset(header, sets) != 0:
        problem = "the kernel refused capset: root here lacks NET_ADMIN or CHOWN"
        raise InitError(problem, os.EX_UNAVAILABLE)


def prctl(option: int, value: int) -> None:
    """Sets a property of this process (prctl(2)).

    Raises:
        InitError: the kernel refused (69).
    """
    arguments = map(ctypes.c_ulong, (value, 0, 0, 0))
    if ctypes.CDLL(None).prctl(option, *arguments) != 0:
        raise InitError(f"the kernel refused prctl {option}, {value}", os.EX_UNAVAILABLE)
