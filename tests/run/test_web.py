"""The screen as a page: who may see it, what is served, and what comes through."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.run.home import Home
from tests.run.test_web_socket import masked
from vm_console.__main__ import main
from vm_console.web import files as web_files
from vm_console.web.door import Door, Site, answer
from vm_console.web.request import Asked, RequestError, parse
from vm_console.web.server import Server
from vm_console.web.socket import CLOSE, PING, PONG, frame
from vm_spec import VmError
from vm_state import statedir
from vm_state.process import started_at

KEY = base64.b64encode(bytes(16)).decode()
RFB = b"RFB 003.008\n"
PORT = 5999
HOST = f"127.0.0.1:{PORT}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A noVNC of two modules, beside a file that is nobody's business."""
    folder = tmp_path / "novnc"
    (folder / "core").mkdir(parents=True)
    (folder / "vendor" / "pako").mkdir(parents=True)
    (folder / "core" / "rfb.js").write_text("export default class RFB {}")
    (folder / "vendor" / "pako" / "zlib.js").write_text("export {}")
    (folder / "core" / "secret.txt").write_text("secret")
    (folder / "other.js").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    return Site(vm="web & <co>", novnc=str(folder))


@pytest.fixture
def door() -> Door:
    return Door(PORT)


def asks(path: str, **headers: str) -> Asked:
    """A request that a browser sends."""
    plain = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    kept = {name: value for name, value in plain.items() if value}
    return Asked(path=path, query=query, headers=kept)


def inside(door: Door, site: Site) -> str:
    """The path behind the door."""
    link = door.link.removeprefix(f"http://{HOST}")
    gone = answer(asks(link), door, site)
    assert gone.status == 303
    return gone.headers["Location"]


def refused(asked: Asked, door: Door, site: Site) -> int:
    with pytest.raises(RequestError) as caught:
        answer(asked, door, site)
    return caught.value.status


# --- the door ------------------------------------------------------------------------------------


def test_the_link_leads_in_once(door: Door, site: Site) -> None:
    path = inside(door, site)
    assert re.fullmatch(r"/[\w-]{32}/", path)
    assert path.strip("/") not in door.link
    assert refused(asks(door.link.removeprefix(f"http://{HOST}")), door, site) == 403
    assert answer(asks(path), door, site).status == 200


def test_two_doors_have_nothing_in_common(site: Site) -> None:
    first, second = Door(PORT), Door(PORT)
    assert first.link != second.link
    assert refused(asks(inside(first, site)), second, site) == 404
    inside(second, site)
    assert refused(asks(inside(Door(PORT), site)), second, site) == 404


@pytest.mark.parametrize("query", ["", "?", "?token=", "?token=x", "?token=\xe9", "?x=1"])
def test_a_wrong_token_leads_nowhere_and_uses_nothing_up(
    door: Door, site: Site, query: str
) -> None:
    assert refused(asks(f"/{query}"), door, site) == 403
    assert inside(door, site)


def test_before_the_link_is_used_nothing_is_behind_the_door(door: Door, site: Site) -> None:
    for path in ("//", "//screen", "/None/", "/page.js", "/novnc/core/rfb.js"):
        assert refused(asks(path), door, site) == 404


