"""One line to the system's log for each act and each refusal (syslog(3), LOG_AUTHPRIV)."""

from __future__ import annotations

import syslog

_MOST = 512


def line(uid: int, act: str, thing: str, result: str) -> str:
    """The line: what is trusted first, the rest with everything but printable ASCII escaped.

    Args:
        uid: of whoever asked.
        act: grant, refuse, release.
        thing: what it was about; may hold what the caller wrote.
        result: how it went; may hold what the caller wrote.
    """
    return f"uid={uid} act={act} thing={_escaped(thing)} result={_escaped(result)}"[:_MOST]


def _escaped(text: str) -> str:
    return ascii(text)[1:-1]


def log(uid: int, act: str, thing: str, result: str) -> None:
    """Logs; a log that cannot be written stops nothing."""
    try:
        syslog.openlog("vm-init", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_NOTICE, line(uid, act, thing, result))
    except (OSError, ValueError):
        pass
