"""Asking servers: redirects, refusals, certificates, passwords (threats B1, B2 and B3)."""

from __future__ import annotations

import email.utils
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from tests.pull.certificates import Authority
from tests.pull.server import File, Reply, Seen, Server, raw, redirect, serve
from vm_pull.net import urls
from vm_pull.net.tries import Patience
from vm_pull.net.trouble import trouble
from vm_pull.net.web import Web
from vm_spec.fault import VmError

QUICK = Patience(pause_s=0.001)
CATALOG = b'{"name":"a/b","versions":[]}'
VARIABLES = (
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, and an environment without proxies."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def world(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A TLS server that is a.example and b.example, behind a proxy; it is trusted."""
    with serve(authority.signed("DNS:a.example", "DNS:b.example")) as secure:
        server.tunnel = secure
        monkeypatch.setenv("https_proxy", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        yield secure


def body(url: str, *, web: Web | None = None, came_from: str = "") -> bytes:
    with web or Web(patience=QUICK) as opened:
        download = opened.open(url, accept_json=True, came_from=came_from)
        try:
            return download.text(1 << 20, 20)
        finally:
            download.close()


def refusal(url: str, *, web: Web | None = None, came_from: str = "") -> VmError:
    with pytest.raises(VmError) as caught:
        body(url, web=web, came_from=came_from)
    return caught.value


def test_a_catalog_is_fetched(server: Server) -> None:
    url = server.at("/b.json", Reply(body=CATALOG))
    assert body(url) == CATALOG
    [seen] = server.seen
    assert seen.header("Accept").startswith("application/json")
    assert seen.header("User-Agent") == "vm-pull"


def test_the_first_bytes_are_there_before_the_body_is_read(server: Server) -> None:
    url = server.at("/a.box", Reply(body=b"\x1f\x8b" + bytes(10_000)))
    with Web() as web:
        download = web.open(url)
        assert download.first == b"\x1f\x8b" + bytes(4094)
        assert download.size == 10_002
        assert download.url == url
        assert b"".join(download.blocks()) == b"\x1f\x8b" + bytes(10_000)
        download.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, status: int) -> None:
    server.at("/c", Reply(body=CATALOG))
    url = server.at("/a", redirect("b?x=1", status))
    server.at("/b?x=1", redirect(f"http://localhost:{server.port}/c", status))
    with Web() as web:
        download = web.open(url)
        assert download.url == f"http://localhost:{server.port}/c"
        assert download.text(1000, 20) == CATALOG
        download.close()


def test_ten_redirects_are_followed_and_eleven_are_not(server: Server) -> None:
    for number in range(11):
        server.at(f"/{number}", redirect(f"/{number + 1}"))
    server.at("/11", Reply(body=CATALOG))
    assert body(server.url + "/1") == CATALOG
    assert "comes after more than 10 redirects" in str(refusal(server.url + "/0"))


def test_a_redirect_with_spaces_and_umlauts_is_followed(server: Server) -> None:
    url = server.at("/a", redirect("/b c/\u00e4.json".encode().decode("latin-1")))
    server.at("/b%20c/%C3%A4.json", Reply(body=CATALOG))
    assert body(url) == CATALOG


def test_threat_b1_https_does_not_lead_to_http(world: Server, server: Server) -> None:
    world.at("/a", redirect("http://b.example/secret"))
    error = refusal("https://a.example/a")
    assert error.status == 77
    assert "https://a.example/a leads to http://b.example/secret" in str(error)
    assert server.asked("/secret") == []


def test_threat_b1_insecure_allows_http_and_says_so(world: Server, server: Server) -> None:
    world.at("/a", redirect("http://b.example/b"))
    server.at("/b", Reply(body=CATALOG))
    assert body("https://a.example/a", web=Web(insecure=True)) == CATALOG
    assert refusal("http://b.example/b").status == 77


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd", "FILE:/etc/passwd", "ftp://b.example/x", "gopher://b.example/x",
        "data:text/plain,x", "//b.example/x", "///b.example/x", "/\\b.example/x",
        "\\\\b.example\\x", "/\t/b.example/x", "http://b.example/x", "https://[::1/x",
        "https://b.example:99999/x", "unix:/run/x.sock", "https://a.example\\@b.example/x",
    ],
)  # fmt: skip
def test_threat_b1_a_redirect_to_anything_but_https_is_refused(
    world: Server, server: Server, target: str
) -> None:
    world.at("/a", redirect(target))
    error = refusal("https://a.example/a")
    assert error.status in {65, 77}
    assert "https://a.example/a leads to" in str(error)
    assert [seen.path for seen in world.seen] == ["/a"]
    assert [seen.method for seen in server.seen] == ["CONNECT"]