def test_of_many_who_come_at_once_one_gets_in(door: Door) -> None:
    token = door.link.partition("token=")[2]
    start, paths = threading.Barrier(16), list[str]()

    def come() -> None:
        start.wait(10)
        paths.append(door.opens(token))

    threads = [threading.Thread(target=come) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(paths) == 16
    assert len([path for path in paths if path]) == 1


@pytest.mark.parametrize(
    "host", ["", "evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.2:{PORT}",
             f"{HOST}, {HOST}", f"{HOST}.evil.example", f"localhost:{PORT + 1}"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_gets_nothing(door: Door, site: Site, host: str) -> None:
    link = door.link.removeprefix(f"http://{HOST}")
    assert refused(asks(link, host=host), door, site) == 403
    path = inside(door, site)
    assert refused(asks(path, host=host), door, site) == 403
    assert answer(asks(path, host=f"localhost:{PORT}"), door, site).status == 200


# --- what is served ------------------------------------------------------------------------------


def test_the_page_has_the_name_of_the_vm_and_noVNC(door: Door, site: Site) -> None:  # noqa: N802
    path = inside(door, site)
    page = answer(asks(path), door, site)
    assert b"<title>web &amp; &lt;co&gt;</title>" in page.body
    assert b"<co>" not in page.body
    parts = re.findall(r'(?:href|src)="(page[^"]*)"', page.body.decode())
    kinds = [answer(asks(path + part), door, site).kind for part in parts]
    assert kinds == ["text/css", "text/javascript"]
    script = answer(asks(f"{path}page.js"), door, site).body
    assert b'"./novnc/core/rfb.js"' in script
    module = answer(asks(f"{path}novnc/core/rfb.js"), door, site)
    assert (module.kind, module.body) == ("text/javascript", b"export default class RFB {}")
    assert answer(asks(f"{path}novnc/vendor/pako/zlib.js"), door, site).body == b"export {}"


@pytest.mark.parametrize(
    "name",
    [
        "novnc/", "novnc/core", "novnc/core/", "novnc/core/none.js", "novnc/core/secret.txt",
        "novnc/other.js", "novnc/../secret.js", "novnc/core/../../secret.js",
        "novnc/core/..%2f..%2fsecret.js", "novnc/core/%2e%2e/%2e%2e/secret.js",
        "novnc/core//rfb.js", "novnc/core/./rfb.js", "novnc//core/rfb.js", "novnc/core/rfb.js/",
        "novnc/core\\rfb.js", "novnc/core/rfb.js\0", "core/rfb.js", "page.html", "../page.js",
        "/etc/passwd", "novnc//etc/passwd", "x/novnc/core/rfb.js",
    ],
)  # fmt: skip
def test_no_other_file_is_served(door: Door, site: Site, name: str) -> None:
    assert refused(asks(inside(door, site) + name), door, site) == 404


def test_browsers_keep_the_page_to_itself(door: Door, site: Site) -> None:
    path = inside(door, site)
    for part in ("", "page.js", "novnc/core/rfb.js"):
        headers = answer(asks(path + part), door, site).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert f"connect-src 'self' ws://{HOST};" in policy
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


# --- the WebSocket's door ------------------------------------------------------------------------

WANTED = {
    "origin": f"http://{HOST}", "upgrade": "websocket", "connection": "keep-alive, Upgrade",
    "sec_websocket_version": "13", "sec_websocket_key": KEY,
}  # fmt: skip


def test_the_page_gets_the_screen(door: Door, site: Site) -> None:
    path = inside(door, site)
    found = answer(asks(f"{path}screen", **WANTED), door, site)
    assert (found.status, found.body) == (101, b"")
    assert found.headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "ICX+Yqv66kxgM0FcWaLWlFLwTAI=",
    }
    older = WANTED | {"sec_websocket_protocol": "chat, binary"}
    headers = answer(asks(f"{path}screen", **older), door, site).headers
    assert headers["Sec-WebSocket-Protocol"] == "binary"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"origin": ""}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": f"https://{HOST}"}, 403),
        ({"origin": f"http://localhost:{PORT}"}, 403),
        ({"origin": f"http://127.0.0.1:{PORT + 1}"}, 403),
        ({"host": f"localhost:{PORT}"}, 403),
        ({"upgrade": ""}, 426),
        ({"upgrade": "h2c"}, 426),
        ({"connection": "close"}, 426),
        ({"sec_websocket_version": "8"}, 400),
        ({"sec_websocket_key": ""}, 400),
        ({"sec_websocket_key": "short"}, 400),
    ],
)
def test_no_other_page_gets_the_screen(
    door: Door, site: Site, wrong: dict[str, str], status: int
) -> None:
    path = inside(door, site)
    assert refused(asks(f"{path}screen", **(WANTED | wrong)), door, site) == status
    assert refused(asks("/screen", **WANTED), door, site) == 404


# --- HTTP ----------------------------------------------------------------------------------------


