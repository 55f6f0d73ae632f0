"""Which addresses may be asked, and how they are shown."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from vm_spec.fault import Fault, VmError

__all__ = ["check", "host", "is_loopback", "is_web", "origin", "shown"]

_REFUSED = 77
_LONGEST = 8192  # characters; servers take no more
_PORTS = {"http": 80, "https": 443}
_ODD = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")  # read differently by different libraries
_SECRET = re.compile(
    r"((?:token|sig|signature|key|password|secret|credential|auth)=)[^&]+", re.IGNORECASE
)
_USER = re.compile(r"^([a-z][a-z0-9+.-]*:/{1,3}|//).*@|^[^/:]*:.*@", re.IGNORECASE | re.DOTALL)


def check(url: str, *, insecure: bool, came_from: str = "") -> None:
    """Passes an address that may be asked, before each request and for each hop of a redirect.

    https may always be asked. http may be with `--insecure`, and without it on this host itself,
    unless an address elsewhere led there. Nothing else may, whatever is typed.

    Args:
        url: the whole address.
        insecure: whether the user has said `--insecure`.
        came_from: the address or file that led here; empty when the user has typed it.

    Raises:
        VmError: it may not be asked (77), or is no address (65); user names and passwords are
            not shown.
    """
    led = f"{shown(came_from)} leads to " if came_from else ""
    scheme = _scheme(url)
    if scheme and scheme not in _PORTS:
        hint = _look(came_from) if came_from else "fetch it yourself and give the file"
        problem = f"{led}{shown(url)}, and only https: addresses are asked"
        raise VmError(Fault(problem=problem, hint=hint), status=_REFUSED)
    if _split(url) is None:
        hint = _look(came_from) if came_from else "it should look like https://example.com/box.json"
        problem = f"{led}{shown(url).strip() or 'nothing'}, which is no address"
        raise VmError(Fault(problem=problem, hint=hint))
    if scheme == "https" or insecure:
        return
    led_from_elsewhere = is_web(came_from) and not is_loopback(came_from)
    if led_from_elsewhere or not is_loopback(url):
        problem = f"{led}{shown(url)}, where anybody on the way can change what comes"
        hint = "use https:, or say --insecure if you accept that"
        raise VmError(Fault(problem=problem, hint=hint), status=_REFUSED)


def is_web(url: str) -> bool:
    """Whether a text is an http or https address with a host."""
    split = _split(url)
    return split is not None and split.scheme in _PORTS


def is_loopback(url: str) -> bool:
    """Whether an address leads to this host itself, by its own words: no name is looked up."""
    name = host(url)
    return name in ("localhost", "::1") or bool(
        re.fullmatch(r"127(\.[0-9]{1,3}){3}", name, re.ASCII)
    )


def host(url: str) -> str:
    """The host in an address, in lower case; empty when it is no address."""
    split = _split(url)
    return (split.hostname or "").rstrip(".") if split else ""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a token may be sent to; empty texts when it is no address."""
    split = _split(url)
    if split is None:
        return ("", "", 0)
    return (split.scheme, host(url), split.port or _PORTS.get(split.scheme, 0))


def shown(url: str) -> str:
    """An address without the secrets in it: user, password, tokens and signatures of the query.

    A text that is no address, a file's path, is given back unless something in it looks like a
    password.
    """
    split = _split(url)
    if split is None:  # a password with a slash in it ends up here
        return _SECRET.sub(r"\1...", _USER.sub(r"\1", url))
    place = split.netloc.rpartition("@")[2]
    query = "?" + _SECRET.sub(r"\1...", split.query) if split.query else ""
    return f"{split.scheme}://{place}{split.path}{query}"


def _look(came_from: str) -> str:
    kind = "address" if is_web(came_from) else "file"
    return f"look at what this {kind} offers, or give another one"


def _scheme(url: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    return found[1].lower() if found else ""


def _split(url: str) -> SplitResult | None:
    """The parts of an address with a host; none when libraries may disagree what they are."""
    if len(url) > _LONGEST or _ODD.search(url) or url != url.strip():
        return None
    try:
        split = urlsplit(url)
        known = (
            split.scheme and split.hostname and split.port != 0
        )  # reading the port may raise, too
    except ValueError:
        return None
    return split if known and not re.search(r"\s", split.netloc) else None
