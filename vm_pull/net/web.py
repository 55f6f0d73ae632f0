"""Asking servers: which addresses, through which redirects, with whose password."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from urllib.parse import unquote, urljoin, urlsplit

from vm_pull.net import magic, urls
from vm_pull.net.download import Download
from vm_pull.net.statuses import refusal
from vm_pull.net.tries import AbsentError, LostError, Patience, Tries
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from vm_pull.net.wire import Answer, Wire

__all__ = ["Web"]

_OK = 200
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 10  # as Vagrant and curl's users know it
_ODD = re.compile(r"^//|[\x00-\x1f\x7f\\]")  # another host without a word, or one that is hidden
_TOKEN = re.compile(r"[\x21-\x7e]+")
_UNAVAILABLE, _REFUSED = 69, 77
_PATIENCE = Patience()


def _no_token(_url: str) -> str:
    return ""


def _silence(_text: str) -> None:
    pass


class Web:
    """What fetches; a context manager, for one download at a time.

    Certificates are always verified, against `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` where set:
    no variable and no option switches that off. `insecure` allows http: and nothing else.
    Proxies come from the environment. Passwords in ~/.netrc are not sent, nor are cookies.
    """

    def __init__(
        self,
        *,
        insecure: bool = False,
        token_for: Callable[[str], str] = _no_token,
        tell: Callable[[str], None] = _silence,
        patience: Patience = _PATIENCE,
    ) -> None:
        """Asks nobody yet.

        Args:
            insecure: whether http: may be asked.
            token_for: the token for an address; empty for none. It is asked anew for each hop.
            tell: is told of each failure after which another try is made.
            patience: how long servers are waited for.
        """
        self.patience = patience
        self._insecure = insecure
        self._token_for = token_for
        self._tell = tell
        self._kept: Wire | None = None
        self._logins: dict[tuple[str, str, int], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wire(self) -> Wire:
        """The session, made when first needed: requests costs 100 ms to import."""
        if self._kept is None:
            from vm_pull.net.wire import Wire

            self._kept = Wire(self.patience.connect_s, self.patience.read_s)
        return self._kept

    def open(self, url: str, *, accept_json: bool = False, came_from: str = "") -> Download:
        """What a server sends for an address, with its first bytes already there.

        Args:
            url: an https: address; user and password in it are for that host only.
            accept_json: whether a catalog is asked for.
            came_from: the catalog that names the address; empty when the user has typed it.

        Raises:
            VmError: the address may not be asked (77), is not there (66), or the server is in
                trouble (69, 75). Nothing in it tells a password.
        """
        self.wire.cutter.stop = stop = threading.Event()
        tries = Tries(self.patience, self._tell, stop)
        headers = {"Accept": "application/json, */*;q=0.5"} if accept_json else {}
        while True:
            try:
                return self._opened(url, headers, came_from, tries)
            except AbsentError:
                raise
            except LostError as lost:
                tries.again(lost)

    def _opened(
        self, url: str, headers: Mapping[str, str], came_from: str, tries: Tries
    ) -> Download:
        with self.hurry():
            answer = self.ask(url, headers, came_from)
            try:
                return Download(self, url, answer, tries, _first(answer))
            except BaseException:
                answer.close()
                raise

    def hurry(self) -> Hurry:
        """Within this, connections are cut when headers take too long, however they trickle."""
        return Hurry(self.wire, self.patience.headers_s)

    def ask(self, url: str, headers: Mapping[str, str], came_from: str = "") -> Answer:
        """The answer at the end of the redirects, whatever its status.

        Raises:
            LostError: there was none.
            VmError: a hop leads where nobody may be asked, or there are too many.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            urls.check(url, insecure=self._insecure, came_from=came_from)
            url, authorization = self._authorized(url)
            answer = self.wire.get(url, {**_HEADERS, **headers}, authorization)
            if answer.status not in _REDIRECTS or not answer.header("Location"):
                return answer
            answer.close()
            came_from, url = url, _target(answer)
        problem = f"{urls.shown(url)} comes after more than {_MOST_REDIRECTS} redirects"
        raise VmError(Fault(problem=problem), status=_UNAVAILABLE)

    def _authorized(self, url: str) -> tuple[str, str]:
        """An address without its user and password, and what authorizes us there."""
        split = urlsplit(url)
        login, _, place = split.netloc.rpartition("@")
        bare = split._replace(netloc=place).geturl()
        if login:
            words = unquote(login.partition(":")[0]) + ":" + unquote(login.partition(":")[2])
            basic = "Basic " + b64encode(words.encode()).decode()
            self._logins.setdefault(urls.origin(bare), basic)
        token = self._token_for(bare)
        if token and not _TOKEN.fullmatch(token):
            hint = "look at VAGRANT_CLOUD_TOKEN and ~/.vagrant.d/data/vagrant_login_token"
            problem = f"the token for {urls.host(bare)} has characters that no token has"
            raise VmError(Fault(problem=problem, hint=hint))
        return bare, self._logins.get(urls.origin(bare)) or (f"Bearer {token}" if token else "")

    def close(self) -> None:
        """Closes every connection."""
        if self._kept:
            self._kept.close()


_HEADERS = {
    "User-Agent": "vm-pull",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a Range counts bytes of what is sent
}


class Hurry:
    """A limit in seconds on what is done within; connections are cut at its end."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._cutter = wire.cutter
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._cutter.late.clear()
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._cutter.late.clear()

    def _cut(self) -> None:
        self._cutter.late.set()
        self._cutter.cut()


def _first(answer: Answer) -> bytes:
    """The first bytes of a success."""
    if answer.status != _OK:
        raise refusal(answer)
    first = answer.read(magic.NEEDED)
    if not first and not answer.is_framed:  # http.client takes headers cut short for all of them
        problem = f"the connection to {urls.host(answer.url)} broke off"
        raise LostError(Fault(problem=problem))
    return first


def _target(answer: Answer) -> str:
    location = answer.header("Location")
    try:
        location = location.encode("latin-1").decode()  # headers are read as Latin-1
    except UnicodeError:
        pass
    if not _ODD.search(location):
        try:
            return urljoin(answer.url, location)
        except ValueError:
            pass
    problem = f"{urls.shown(answer.url)} leads to {urls.shown(location)}, which is no address"
    hint = "give the address that you want to end at"
    raise VmError(Fault(problem=problem, hint=hint), status=_REFUSED)
