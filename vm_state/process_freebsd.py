"""What /proc and pidfds tell elsewhere of a process that is not our child. Untested on FreeBSD.

Source: ps(1), lstart and stat; kqueue(2), EVFILT_PROC.
"""

from __future__ import annotations

import calendar
import os
import select
import subprocess
import time

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["exit_code", "started_at"]

_PATIENCE_S = 10
_FORMAT = "%a %b %d %H:%M:%S %Y"


def started_at(pid: int) -> int:
    """When a process started, in seconds since 1970; 0 if none of this number runs."""
    try:
        shown = subprocess.run(
            ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "LC_ALL": "C", "TZ": "UTC"},
            timeout=_PATIENCE_S,
            check=True,
            text=True,
        ).stdout.split()
        if shown[0].startswith("Z"):
            return 0
        return calendar.timegm(time.strptime(" ".join(shown[1:6]), _FORMAT))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def exit_code(fd: int) -> int | None:
    """How a process has ended, by the kqueue that told of it: minus a signal's number, or a status.

    None when the kqueue does not say.
    """
    bsd: Any = select
    queue = bsd.kqueue.fromfd(os.dup(fd))  # it closes what it is given
    try:
        events = queue.control(None, 1, 0)
    finally:
        queue.close()
    return os.waitstatus_to_exitcode(events[0].data) if events else None
