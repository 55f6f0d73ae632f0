"""What is decided of a request, as values that cannot be mistaken for each other; and the log."""

from __future__ import annotations

import syslog
from contextlib import suppress
from typing import NamedTuple

from vm_init.request import Request

_MOST = 512


class Caller(NamedTuple):
    """Who asks: an account of the system's database, never root.

    Attributes:
        uid: from 1.
        gid: the account's group.
        name: the account's name.
        groups: every group id that the database gives the account, its own among them.
        group_names: the same by name.
        home: the account's home folder, for reading the description.
    """

    uid: int
    gid: int
    name: str
    groups: tuple[int, ...]
    group_names: tuple[str, ...]
    home: str


class Granted(NamedTuple):
    """A request that the policy allows.

    Attributes:
        request: as it was asked.
        line: which rule of the policy allows it, for the plan and the log: `policy.toml: grant 2`.
        target: what it is joined to on this host: a bridge, an interface; empty for nothing.
        pinned: the PCI id that the device must have, `10de:1b80`; empty for other requests.
        port: what the bridge's port of a tap is to be, in words of `netlink.PORT`.
    """

    request: Request
    line: str
    target: str = ""
    pinned: str = ""
    port: str = ""


class Refused(NamedTuple):
    """A request that the policy does not allow.

    Attributes:
        request: as it was asked.
        why: for the log and for --dry-run; the caller is told the same text whatever exists.
    """

    request: Request
    why: str


class InitError(Exception):
    """The end of a run that changes nothing more.

    Attributes:
        status: 77 refused, 78 policy or installation wrong, 75 busy, 69 host lacks something,
            64 wrong command line, 66 no such VM, 65 wrong description, 70 our bug.
    """

    def __init__(self, message: str, status: int = 77) -> None:
        super().__init__(message)
        self.status = status


class DeniedError(InitError):
    """The policy, or what is here, does not allow it; the log has the reason already."""


def plain(text: str) -> str:
    """A text of others with everything but printable ASCII escaped."""
    return ascii(text)[1:-1]


def line(uid: int, act: str, thing: str, result: str) -> str:
    """A line of the log: what is trusted first, the rest escaped.

    Args:
        uid: of whoever asked.
        act: grant, refuse, release.
        thing: what it was about; may hold what the caller wrote.
        result: how it went; may hold what the caller wrote.
    """
    return f"uid={uid} act={act} thing={plain(thing)} result={plain(result)}"[:_MOST]


def log(uid: int, act: str, thing: str, result: str) -> None:
    """Logs an act or a refusal (syslog(3)); a log that cannot be written stops nothing."""
    with suppress(OSError, ValueError):
        syslog.openlog("vm-init", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_NOTICE, line(uid, act, thing, result))
