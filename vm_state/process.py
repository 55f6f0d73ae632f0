"""A process: started by us, or taken over from a supervisor that is gone.

Linux watches it by a pidfd, FreeBSD by a kqueue and ps(1); untested on FreeBSD.
"""

from __future__ import annotations

import os
import signal
import time

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Process", "signal_name", "spawn", "started_at", "uptime"]

_LINUX = hasattr(os, "pidfd_open")
# A terminal's Ctrl-C and hang-up reach its whole group; what they mean to a guest is for the
# supervisor to decide, so the hypervisor does not see them.
_SUPERVISORS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
_TIMEOUT_S = 10
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Process:
    """A process by its descriptor, which no later process can inherit as it can a number.

    Attributes:
        pid: its number.
        fd: becomes readable when the process ends.
        is_child: whether its exit status can be asked for.
    """

    def __init__(self, pid: int, *, is_child: bool) -> None:
        self.pid = pid
        self.is_child = is_child
        self.fd = _descriptor(pid)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has ended is no error."""
        try:
            if _LINUX:
                signal.pidfd_send_signal(self.fd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self) -> int | None:
        """Its exit code once `fd` is readable, minus a signal's number; None if unknown.

        Of a process that is not our child FreeBSD knows it, and Linux does not.
        """
        if not self.is_child:
            return None if _LINUX else _read_exit_code(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """Ends it at once, and waits until it has ended, at most 10 seconds."""
        import select

        self.send(signal.SIGKILL)
        if select.select([self.fd], [], [], _TIMEOUT_S)[0]:
            self.wait()

    def close(self) -> None:
        """Lets go of the process."""
        os.close(self.fd)


def _read_exit_code(fd: int) -> int | None:
    """How a process ended, from the kqueue that reported it; None when it does not say."""
    import select

    bsd: Any = select
    queue = bsd.kqueue.fromfd(os.dup(fd))  # closing the queue closes its descriptor
    try:
        events = queue.control(None, 1, 0)
    finally:
        queue.close()
    return os.waitstatus_to_exitcode(events[0].data) if events else None


def _descriptor(pid: int) -> int:
    """A descriptor that polls readable when a process ends: pidfd_open(2), kqueue(2).

    Raises:
        ProcessLookupError: there is no such process.
    """
    if _LINUX:
        return os.pidfd_open(pid)
    import select

    bsd: Any = select
    queue = bsd.kqueue()
    end = bsd.kevent(pid, bsd.KQ_FILTER_PROC, bsd.KQ_EV_ADD, bsd.KQ_NOTE_EXIT)
    queue.control([end], 0)
    return os.dup(queue.fileno())


def spawn(argv: list[str], fds: Mapping[int, int], environment: Mapping[str, str]) -> int:
    """Starts a program and returns its process id.

    Args:
        argv: its arguments, the first one its path.
        fds: its descriptor -> ours. It also inherits those that we were started with, such as
            `3<>/dev/tap5`, but no other that we have opened.
        environment: its variables.

    Raises:
        OSError: it cannot be started.
    """
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in fds.items()]
    return os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=actions,
        setsigmask=_SUPERVISORS,
        setsigdef=_IGNORED_BY_PYTHON,
    )


def signal_name(number: int) -> str:
    """A signal's name; most of the real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if none of this number runs.

    On FreeBSD in seconds since 1970 instead.

    With the boot's id it tells a process from a later one of the same number (proc(5), stat). One
    that has ended is none, even if its parent never asks how: not every container has an init.
    """
    if not _LINUX:
        return _ask_ps(pid)
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return 0 if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def _ask_ps(pid: int) -> int:
    """When a process started, in seconds since 1970; 0 if none of this number runs.

    Source: ps(1), lstart and stat.
    """
    import calendar
    import subprocess

    try:
        fields = subprocess.run(
            ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "LC_ALL": "C", "TZ": "UTC"},
            timeout=_TIMEOUT_S,
            check=True,
            text=True,
        ).stdout.split()
        if fields[0].startswith("Z"):
            return 0
        return calendar.timegm(time.strptime(" ".join(fields[1:6]), "%a %b %d %H:%M:%S %Y"))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def uptime(started: int) -> float:
    """How many seconds ago a process started, from the value of `started_at`."""
    if not _LINUX:
        return time.time() - started
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