def test_threat_b1_a_catalog_elsewhere_cannot_name_a_service_of_this_host(server: Server) -> None:
    url = server.at("/admin", Reply(body=CATALOG))
    error = refusal(url, came_from="https://a.example/catalog.json")
    assert error.status == 77
    assert server.seen == []


@given(st.text(alphabet="aB1.-:@/\\[]?#%\u00e4\uff0f\u3002 \t", max_size=20))
def test_threat_b1_two_libraries_agree_which_host_an_address_names(rest: str) -> None:
    url = f"https://{rest}"
    if not urls.is_web(url):
        return
    try:
        prepared = requests.Request("GET", url).prepare().url
    except (requests.RequestException, UnicodeError):
        return
    assert prepared is not None
    asked = (parse_url(prepared).host or "").strip("[]").rstrip(".").lower()
    assert asked == urls.host(prepared).lower()
    assert asked == urls.host(url).lower() or not urls.host(url).isascii()


def test_threat_b2_a_catalog_larger_than_its_limit_is_refused(server: Server) -> None:
    endless = b"{" + b" " * (3 << 20)
    for name, reply in {
        "/known": Reply(body=endless),
        "/chunked": Reply(body=endless, chunked=True),
        "/until-the-end": Reply(body=endless, length=-1, headers={"Connection": "close"}),
    }.items():
        error = refusal(server.at(name, reply))
        assert f"{name} is larger than 1024 KiB" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZip"])
def test_a_catalog_may_be_compressed_unasked(server: Server, encoding: str) -> None:
    packed = gzip.compress(CATALOG)
    url = server.at("/b", Reply(body=packed, headers={"Content-Encoding": encoding}))
    with Web() as web:
        download = web.open(url)
        assert download.first == CATALOG
        assert download.text(1000, 20) == CATALOG
        download.close()
    assert server.seen[0].header("Accept-Encoding") == "identity"


def test_a_box_that_is_called_gzip_arrives_as_it_is(server: Server) -> None:
    box = gzip.compress(bytes(100_000))
    url = server.at("/b", Reply(body=box, headers={"Content-Encoding": "gzip"}))
    with Web() as web:
        download = web.open(url)
        assert download.first == box[:4096]
        assert b"".join(download.blocks()) == box
        download.close()


def test_threat_b2_a_compressed_catalog_is_not_a_bomb(server: Server) -> None:
    bomb = gzip.compress(b"{" + bytes(200 << 20), 9)
    assert len(bomb) < 1 << 20
    url = server.at("/b", Reply(body=bomb, headers={"Content-Encoding": "gzip"}))
    assert "is larger than 1024 KiB" in str(refusal(url))


@pytest.mark.parametrize("cut", [20, -9, -1])
def test_a_compressed_catalog_that_is_cut_short_is_refused(server: Server, cut: int) -> None:
    packed = gzip.compress(CATALOG)[:cut]
    url = server.at("/b", Reply(body=packed, headers={"Content-Encoding": "gzip"}))
    assert "is not the gzip that it says it is" in str(refusal(url))


