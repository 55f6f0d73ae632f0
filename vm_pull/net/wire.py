"""One request on the wire, and the hand that can cut it off."""

from __future__ import annotations

import os
import socket
import threading

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vm_pull.net.trouble import trouble, unanswered
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from requests import PreparedRequest, Response
    from urllib3 import HTTPResponse

__all__ = ["Answer", "Cutter", "Wire"]

_INSTALLATION = 78


class Cutter:
    """Ends whatever connections do, from any thread: a handshake, headers, a body.

    Attributes:
        stop: set when a download is to end: new connections are cut at birth.
        late: the same, while one answer takes too long.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.late = threading.Event()
        self._lock = threading.Lock()
        self._handles: set[socket.socket] = set()

    def hold(self, connection: socket.socket) -> socket.socket:
        """A handle on a connection: TLS takes the socket itself away, not a copy of it."""
        handle = connection.dup()
        with self._lock:
            self._handles.add(handle)
        if self.cutting:
            self.cut()
        return handle

    @property
    def cutting(self) -> bool:
        """Whether the end of a stream may be our own doing."""
        return self.stop.is_set() or self.late.is_set()

    def drop(self, handle: socket.socket) -> None:
        """Lets a handle go when its connection is closed."""
        with self._lock:
            self._handles.discard(handle)
            handle.close()

    def cut(self) -> None:
        """Shuts every connection down: who waits for it is woken."""
        with self._lock:
            for handle in self._handles:
                try:
                    handle.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was faster


class Answer:
    """What a server has answered; its body is read as it comes.

    Attributes:
        url: the address that has answered.
        status: HTTP's three digits.
    """

    def __init__(self, url: str, response: Response, cutter: Cutter) -> None:
        self.url = url
        self._cutter = cutter
        self.status = response.status_code
        self._response = response

    def header(self, name: str) -> str:
        """A header's text, whatever the case of its name; empty when there is none."""
        return self._response.headers.get(name, "").strip()

    @property
    def is_framed(self) -> bool:
        """Whether the server says where the body ends, other than by closing the connection."""
        return bool(self.header("Content-Length") or self.header("Transfer-Encoding"))

    def read(self, count: int) -> bytes:
        """The next bytes of the body, undecoded; empty at its end.

        Raises:
            LostError: the connection broke off, or nothing came for too long.
        """
        try:
            read: bytes = self._response.raw.read(count, decode_content=False)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise trouble(error, self.url) from None
        if len(read) < count and self._cutter.cutting:  # no length, and it looks like an end
            raise unanswered(self.url)
        return read

    def close(self) -> None:
        """Closes the connection; the rest of the body is not read."""
        self._response.close()


class Wire:
    """A session with servers.

    Proxies and CA bundles come from the environment, as requests has them. Passwords in ~/.netrc
    and cookies are not sent, and certificates are always verified.

    Attributes:
        cutter: ends what is under way.
    """

    def __init__(self, connect_s: float, read_s: float) -> None:
        self.cutter = Cutter()
        self._timeout = (connect_s, read_s)
        self._session = requests.Session()
        self._session.mount("https://", _Adapter(self.cutter))
        self._session.mount("http://", _Adapter(self.cutter))

    def get(self, url: str, headers: Mapping[str, str], authorization: str) -> Answer:
        """One answer to one GET; redirects are answers.

        Not through `Session.send`, which reads the whole body of a redirect into memory.

        Args:
            url: without user and password.
            headers: sent as they are.
            authorization: the header of this name; empty for none.

        Raises:
            LostError: no answer came; another try may help. `AbsentError` when nobody is there.
            VmError: the server cannot be trusted (77), or the address is none (65).
        """
        request = requests.Request("GET", url, headers=headers, auth=_Authorization(authorization))
        try:
            prepared = self._session.prepare_request(request)
            settings = self._settings(prepared.url or url)
            adapter = self._session.get_adapter(prepared.url or url)
            response = adapter.send(prepared, timeout=self._timeout, **settings)
        except (OSError, urllib3.exceptions.HTTPError, UnicodeError) as error:
            told = unanswered(url) if self.cutter.cutting else trouble(error, url)
            raise told from None
        if self.cutter.cutting:  # http.client takes headers cut short for all of them
            response.close()
            raise unanswered(url)
        return Answer(url, response, self.cutter)

    def _settings(self, url: str) -> dict[str, Any]:
        settings = self._session.merge_environment_settings(url, {}, True, None, None)
        verify: object = settings["verify"]
        if isinstance(verify, str) and not os.path.exists(verify):
            hint = "correct or unset REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
            problem = f"there are no certificates at {verify}"
            raise VmError(Fault(problem=problem, hint=hint), status=_INSTALLATION)
        return {**settings, "stream": True}

    def close(self) -> None:
        """Closes every connection."""
        self._session.close()


class _Authorization(AuthBase):
    """Sets the header itself: where nothing is given, requests asks ~/.netrc."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        if self._value:
            r.headers["Authorization"] = self._value
        return r


class _Adapter(HTTPAdapter):
    """Makes connections that a cutter holds."""

    def __init__(self, cutter: Cutter) -> None:
        self._pools = _pools(cutter)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # these have connections of their own
            manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(cutter: Cutter) -> dict[str, type[HTTPConnectionPool]]:
    class Held(HTTPConnection):
        handle: socket.socket | None = None
        answering = False

        def _new_conn(self) -> socket.socket:
            self._let_go()
            connection = super()._new_conn()
            self.handle = cutter.hold(connection)
            return connection

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does itself
            self.answering = True  # it closes what the server will close: the body is still to come
            try:
                return super().getresponse()
            finally:
                self.answering = False

        def close(self) -> None:
            super().close()
            if not self.answering:
                self._let_go()

        def _let_go(self) -> None:
            handle, self.handle = self.handle, None
            if handle:
                cutter.drop(handle)

    class HeldSecure(Held, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Held  # pyright: ignore[reportAssignmentType]  as urllib3 does it itself

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = HeldSecure  # pyright: ignore[reportAssignmentType]

    return {"http": Pool, "https": SecurePool}
