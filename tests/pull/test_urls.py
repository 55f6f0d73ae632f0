"""Which addresses may be asked, and that no secret in one is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pull.net import urls
from vm_spec.fault import VmError

ELSEWHERE = "https://boxes.example.org/8.json"
ALWAYS = ["https://example.org/a.box", "HTTPS://example.org:8443/a?b=c", "https://[2001:db8::1]/a"]
LOOPBACK = ["http://127.0.0.1:8080/a.box", "http://localhost/a", "http://[::1]:80/a"]
PLAIN = ["http://example.org/a", "HTTP://example.org", "http://127.0.0.1.example.org/",
         "http://localhost.example.org/", "http://10.0.0.1/", "http://0x7f000001/"]  # fmt: skip
NEVER = ["file:///etc/passwd", "FILE:/etc/passwd", "ftp://example.org/a", "gopher://example.org:70/",
         "data:text/plain,x", "javascript:0", "ssh://example.org", "nbd://example.org"]  # fmt: skip
NO_ADDRESS = [
    "", "//example.org/a", "/etc/passwd", "https://", "https:///etc/passwd", "https:example.org",
    "https://example.org:0/", "https://example.org:99999/", "https://example.org:x/",
    "https://exam ple.org/", "https://example.org\\@evil.org/", "https://example.org/\r\nX: y",
    "https://example.org/\ta", " https://example.org/", "https://[::1", "https://a/" + "b" * 9000,
    "https://\ud800/",
]  # fmt: skip


@pytest.mark.parametrize("url", ALWAYS)
def test_https_may_be_asked_wherever_it_came_from(url: str) -> None:
    for came_from in ("", ELSEWHERE, "/home/me/8.json"):
        assert urls.is_web(url)
        urls.check(url, insecure=False, came_from=came_from)


@pytest.mark.parametrize("url", PLAIN)
def test_threat_b1_http_is_refused_unless_the_user_says_insecure(url: str) -> None:
    for came_from in ("", ELSEWHERE, "http://127.0.0.1/"):
        with pytest.raises(VmError, match="--insecure") as caught:
            urls.check(url, insecure=False, came_from=came_from)
        assert caught.value.status == 77
        urls.check(url, insecure=True, came_from=came_from)


@pytest.mark.parametrize("url", LOOPBACK)
def test_threat_b1_http_on_this_host_may_be_asked_but_not_when_another_host_leads_there(
    url: str,
) -> None:
    for came_from in ("", "/home/me/8.json", "http://127.0.0.1:99/x"):
        urls.check(url, insecure=False, came_from=came_from)
    with pytest.raises(VmError, match=r"boxes\.example\.org/8\.json leads to http://"):
        urls.check(url, insecure=False, came_from=ELSEWHERE)


@pytest.mark.parametrize("url", NEVER)
def test_threat_b1_other_kinds_of_addresses_are_refused_even_with_insecure(url: str) -> None:
    for insecure in (False, True):
        with pytest.raises(VmError, match="only https: addresses are asked") as caught:
            urls.check(url, insecure=insecure, came_from=ELSEWHERE)
        assert caught.value.status == 77
    assert not urls.is_web(url)


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_threat_b1_what_libraries_read_differently_is_no_address(url: str) -> None:
    with pytest.raises(VmError, match="no address"):
        urls.check(url, insecure=True)
    assert urls.host(url) == ""
    assert urls.origin(url) == ("", "", 0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@example.org/a", "https://example.org/a"),
        ("https://me@example.org:8443/a#hunter2", "https://example.org:8443/a"),
        ("https://me:hun/ter2hunter2@example.org/a", "https://example.org/a"),
        ("https://me:hunter2\\@example.org/", "https://example.org/"),
        ("https:/me:hunter2@example.org/a", "https:/example.org/a"),
        ("https://me:hunter2@example.org:bad/a", "https://example.org:bad/a"),
        ("https://me:hunter2?@example.org/a", "https://example.org/a"),
        ("me:hunter2@example.org/a", "example.org/a"),
        ("https://s3.example.org/b.box?X-Amz-Signature=hunter2&X-Amz-Date=1",
         "https://s3.example.org/b.box?X-Amz-Signature=...&X-Amz-Date=1"),
        ("https://example.org/b?access_token=hunter2", "https://example.org/b?access_token=..."),
        ("/home/me@work/a.box", "/home/me@work/a.box"),
        ("https://example.org/me@v1/a", "https://example.org/me@v1/a"),
    ],
)  # fmt: skip
def test_threat_b3_passwords_and_tokens_are_not_shown(url: str, shown: str) -> None:
    assert urls.shown(url) == shown
    assert "hunter2" not in urls.shown(url)


@given(st.text(st.sampled_from("/:?#\\ .@ax1[]"), max_size=12))
def test_threat_b3_no_fault_shows_a_password_wherever_it_stands(mess: str) -> None:
    for url in (f"http://me:hunter2{mess}@example.org/", f"ftp://me:hunter2{mess}@example.org/a"):
        if urls.host(url) not in ("", "example.org"):
            continue  # the password has ended before the mess: it is part of a path
        with pytest.raises(VmError) as caught:
            urls.check(url, insecure=False)
        assert "hunter2" not in str(caught.value)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert urls.origin("https://Example.ORG./x") == ("https", "example.org", 443)
    assert urls.origin("http://u:p@example.org:8080") == ("http", "example.org", 8080)
