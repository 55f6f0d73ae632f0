"""What a server's refusal means to a person."""

from __future__ import annotations

import time

from vm_pull.net import urls
from vm_pull.net.tries import LostError
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.net.wire import Answer

__all__ = ["refusal"]

_MISSING, _UNAVAILABLE, _BUSY, _REFUSED = 66, 69, 75, 77
_MINUTE, _HOUR = 60, 3600
_LOG_IN = "a private box is shown only to who is logged in: set VAGRANT_CLOUD_TOKEN"
_PASSING = {408, 425, 500, 502, 503, 504}


def refusal(answer: Answer, *, now: float | None = None) -> VmError:
    """Why there is no body to be had; a `LostError` when it may be there later.

    Args:
        answer: one that is not a success.
        now: seconds since 1970; the clock's when left out.
    """
    shown = urls.shown(answer.url)
    place = urls.host(answer.url)
    match answer.status:
        case 404:
            hint = f"is the name right? {_LOG_IN}"
            return VmError(Fault(problem=f"{shown} is not there (404)", hint=hint), status=_MISSING)
        case 410:
            fault = Fault(problem=f"{shown} is gone for good (410)", hint="choose another version")
            return VmError(fault, status=_MISSING)
        case 401 | 403:
            problem = f"{place} does not let us have {shown} ({answer.status})"
            return VmError(Fault(problem=problem, hint=_LOG_IN), status=_REFUSED)
        case 429:
            return _limited(answer, place, time.time() if now is None else now)
        case passing if passing in _PASSING:
            fault = Fault(problem=f"{place} is in trouble ({passing})", hint="try again later")
            return LostError(fault, after_s=_after_s(answer, now))
        case other:
            problem = f"{place} answered {other} when asked for {shown}"
            return VmError(Fault(problem=problem), status=_UNAVAILABLE)


def _limited(answer: Answer, place: str, now: float) -> LostError:
    after = _after_s(answer, now)
    if not after:
        reset = _number(answer.header("X-RateLimit-Reset"))
        after = max(0.0, reset - now) if reset else 0.0
    hint = f"try again in {_words(after)}" if after else "try again later"
    problem = f"{place} has had too many requests from here (429)"
    return LostError(Fault(problem=problem, hint=hint), status=_BUSY, after_s=after)


def _after_s(answer: Answer, now: float | None) -> float:
    """Seconds until the server wants to be asked again (RFC 9110, 10.2.3); 0 when unsaid."""
    text = answer.header("Retry-After")
    if not text or text.isdigit():
        return _number(text)
    from email.utils import parsedate_to_datetime

    try:
        then = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0.0, then - (time.time() if now is None else now))


def _number(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0.0


def _words(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} seconds"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} minutes"
    return f"{seconds / _HOUR:.0f} hours"
