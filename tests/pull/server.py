"""A web server whose behaviour is scripted, path by path; also a proxy, and also with TLS."""

from __future__ import annotations

import dataclasses
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit

PATIENCE_S = 60  # for what must happen; a test that waits so long has failed


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    port: int = 0  # the client's
    method: str = "GET"

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        length: the Content-Length; the truth when left out, and none when negative.
        chunked: whether the body goes in chunks, without a length.
        stop_at: how many bytes of the body are sent before the connection ends.
        reset: whether it ends with a RST instead of a FIN.
        drip: bytes of the body that come before `gate` opens; then comes the rest.
        gate: opens when a test sets it.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    length: int | None = None
    chunked: bool = False
    stop_at: int | None = None
    reset: bool = False
    drip: int | None = None
    gate: threading.Event | None = None


Script = Callable[[Seen], Reply]


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status, headers={"Location": location})


@dataclass
class File:
    """A file as a good server has it: Range, If-Range, 206 and 416.

    Attributes:
        cuts: where in the file the connection breaks, one after the other; none for no break.
        ranges: whether Range is understood.
        extra: headers beside the length.
    """

    body: bytes
    etag: str = '"one"'
    modified: str = ""
    cuts: Sequence[int] = ()
    ranges: bool = True
    chunked: bool = False
    reset: bool = False
    extra: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._cuts = list(self.cuts)

    def __call__(self, seen: Seen) -> Reply:
        start = self._start(seen)
        total = len(self.body)
        headers = {**self.extra, **({"ETag": self.etag} if self.etag else {})}
        if self.modified:
            headers["Last-Modified"] = self.modified
        if start is None:
            return self._sent(Reply(200, self.body, headers, chunked=self.chunked), 0)
        if start >= total:
            return Reply(416, headers={**headers, "Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        return self._sent(Reply(206, self.body[start:], headers, chunked=self.chunked), start)

    def _start(self, seen: Seen) -> int | None:
        wanted, condition = seen.header("Range"), seen.header("If-Range")
        if not self.ranges or not wanted:
            return None
        strong = "" if self.etag.startswith("W/") else self.etag
        if condition and condition not in {strong, self.modified}:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _sent(self, reply: Reply, start: int) -> Reply:
        if not self._cuts:
            return reply
        return dataclasses.replace(reply, stop_at=self._cuts.pop(0) - start, reset=self.reset)


class Server:
    """A running server.

    Attributes:
        url: where it is, without a slash at the end.
        seen: every request, in order.
        tunnel: where CONNECT leads to, whatever host is asked for; none refuses it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.tunnel: Server | None = None
        self.tls = tls
        self.closing = threading.Event()
        self._scripts: dict[str, list[Script | Reply]] = {}
        self._http = _Http(self)
        self.port = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def at(self, path: str, *scripts: Script | Reply) -> str:
        """Scripts a path: one answer after the other, the last for ever. Returns its URL."""
        self._scripts[path] = list(scripts)
        return self.url + path

    def asked(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    def refuse(self) -> None:
        """Takes no more connections."""
        self._http.shutdown()
        self._http.socket.close()

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        scripts = self._scripts.get(seen.path)
        if not scripts:
            return Reply(404, b"no such path")
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Reply) else script(seen)

    @contextmanager
    def running(self) -> Generator[Server]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._http.shutdown()
            thread.join()
            self._http.server_close()  # waits for its threads


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Generator[Server]:
    """A server on a free port of this host."""
    with Server(tls).running() as server:
        yield server


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def __init__(self, server: Server) -> None:
        self.scripted = server
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients that go away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    wbufsize = -1

    @property
    def scripted(self) -> Server:
        return cast("_Http", self.server).scripted

    def setup(self) -> None:
        tls = self.scripted.tls
        if tls:
            self.request.settimeout(PATIENCE_S)
            self.request = tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.request.close()

    def handle_one_request(self) -> None:
        """Waits for a request, or for the end of the server."""
        if not self.scripted.closing.is_set() and self._readable():
            super().handle_one_request()
        else:
            self.close_connection = True

    def _readable(self) -> bool:
        if self.scripted.tls:
            self.request.settimeout(PATIENCE_S)
        while not self.scripted.closing.is_set():
            if select.select([self.request], [], [], 0.05)[0]:
                return True
        return False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
        """Says nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)  # a proxy is given the whole address
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        if parts.netloc:
            headers["x-proxied-host"] = parts.netloc
        self._send(self.scripted.answer(Seen(path, headers, self.client_address[1])))

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.scripted.seen.append(Seen(self.path, headers, method="CONNECT"))
        self.close_connection = True
        target = self.scripted.tunnel
        if target is None:
            self._send(Reply(403))
            return
        with socket.create_connection(("127.0.0.1", target.port)) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.wfile.flush()
            self._splice(there)

    def _splice(self, there: socket.socket) -> None:
        ways = {self.request: there, there: self.request}
        while not self.scripted.closing.is_set():
            for source in select.select(list(ways), [], [], 0.05)[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                ways[source].sendall(data)

    def _send(self, reply: Reply) -> None:
        self._head(reply)
        wire = _chunks(reply.body) if reply.chunked else reply.body
        if reply.gate:
            self._push(wire[: reply.drip or 0])
            while not reply.gate.wait(0.05) and not self.scripted.closing.is_set():
                pass
            wire = wire[reply.drip or 0 :]
        self._push(wire if reply.stop_at is None else wire[: reply.stop_at])
        if reply.stop_at is not None or reply.reset or reply.length is not None:
            self.close_connection = True
        if reply.reset:
            linger = struct.pack("ii", 1, 0)  # close() then sends a RST
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _push(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()


def _chunks(body: bytes) -> bytes:
    size = 5000
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@contextmanager
def raw(answer: Callable[[socket.socket, threading.Event], None]) -> Generator[str]:
    """A server that does not know HTTP: it gives each connection to a function. Its URL."""
    closing = threading.Event()

    def loop() -> None:
        while not closing.is_set():
            if select.select([listener], [], [], 0.05)[0]:
                connection = listener.accept()[0]
                with connection:
                    try:
                        answer(connection, closing)
                    except OSError:
                        pass  # the client has gone

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            closing.set()
            thread.join()