def test_threat_b2_a_trickling_catalog_ends_at_its_deadline(server: Server) -> None:
    never = threading.Event()
    url = server.at("/b", Reply(body=b"{" + b" " * 9000, drip=5000, gate=never))
    with Web() as web:
        download = web.open(url)
        with pytest.raises(VmError, match=r"/b took more than 0\.1 seconds"):
            download.text(1 << 20, 0.1)
        download.close()


def test_threat_b2_a_deadline_also_ends_the_waits_between_tries(server: Server) -> None:
    file = File(b"{" + b" " * 9000, cuts=[5000] * 9)
    with Web(patience=Patience(pause_s=60)) as web:
        download = web.open(server.at("/b", file))
        with pytest.raises(VmError, match=r"took more than 0\.1 seconds"):
            download.text(1 << 20, 0.1)
        download.close()


@pytest.mark.parametrize("before", [4096, 5000])
def test_threat_b2_a_trickle_without_a_length_does_not_pass_for_a_whole(
    server: Server, before: int
) -> None:
    never = threading.Event()
    closes = {"Connection": "close"}
    endless = Reply(body=b"{" + b" " * 9000, length=-1, headers=closes, drip=before, gate=never)
    with Web() as web:
        download = web.open(server.at("/b", endless))
        with pytest.raises(VmError, match=r"/b took more than 0\.1 seconds"):
            download.text(1 << 20, 0.1)
        download.close()


def test_headers_that_are_cut_short_are_asked_for_again(server: Server) -> None:
    whole = server.at("/b", Reply(body=CATALOG))
    answers = iter(
        [b"HTTP/1.1 200 OK\r\nContent-Le", f"HTTP/1.1 302 x\r\nLocation: {whole}\r\n\r\n".encode()]
    )

    def answer(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(next(answers))

    with raw(answer) as url:
        assert body(url) == CATALOG


def drip(connection: socket.socket, text: bytes, closing: threading.Event) -> None:
    """Sends one byte every 10 ms: each arrives before any timeout between bytes."""
    for at in range(len(text)):
        connection.sendall(text[at : at + 1])
        if closing.wait(0.01):
            return


def test_threat_b2_trickling_headers_end_at_a_deadline() -> None:
    def answer(connection: socket.socket, closing: threading.Event) -> None:
        connection.recv(4096)
        drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 9999, closing)

    with raw(answer) as url:
        impatient = Patience(tries=2, headers_s=0.2, pause_s=0.001)
        assert "127.0.0.1 does not answer" in str(refusal(url, web=Web(patience=impatient)))


def test_threat_b2_a_trickling_handshake_ends_at_a_deadline() -> None:
    def answer(connection: socket.socket, closing: threading.Event) -> None:
        drip(connection, b"\x16\x03\x03\x40\x00" + bytes(9999), closing)

    with raw(answer) as url:
        impatient = Patience(tries=2, headers_s=0.2, pause_s=0.001)
        error = refusal(url.replace("http:", "https:"), web=Web(patience=impatient))
        assert str(error) == "127.0.0.1 does not answer"


def test_threat_b2_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    never = threading.Event()
    server.at("/b", Reply(body=CATALOG))
    headers = {"Location": "/b"}
    url = server.at("/a", Reply(302, b"x" * 50_000, headers, drip=100, gate=never))
    assert body(url) == CATALOG


