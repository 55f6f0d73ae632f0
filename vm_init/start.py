"""Root's half made its own: nothing that the caller left behind has an effect after `start`.

sudo and doas hand on the caller's limits, ignored signals, folder, cgroup, and partly descriptors
and environment. On other systems than Linux the calls that only Linux has are left out.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Collection
from contextlib import suppress

from vm_init.verdict import InitError

KEPT = ("SUDO_UID", "SUDO_GID", "SUDO_USER", "DOAS_USER", "VMCONF_DIR")
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

# For as long as root's half runs; what ends it anyway (KILL, a bug's SEGV) the ledger survives.
BLOCKED = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGALRM),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2),
}

NO_LIMIT = resource.RLIM_INFINITY
MIB = 1 << 20
# What is asked for, and the least to work with. Root's processes are not counted: no NPROC.
LIMITS = {
    "RLIMIT_AS": (NO_LIMIT, 512 * MIB),
    "RLIMIT_CPU": (NO_LIMIT, 60),
    "RLIMIT_DATA": (NO_LIMIT, 256 * MIB),
    "RLIMIT_FSIZE": (NO_LIMIT, MIB),
    "RLIMIT_NOFILE": (4096, 64),
    "RLIMIT_STACK": (8 * MIB, MIB),
}

IS_LINUX = sys.platform == "linux"
CGROUPS = "/sys/fs/cgroup"

# linux/prctl.h, linux/capability.h, asm-generic/unistd.h
PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_CAPBSET_DROP = 4, 23, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAP_CHOWN, CAP_NET_ADMIN = 0, 12
CAPABILITY_VERSION_3 = 0x20080522
SYS_CLOSE_RANGE = 436
LACKS = 69


def start() -> dict[str, str]:
    """Makes this process root's half.

    Returns:
        What of the caller's environment says who asks and where his descriptions are.

    Raises:
        InitError: this is not wholly root (77), or the host gives too little to work with (69).
            Nothing outside of this process was changed.
    """
    if os.getresuid() != (0, 0, 0):
        raise InitError("vm-init must be run as root: sudo vm-init")
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    os.environ.clear()
    os.environ.update(CLEAN)
    _descriptors()
    _signals()
    _limits()
    os.umask(0o077)
    os.chdir("/")
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 0)
        _leave_cgroups()
        _in_the_hosts_network()
    with suppress(PermissionError):  # it leads its group, as under sudo's use_pty
        os.setsid()
    return kept


def _descriptors() -> None:
    """0 to 2 are open, to /dev/null if to nothing else; nothing else is."""
    while os.open(os.devnull, os.O_RDWR) < 3:
        pass
    for standard in range(3):
        os.set_inheritable(standard, True)
    close_from(3)


def close_from(first: int) -> None:
    """Closes every descriptor from this number, also one above the limit of open files."""
    if not (IS_LINUX and _call("syscall", SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0) == 0):
        os.closerange(first, MIB if IS_LINUX else 2**31 - 1)  # FreeBSD's is one call


def _signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, (wanted, least) in LIMITS.items():
        which: int = getattr(resource, name)
        for limit in (resource.getrlimit(which)[1], wanted):
            with suppress(OSError, ValueError):  # hard limits need CAP_SYS_RESOURCE
                resource.setrlimit(which, (limit, limit))
        allowed = resource.getrlimit(which)[0]
        if allowed != NO_LIMIT and allowed < least:
            problem = f"{name} is {allowed} and cannot be raised to {least}; see ulimit"
            raise InitError(problem, LACKS)


def _leave_cgroups() -> None:
    """Goes where the caller can neither freeze nor kill it, if there is such a place.

    Whoever owns a cgroup may do both to what is in it, whosesoever it is; a session of systemd owns
    one of version 2, a container manager's may own one of the freezer of version 1.
    """
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            places = [line.rstrip("\n").split(":", 2)[1:] for line in file]
    except OSError:
        return
    for controllers, path in places:
        if path != "/" and controllers in {"", "freezer"}:
            for root in (f"/{controllers}",) if controllers else ("", "/unified"):
                # It may not be there; a container's own root may refuse processes.
                with suppress(OSError), open(f"{CGROUPS}{root}/cgroup.procs", "r+b", 0) as moved:
                    moved.write(b"0")


def _in_the_hosts_network() -> None:
    """Refuses a network namespace that is not the first process's.

    Which process is the first says the PID namespace of /proc, which nobody can choose who is not
    root in it already; so a container, and a test, with both namespaces its own, is a host.
    """
    try:
        is_same = os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net")
    except OSError as error:
        raise InitError(f"which network this is cannot be told: {error.strerror}", LACKS) from None
    if not is_same:
        raise InitError("this is not the host's network: run it outside of the namespace")


def drop_capabilities() -> None:
    """Gives up what root may do but for interfaces and owners, for good.

    It is told to the kernel three ways: no program gives more (no_new_privs), no more can be had
    (the bounding set), and this is all that there is. Root still owns root's files.

    Raises:
        InitError: the kernel refused.
    """
    if not IS_LINUX:
        return
    kept = {CAP_CHOWN, CAP_NET_ADMIN}
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    each = 0
    while _call("prctl", PR_CAPBSET_READ, each, 0, 0, 0) >= 0:  # until the kernel knows no more
        if each not in kept:
            prctl(PR_CAPBSET_DROP, each)
        each += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    capabilities(kept)


def capabilities(kept: Collection[int]) -> None:
    """Keeps of this process's capabilities at most these, none of them inheritable.

    Raises:
        InitError: the kernel refused, one of them is not there for instance.
    """
    import ctypes

    mask = sum(1 << each for each in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if ctypes.CDLL(None).capset(header, sets) != 0:
        raise InitError("the kernel refused capset: root here lacks NET_ADMIN or CHOWN", LACKS)


def prctl(option: int, value: int) -> None:
    """Sets a property of this process (prctl(2)).

    Raises:
        InitError: the kernel refused.
    """
    if _call("prctl", option, value, 0, 0, 0) != 0:
        raise InitError(f"the kernel refused prctl {option}, {value}", LACKS)


def _call(function: str, *arguments: int) -> int:
    """A call of the C library's, which is loaded after the environment is clean."""
    import ctypes

    called = getattr(ctypes.CDLL(None), function)
    return int(called(*map(ctypes.c_ulong, arguments)))
