"""Who may see the screen, and what each request gets.

Other users of this host can connect to our port, and any page in the user's browser can send
requests to it. So the printed link works once and leads to a path that nobody can guess, under
which everything is; the names that a request may call us by are few; and the screen is shown to
no page but ours. A cookie would not do: browsers send it to every port of an address.
"""

from __future__ import annotations

import hmac
import secrets
import threading

from vm_console.web import files as web_files
from vm_console.web import page as web_page
from vm_console.web.request import Answer, RequestError
from vm_console.web.socket import accepted
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from vm_console.web.request import Asked

__all__ = ["Door", "Site", "answer", "refusal"]

ADDRESS = "127.0.0.1"
_BYTES = 24  # of chance: 192 bits
_KEY_LENGTH = 24  # characters, RFC 6455 4.2.1: 16 bytes in base64
_USED = "This link has been used already, or was never one: start vm-console --web again."
_PARTS = {
    "page.js": ("text/javascript", web_page.SCRIPT),
    "page.css": ("text/css", web_page.STYLE),
}


class Site(Value):
    """What is shown.

    Attributes:
        vm: what vm-run calls the VM.
        novnc: the folder of noVNC.
    """

    vm: str
    novnc: str


class Door:
    """The link that works once, and the path behind it.

    Attributes:
        hosts: what a request may call us.
        link: what is printed.
    """

    def __init__(self, port: int) -> None:
        self.hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")
        self._token: str | None = secrets.token_urlsafe(_BYTES)
        self._secret = secrets.token_urlsafe(_BYTES)
        self._lock = threading.Lock()
        self.link = f"http://{self.hosts[0]}/?token={self._token}"

    def opens(self, token: str) -> str:
        """The path behind the door for the first who has the token; empty for all others."""
        with self._lock:
            if self._token is None or not _same(token, self._token):
                return ""
            self._token = None
        return f"/{self._secret}/"

    def knows(self, secret: str) -> bool:
        """Whether somebody has been through the door."""
        return self._token is None and _same(secret, self._secret)


def _same(given: str, kept: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("latin-1"), kept.encode("latin-1"))


def answer(asked: Asked, door: Door, site: Site) -> Answer:
    """What a request gets; 101 for one that may have the screen.

    Raises:
        RequestError: it gets nothing.
    """
    host = asked.headers.get("host", "")
    if host not in door.hosts:
        raise RequestError(403, "this is not the address that was printed")
    if asked.path == "/":
        path = door.opens(asked.query.removeprefix("token="))
        if not path:
            raise RequestError(403, _USED)
        return _guarded(Answer(status=303, headers={"Location": path}), host)
    secret, _, name = asked.path[1:].partition("/")
    if not door.knows(secret):
        raise RequestError(404, _USED)
    if name == "screen":
        return _screen(asked)
    return _guarded(_part(name, site), host)


def _part(name: str, site: Site) -> Answer:
    """One of the files that the page consists of."""
    if not name:
        return Answer(kind="text/html; charset=utf-8", body=web_page.page(site.vm))
    if name in _PARTS:
        kind, text = _PARTS[name]
        return Answer(kind=kind, body=text.encode())
    body = web_files.read(site.novnc, name.removeprefix("novnc/")) if "novnc/" in name else None
    if body is None:
        raise RequestError(404, "there is no such file")
    return Answer(kind="text/javascript", body=body)


def _screen(asked: Asked) -> Answer:
    """Switches to the WebSocket protocol (RFC 6455, 4.2)."""
    headers = asked.headers
    if headers.get("origin") != f"http://{headers['host']}":
        raise RequestError(403, "only the page itself may see the screen")
    if headers.get("upgrade", "").lower() != "websocket" or not asked.lists(
        "connection", "upgrade"
    ):
        raise RequestError(426, "this is a WebSocket")
    key = headers.get("sec-websocket-key", "")
    if headers.get("sec-websocket-version") != "13" or len(key) != _KEY_LENGTH:
        raise RequestError(400, "this is not WebSocket 13")
    more = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accepted(key)}
    if asked.lists("sec-websocket-protocol", "binary"):
        more["Sec-WebSocket-Protocol"] = "binary"  # what older noVNC asks for
    return Answer(status=101, headers=more)


def refusal(refused: RequestError) -> Answer:
    """What somebody is told who gets nothing."""
    return _guarded(
        Answer(
            status=refused.status,
            kind="text/html; charset=utf-8",
            body=web_page.sorry(refused.problem),
        ),
        "",
    )


def _guarded(plain: Answer, host: str) -> Answer:
    """An answer that browsers keep to itself: no frames, no referrers, no scripts but ours."""
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:"
    # noVNC's styles come by script, which is no inline style; 'self' of old is http only.
    policy += f"; connect-src 'self' ws://{host}" if host else ""
    headers = {
        "Content-Security-Policy": f"{policy}; base-uri 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Answer(
        status=plain.status, kind=plain.kind, body=plain.body, headers={**plain.headers, **headers}
    )