def test_a_server_that_says_nothing_is_left_after_the_read_timeout() -> None:
    def answer(connection: socket.socket, closing: threading.Event) -> None:
        connection.recv(4096)
        closing.wait(20)

    with raw(answer) as url:
        web = Web(patience=Patience(tries=1, read_s=0.1))
        assert str(refusal(url, web=web)) == "127.0.0.1 does not answer"


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"SSH-2.0-x\r\n", b"\0" * 100, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: "
     b"2\r\n\r\nxx", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200],
)  # fmt: skip
def test_what_is_no_http_is_a_fault_and_no_traceback(nonsense: bytes) -> None:
    def answer(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(nonsense)

    with raw(answer) as url:
        assert "broke off" in str(refusal(url))


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (Reply(404), 66, ["is not there (404)", "VAGRANT_CLOUD_TOKEN"]),
        (Reply(401), 77, ["does not let us have", "(401)", "VAGRANT_CLOUD_TOKEN"]),
        (Reply(403), 77, ["does not let us have", "(403)", "VAGRANT_CLOUD_TOKEN"]),
        (Reply(410), 66, ["is gone for good (410)"]),
        (Reply(429, headers={"Retry-After": "7200"}), 75, ["too many requests", "in 2 hours"]),
        (Reply(503, headers={"Retry-After": "61"}), 69, ["is in trouble (503)"]),
        (Reply(418), 69, ["answered 418"]),
        (Reply(204), 69, ["answered 204"]),
        (Reply(206, b"x", {"Content-Range": "bytes 0-0/9"}), 69, ["answered 206"]),
        (Reply(302), 69, ["answered 302"]),
        (Reply(304), 69, ["answered 304"]),
    ],
)
def test_a_refusal_is_told_in_words(
    server: Server, reply: Reply, status: int, words: list[str]
) -> None:
    error = refusal(server.at("/x", reply))
    assert error.status == status
    for word in words:
        assert word in str(error)
    assert len(server.seen) == 1


def test_a_rate_limit_says_when_it_ends(server: Server) -> None:
    headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Reset": str(int(time.time()) + 1000)}
    error = refusal(server.at("/x", Reply(429, headers=headers)))
    assert error.status == 75
    assert "try again in 17 minutes" in str(error)


def test_a_date_in_retry_after_is_understood(server: Server) -> None:
    then = email.utils.formatdate(time.time() + 1000, usegmt=True)
    error = refusal(server.at("/x", Reply(429, headers={"Retry-After": then})))
    assert "try again in 17 minutes" in str(error)


@pytest.mark.parametrize("after", ["soon", "-1", "\u00b2", "9" * 400, "Mon, 99 Foo 2000"])
def test_nonsense_in_retry_after_is_passed_over(server: Server, after: str) -> None:
    replies = [Reply(503, headers={"Retry-After": after})] * 2
    assert body(server.at("/x", *replies, Reply(body=CATALOG))) == CATALOG


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_tried_again_and_each_try_is_told(server: Server, status: int) -> None:
    told: list[str] = []
    bad = Reply(status, b"<html>sorry</html>")
    url = server.at("/x", bad, bad, Reply(body=CATALOG))
    assert body(url, web=Web(tell=told.append, patience=QUICK)) == CATALOG
    assert len(told) == 2
    assert f"({status})" in told[0]
    assert "try 2 of 5" in told[0]
    assert "try 3 of 5" in told[1]


def test_five_troubles_are_enough(server: Server) -> None:
    error = refusal(server.at("/x", Reply(500)))
    assert len(server.seen) == 5
    assert str(error) == "127.0.0.1 is in trouble (500)\n  hint: try again later"


def test_a_short_retry_after_is_waited_for(server: Server) -> None:
    told: list[str] = []
    patient = Patience(pause_s=60, most_pause_s=60)  # far longer than the server asks for
    url = server.at("/x", Reply(429, headers={"Retry-After": "1"}), Reply(body=CATALOG))
    assert body(url, web=Web(tell=told.append, patience=patient)) == CATALOG
    assert "trying again in 1 s" in told[0]


def test_a_host_where_nobody_listens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told: list[str] = []
    error = refusal(f"http://127.0.0.1:{port}/x", web=Web(tell=told.append))
    assert str(error) == "127.0.0.1 cannot be reached: Connection refused"
    assert told == []


def test_a_name_that_is_no_host_is_told() -> None:
    long = "https://" + "a" * 70 + ".example/x"
    assert "is no name of a host" in str(refusal(long))
    assert "nowhere.invalid is not known" in str(refusal("https://nowhere.invalid/x"))