def test_a_request_is_read() -> None:
    asked = parse(b"GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\nA-b:  1 \r\na-B: \xe9\r\nEmpty:")
    assert (asked.path, asked.query) == ("/a/b", "c=d?e")
    assert asked.headers == {"host": "x", "a-b": "1, \xe9", "empty": ""}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET / HTTP/1.0", 400),
        (b"GET http://127.0.0.1/ HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1", 400),
        (b"POST / HTTP/1.1", 405),
        (b"OPTIONS / HTTP/1.1", 405),
        (b"GET / HTTP/1.1\r\nHost : x", 400),
        (b"GET / HTTP/1.1\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nOrigin: y", 400),
        (b"GET / HTTP/1.1\r\nHost: x\0", 400),
        (b"GET / HTTP/1.1\r\nnone", 400),
    ],
)
def test_what_is_no_request_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse(head)
    assert caught.value.status == status


# --- the whole way -------------------------------------------------------------------------------


class Screen:
    """The VNC server of a VM of bhyve's that is this process; it sends back what it hears."""

    def __init__(self, home: Home) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        self.file = home.vm.state / "state.json"
        self.file.parent.mkdir(parents=True, mode=0o700)
        pid = os.getpid()
        record = {
            "pid": pid, "started_at": started_at(pid), "boot_id": statedir.boot_id(),
            "hypervisor": "bhyve", "outline": {"vnc": f"127.0.0.1:{port}"},
        }  # fmt: skip
        self.file.write_text(json.dumps(record))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                viewer, _ = self.listener.accept()
            except OSError:
                return
            with viewer:
                viewer.sendall(RFB)
                while chunk := viewer.recv(1 << 16):
                    viewer.sendall(chunk)
                    if chunk.endswith(b"leave"):
                        break

    def close(self) -> None:
        self.file.unlink()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@pytest.fixture
def screen(home: Home) -> Iterator[Screen]:
    made = Screen(home)
    yield made
    made.close()


@pytest.fixture
def server(home: Home, site: Site) -> Iterator[Server]:
    """A server that takes connections until the end of the test."""
    made = Server(Site(vm=home.vm.name, novnc=site.novnc))
    made.listener.setblocking(True)
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            made.admit()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield made
    over.set()
    with socket.create_connection(made.listener.getsockname()):
        thread.join(10)
    made.close()


def fetch(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.door.hosts[0], timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def entered(server: Server) -> str:
    token = server.door.link.partition("/?")[2]
    status, headers, _ = fetch(server, f"/?{token}")
    assert status == 303
    return headers["Location"]


class Viewer:
    """A browser's end of a WebSocket, past the handshake."""

    def __init__(self, server: Server, path: str, early: bytes = b"") -> None:
        self.socket = socket.create_connection(server.listener.getsockname(), 10)
        host = server.door.hosts[0]
        words = [
            f"GET {path}screen HTTP/1.1", f"Host: {host}", f"Origin: http://{host}",
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}", "", "",
        ]  # fmt: skip
        self.socket.sendall("\r\n".join(words).encode() + early)
        self.read = b""
        self.hears(b"\r\n\r\n")

    def hears(self, what: bytes) -> None:
        while what not in self.read:
            chunk = self.socket.recv(1 << 16)
            assert chunk, self.read
            self.read += chunk
        self.read = self.read.partition(what)[2]

    def end(self) -> bytes:
        """What is left when the other end has closed."""
        with self.socket:
            while chunk := self.socket.recv(1 << 16):
                self.read += chunk
        return self.read


def test_a_server_serves_its_page_and_refuses_all_else(server: Server) -> None:
    assert fetch(server, "/")[0] == 403
    path = entered(server)
    status, headers, body = fetch(server, path)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"page.js" in body
    assert fetch(server, path, Host="evil.example")[0] == 403
    status, headers, body = fetch(server, "/favicon.ico")
    assert (status, headers["Cache-Control"]) == (404, "no-store")
    assert path.strip("/").encode() not in body
    assert server.listener.getsockname()[0] == "127.0.0.1"


