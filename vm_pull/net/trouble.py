"""What went wrong between us and a server, in our own words: errors of libraries hold addresses
with passwords, and speak of objects.
"""  # noqa: D205

from __future__ import annotations

import errno
import socket
import ssl

import requests
import urllib3

from vm_pull.net import urls
from vm_pull.net.tries import AbsentError, LostError
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["broken", "trouble", "unanswered"]

_ABSENT = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
_UNAVAILABLE, _REFUSED, _INSTALLATION = 69, 77, 78


def trouble(error: BaseException, url: str) -> VmError:
    """The fault for an error of requests, urllib3 or a socket.

    Args:
        error: what was raised.
        url: the address that was asked.
    """
    place = urls.host(url)
    causes = list(_causes(error))
    told = (_proxy(causes, place) or _trust(cause, url) or _way(cause, url) for cause in causes)
    return next(filter(None, told), broken(url))


def broken(url: str) -> LostError:
    """The fault for a stream that ended too early."""
    return LostError(Fault(problem=f"the connection to {urls.host(url)} broke off"))


def unanswered(url: str) -> LostError:
    """The fault for an answer that takes too long."""
    return LostError(Fault(problem=f"{urls.host(url)} does not answer"))


def _proxy(causes: list[BaseException], place: str) -> VmError | None:
    if not any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return None
    said = next((str(cause) for cause in causes if str(cause).startswith("Tunnel")), "no answer")
    fault = Fault(
        problem=f"the proxy does not lead to {place}: {said}",
        hint="look at https_proxy, http_proxy, all_proxy and no_proxy",
    )
    return AbsentError(fault)


def _trust(cause: BaseException, url: str) -> VmError | None:
    place = urls.host(url)
    match cause:
        case ssl.SSLCertVerificationError():
            return _untrusted(cause, place)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return broken(url)
        case ssl.SSLError():
            why = (cause.reason or "an error").lower().replace("_", " ")
            fault = Fault(problem=f"{place} and this machine do not agree on TLS: {why}")
            return VmError(fault, status=_UNAVAILABLE)
        case requests.exceptions.SSLError():  # nothing above: urllib3 1 compares names itself
            hint = "is the address right?"
            problem = f"{place} does not prove that it is {place}"
            return VmError(Fault(problem=problem, hint=hint), status=_REFUSED)
        case _:
            return None


def _way(cause: BaseException, url: str) -> VmError | None:
    place = urls.host(url)
    match cause:
        case socket.gaierror():
            hint = "is the name right, and is there a network?"
            return AbsentError(
                Fault(problem=f"{place} is not known: {cause.strerror or cause}", hint=hint)
            )
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            return unanswered(url)
        case OSError() if cause.errno in _ABSENT:
            return AbsentError(
                Fault(problem=f"{place} cannot be reached: {cause.strerror or cause}")
            )
        case (
            requests.exceptions.InvalidProxyURL()
            | requests.exceptions.InvalidSchema()
            | urllib3.exceptions.ProxySchemeUnknown()
        ):
            hint = "look at https_proxy, http_proxy and all_proxy"
            problem = f"the proxy for {place} cannot be used"
            return VmError(Fault(problem=problem, hint=hint), status=_INSTALLATION)
        case requests.exceptions.InvalidURL() | UnicodeError():
            return VmError(Fault(problem=f"{place} is no name of a host"))
        case _:
            return None


def _untrusted(cause: ssl.SSLCertVerificationError, place: str) -> VmError:
    why = cause.verify_message
    if "expired" in why or "not yet valid" in why:
        hint = "is this machine's clock right? If so, the server's owner must renew it"
    elif "ismatch" in why:
        hint = "is the address right?"
    else:
        hint = "if you trust who has signed it, name the signer's file in REQUESTS_CA_BUNDLE"
    problem = f"{place} does not prove that it is {place}: {why}"
    return VmError(Fault(problem=problem, hint=hint), status=_REFUSED)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors that it was made of, the innermost first."""
    inner = [getattr(error, "reason", None), error.__cause__, error.__context__, *error.args]
    for each in {id(one): one for one in inner if isinstance(one, BaseException)}.values():
        yield from _causes(each)
    yield error