def expired(authority: Authority) -> ssl.SSLContext:
    return authority.signed("DNS:a.example", days=0)


def another_hosts(authority: Authority) -> ssl.SSLContext:
    return authority.signed("DNS:other.example")


def self_signed(authority: Authority) -> ssl.SSLContext:
    return authority.unsigned("DNS:a.example")


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (expired, "expired"),
        (another_hosts, "is the address right?"),
        (self_signed, "self-signed"),
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_threat_b3_a_bad_certificate_is_refused_whatever_is_said(
    world: Server,
    server: Server,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    certificate: Callable[[Authority], ssl.SSLContext],
    words: str,
    *,
    insecure: bool,
) -> None:
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv("CURL_INSECURE", "1")
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    with serve(certificate(authority)) as bad:
        bad.at("/x", Reply(body=CATALOG))
        server.tunnel = bad
        error = refusal("https://a.example/x", web=Web(insecure=insecure))
        assert error.status == 77
        assert "a.example does not prove that it is a.example" in str(error)
        assert words in str(error)
        assert bad.seen == []
    assert world.seen == []


def test_threat_b3_a_failure_of_tls_without_a_known_cause_is_a_refusal() -> None:
    error = trouble(requests.exceptions.SSLError("hunter2"), "https://a.example/")
    assert error.status == 77
    assert str(error).startswith("a.example does not prove that it is a.example\n")