def test_a_request_without_end_is_cut(server: Server) -> None:
    with socket.create_connection(server.listener.getsockname(), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nA: " + b"a" * 30000)
        assert client.recv(64).startswith(b"HTTP/1.1 431 ")


@pytest.mark.usefixtures("screen")
def test_bytes_come_through_both_ways(server: Server) -> None:
    viewer = Viewer(server, entered(server))
    viewer.hears(frame(RFB))
    viewer.socket.sendall(masked(b"one") + masked(b"alive?", PING))
    viewer.hears(frame(b"alive?", PONG))
    viewer.socket.sendall(masked(b"leave"))
    assert viewer.end().endswith(frame((1001).to_bytes(2, "big"), CLOSE))


@pytest.mark.usefixtures("screen")
def test_what_a_browser_sends_too_early_is_not_lost(server: Server) -> None:
    viewer = Viewer(server, entered(server), early=masked(b"early, leave"))
    viewer.hears(b"early, leave")
    viewer.end()


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize(
    ("sent", "code"),
    [(masked(b"", CLOSE), 1000), (b"\x82\x01a", 1002), (masked(b"text", 1), 1003)],
)
def test_a_browser_that_leaves_or_errs_is_told_the_number(
    server: Server, sent: bytes, code: int
) -> None:
    viewer = Viewer(server, entered(server))
    viewer.hears(frame(RFB))
    viewer.socket.sendall(sent)
    assert viewer.end() == frame(code.to_bytes(2, "big"), CLOSE)


def test_a_screen_that_is_away_for_a_moment_can_be_asked_for_again(
    server: Server, home: Home
) -> None:
    path = entered(server)
    more = {name.replace("_", "-"): value for name, value in WANTED.items()}
    more["origin"] = f"http://{server.door.hosts[0]}"
    assert fetch(server, f"{path}screen", **more)[0] == 503
    there = Screen(home)
    viewer = Viewer(server, path)
    viewer.hears(frame(RFB))
    viewer.socket.sendall(masked(b"leave"))
    viewer.end()
    there.close()


def test_one_connection_too_many_is_closed(server: Server) -> None:
    def come() -> socket.socket:
        return socket.create_connection(server.listener.getsockname(), 10)

    held = [come() for _ in range(64)]
    try:
        with come() as late:
            assert late.recv(1) == b""
        held.pop().close()
    finally:
        for each in held:
            each.close()


# --- noVNC, and the command ----------------------------------------------------------------------


def test_novnc_that_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, site: Site, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOVNC_DIR", site.novnc)
    assert web_files.find() == site.novnc
    monkeypatch.setenv("NOVNC_DIR", str(tmp_path))
    with pytest.raises(VmError, match="there is no noVNC in") as caught:
        web_files.find()
    assert caught.value.status == 69
    monkeypatch.delenv("NOVNC_DIR")
    monkeypatch.setattr(web_files, "_USUAL", (str(tmp_path),))
    with pytest.raises(VmError, match="noVNC is not installed") as caught:
        web_files.find()
    assert "apt install --no-install-recommends novnc" in caught.value.faults[0].hint


Says = Callable[..., tuple[int, str]]


@pytest.fixture
def says(home: Home, capsys: pytest.CaptureFixture[str]) -> Says:
    """What vm-console answers."""
    home.vm.describe("")

    def say(*words: str) -> tuple[int, str]:
        status = main(list(words))
        return status, capsys.readouterr().err

    return say


@pytest.mark.parametrize("words", [("vm", "com1"), ("vm", "-n", "3"), ("vm", "-f")])
def test_what_is_for_a_serial_port_is_not_for_the_screen(says: Says, words: tuple[str]) -> None:
    status, said = says("--web", *words)
    assert status == 64
    assert said.startswith("vm-console: --web shows the screen: ")


def test_only_what_runs_has_a_page(says: Says) -> None:
    status, said = says("--web", "vm")
    assert (status, said.partition("\n")[0]) == (69, "vm-console: vm is not running")
    status, said = says("--web", "../vm")
    assert status == 64
