"""The one exception of root's half, its log, and text of others made safe to show."""

from __future__ import annotations

import os
import syslog
from contextlib import suppress

_LONGEST = 512
_pending: list[str] = []


class InitError(Exception):
    """The end of a run that changes nothing more.

    Attributes:
        status: the exit status: 77 refused, 78 wrong policy or installation, 75 busy, 69 the host
            lacks something, 64 wrong command line, 66 no such VM, 65 wrong description, 70 a bug.
    """

    def __init__(self, message: str, status: int = os.EX_NOPERM) -> None:
        super().__init__(message)
        self.status = status


def escape(text: str) -> str:
    """A text of others with everything but printable ASCII escaped."""
    return ascii(text)[1:-1]


def log(uid: int, act: str, thing: str, result: str) -> None:
    """Collects a line for syslog: trusted parts first, the rest escaped.

    Args:
        uid: the user's.
        act: give, refuse or release.
        thing: what it was about; may hold text of the user.
        result: how it went; may hold text of the user.
    """
    line = f"uid={uid} act={act} thing={escape(thing)} result={escape(result)}"
    _pending.append(line[:_LONGEST])


def write_log() -> None:
    """Writes the collected lines (syslog(3)); a log that cannot be written stops nothing."""
    syslog.openlog("vm-init", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    for line in _pending:
        with suppress(OSError, ValueError):
            syslog.syslog(syslog.LOG_NOTICE, line)
    _pending.clear()