def test_threat_b3_an_authority_that_nobody_named_is_not_trusted(
    world: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.at("/x", Reply(body=CATALOG))
    assert body("https://a.example/x") == CATALOG
    for empty in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(empty, "")
    error = refusal("https://a.example/x")
    assert "name the signer's file in REQUESTS_CA_BUNDLE" in str(error)


@pytest.mark.parametrize("value", ["0", "false", "/nowhere/ca.pem"])
def test_threat_b3_a_variable_that_is_no_bundle_switches_nothing_off(
    world: Server, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", value)
    error = refusal("https://a.example/x")
    assert error.status == 78
    assert f"there are no certificates at {value}" in str(error)
    assert world.seen == []


def test_threat_b3_http_on_a_port_for_https_is_told(server: Server) -> None:
    error = refusal(server.url.replace("http:", "https:"))
    assert "127.0.0.1 and this machine do not agree on TLS" in str(error)


def login(seen: Seen) -> str:
    return seen.header("Authorization")


def test_threat_b3_a_password_in_an_address_is_for_its_host_only(server: Server) -> None:
    server.at("/a", redirect("/b"))
    server.at("/b", redirect(f"http://localhost:{server.port}/c"))
    server.at("/c", redirect(f"{server.url}/d"))
    server.at("/d", Reply(body=CATALOG))
    url = server.url.replace("//", "//me:s%40cret@") + "/a"
    with Web() as web:
        download = web.open(url)
        assert download.url == f"{server.url}/d"
        download.close()
    basic = "Basic bWU6c0BjcmV0"
    assert [(seen.path, login(seen)) for seen in server.seen] == [
        ("/a", basic), ("/b", basic), ("/c", ""), ("/d", basic),
    ]  # fmt: skip


def test_threat_b3_a_redirect_cannot_give_us_another_password(server: Server) -> None:
    server.at("/a", redirect(server.url.replace("//", "//other:word@") + "/b"))
    server.at("/b", Reply(body=CATALOG))
    assert body(server.url.replace("//", "//me:secret@") + "/a") == CATALOG
    assert login(server.asked("/b")[0]) == login(server.asked("/a")[0])


def test_threat_b3_a_token_goes_to_its_host_only(server: Server) -> None:
    server.at("/a", redirect(f"http://localhost:{server.port}/b"))
    server.at("/b", Reply(body=CATALOG))
    asked: list[str] = []

    def token_for(url: str) -> str:
        asked.append(url)
        return "t0ken;hcp" if urls.host(url) == "127.0.0.1" else ""

    assert body(f"{server.url}/a", web=Web(token_for=token_for)) == CATALOG
    assert [login(seen) for seen in server.seen] == ["Bearer t0ken;hcp", ""]
    assert asked == [f"{server.url}/a", f"http://localhost:{server.port}/b"]


def test_threat_b3_a_token_cannot_add_a_header(server: Server) -> None:
    web = Web(token_for=lambda _: "secret\r\nX-Evil: 1")
    error = refusal(server.at("/a", Reply(body=CATALOG)), web=web)
    assert "has characters that no token has" in str(error)
    assert "secret" not in str(error)
    assert server.seen == []


def test_threat_b3_the_passwords_of_netrc_are_not_sent(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (home / ".netrc", home / "netrc"):
        file.write_text("machine 127.0.0.1 login me password secret\ndefault login x password y\n")
        file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    server.at("/a", redirect("/b"))
    server.at("/b", Reply(body=CATALOG))
    assert body(f"{server.url}/a") == CATALOG
    assert {login(seen) for seen in server.seen} == {""}


def test_threat_b3_cookies_are_not_kept(server: Server) -> None:
    cookie = {"Location": "/b", "Set-Cookie": "id=1; Path=/"}
    server.at("/a", Reply(302, headers=cookie))
    server.at("/b", Reply(body=CATALOG))
    assert body(f"{server.url}/a") == CATALOG
    assert server.seen[1].header("Cookie") == ""


@pytest.mark.parametrize(
    "reply",
    [Reply(404), Reply(403), Reply(429, headers={"Retry-After": "999"}), Reply(418),
     redirect("ftp://u:hunter2@x.example/"), redirect("//u:hunter2@x.example/"),
     Reply(body=b"{" + bytes(2 << 20))],
)  # fmt: skip
def test_threat_b3_no_message_tells_a_password(server: Server, reply: Reply) -> None:
    path = "/x?token=hunter2"
    server.at(path, reply)
    url = server.url.replace("//", "//me:hunter2@") + path
    assert "hunter2" not in str(refusal(url))


def test_threat_b3_a_failing_proxy_does_not_tell_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://me:hunter2@127.0.0.1:{port}")
    error = refusal("https://a.example/x")
    assert "the proxy does not lead to a.example" in str(error)
    assert "hunter2" not in str(error)


def test_a_proxy_that_refuses_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    error = refusal("https://a.example/x")
    assert "the proxy does not lead to a.example: Tunnel connection failed: 403" in str(error)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://x", "http://"])
def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    assert "proxy" in str(refusal("https://a.example/x"))


def test_proxies_of_the_environment_are_used_and_no_proxy_too(
    world: Server, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.at("/x", Reply(body=CATALOG))
    assert body("https://a.example/x") == CATALOG
    assert [(seen.method, seen.path) for seen in server.seen] == [("CONNECT", "a.example:443")]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.at("/direct", Reply(body=CATALOG))
    assert body(f"{server.url}/direct") == CATALOG
    assert server.asked("/direct")[0].header("X-Proxied-Host") == ""


def test_a_connection_is_used_again_for_the_same_host(server: Server) -> None:
    for path in ("/a", "/b"):
        server.at(path, Reply(body=CATALOG))
    with Web() as web:
        for path in ("/a", "/b"):
            download = web.open(server.url + path)
            assert download.text(1000, 20) == CATALOG
            download.close()
    assert len({seen.port for seen in server.seen}) == 1


def test_requests_is_imported_only_to_ask() -> None:
    code = "import sys, vm_pull.net.web, vm_pull.net.local; sys.exit('requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0


def test_an_error_without_a_reason_of_the_system_says_its_own() -> None:
    error = trouble(socket.gaierror("the resolver stopped"), "https://a.example/")
    assert str(error).startswith("a.example is not known: the resolver stopped\n")
