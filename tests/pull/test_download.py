"""Bodies that break off, change and lie (threat B6), and files of this host."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pull.server import File, Reply, Seen, Server, raw, redirect, serve
from vm_pull.net.local import LocalDownload
from vm_pull.net.tries import Patience
from vm_pull.net.web import Web
from vm_spec.fault import VmError

QUICK = Patience(pause_s=0.001)
BOX = b"\x1f\x8b" + b"".join(number.to_bytes(4, "big") for number in range(100_000))
WHOLE = len(BOX)
QUARTERS = [WHOLE // 4, WHOLE // 2, WHOLE * 3 // 4]
LATE = WHOLE * 99 // 100
DATE = "Fri, 20 Nov 2026 20:00:00 GMT"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine comes between."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


class Fetched:
    """What came of an address, and what was told on the way."""

    def __init__(self, url: str, patience: Patience = QUICK) -> None:
        self.told: list[str] = []
        self.body = b""
        self.error: VmError | None = None
        with Web(tell=self.told.append, patience=patience) as web:
            download = web.open(url)
            try:
                for block in download.blocks():
                    assert 0 < len(block) <= 128 << 10
                    self.body += block
            except VmError as error:
                self.error = error
            finally:
                download.close()


def ranges(server: Server) -> list[tuple[str, str]]:
    return [(seen.header("Range"), seen.header("If-Range")) for seen in server.seen]


@pytest.mark.parametrize("cuts", [[LATE], QUARTERS, [WHOLE - 1], [5000, 5001, 5002]])
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_threat_b6_a_download_goes_on_where_it_broke_off(
    server: Server, cuts: list[int], *, reset: bool
) -> None:
    fetched = Fetched(server.at("/a", File(BOX, cuts=cuts, reset=reset)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert len(fetched.told) == len(cuts)
    assert {condition for _, condition in ranges(server)[1:]} == {'"one"'}
    if not reset:  # a RST may throw away what was sent before
        assert [part for part, _ in ranges(server)] == ["", *(f"bytes={cut}-" for cut in cuts)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(4096, WHOLE), max_size=6).map(sorted),
    etag=st.sampled_from(['"one"', 'W/"one"', ""]),
    modified=st.sampled_from([DATE, ""]),
    understood=st.booleans(),
    chunked=st.booleans(),
)
def test_threat_b6_what_comes_is_the_whole_or_a_fault(
    server: Server, cuts: list[int], etag: str, modified: str, *, understood: bool, chunked: bool
) -> None:
    file = File(BOX, etag, modified, cuts, ranges=understood, chunked=chunked)
    fetched = Fetched(server.at("/a", file))
    assert fetched.body == BOX if fetched.error is None else BOX.startswith(fetched.body)
    if etag or modified or not chunked:
        assert fetched.error is None or "stopped at byte" in str(fetched.error)


def test_a_server_that_does_not_know_ranges_sends_it_again_and_we_skip(server: Server) -> None:
    fetched = Fetched(server.at("/a", File(BOX, cuts=QUARTERS, ranges=False)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert any("begins again from the start; we skip what we have" in text for text in fetched.told)


@pytest.mark.parametrize(
    ("etag", "modified", "condition"),
    [
        ('"one"', DATE, '"one"'),
        ('W/"one"', DATE, DATE),
        ('W/"one"', "", ""),
        ("", DATE, DATE),
        ("", "", ""),
    ],
)
def test_a_weak_etag_is_no_condition(
    server: Server, etag: str, modified: str, condition: str
) -> None:
    fetched = Fetched(server.at("/a", File(BOX, etag, modified, cuts=[LATE])))
    assert fetched.body == BOX
    assert ranges(server)[1] == (f"bytes={LATE}-", condition)


@pytest.mark.parametrize("understood", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (('"one"', ""), ('"two"', "")),
        (('W/"one"', ""), ('W/"two"', "")),
        (("", DATE), ("", DATE.replace("20:", "21:"))),
    ],
)
def test_threat_b6_a_file_that_changed_on_the_way_is_refused(
    server: Server, before: tuple[str, str], after: tuple[str, str], *, understood: bool
) -> None:
    changed = File(BOX[::-1], *after, ranges=understood)
    fetched = Fetched(server.at("/a", File(BOX, *before, cuts=[LATE]), changed))
    assert fetched.error is not None
    assert fetched.error.status == 69
    assert "/a changed while it was fetched: it is another version now" in str(fetched.error)
    assert "hint: run the command again" in str(fetched.error)
    assert fetched.body == BOX[:LATE]


@pytest.mark.parametrize("understood", [True, False])
def test_threat_b6_a_file_of_another_size_is_refused(server: Server, *, understood: bool) -> None:
    longer = File(BOX + b"x", ranges=understood)
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), longer))
    assert f"it has {WHOLE + 1} bytes now, and had {WHOLE}" in str(fetched.error)


@pytest.mark.parametrize(
    "given",
    [
        f"bytes 0-{WHOLE - 1}/{WHOLE}",
        f"bytes {LATE - 1}-{WHOLE - 1}/{WHOLE}",
        f"bytes {LATE + 1}-{WHOLE - 1}/{WHOLE}",
        f"bytes -{LATE}/{WHOLE}",
        f"octets {LATE}-{WHOLE - 1}/{WHOLE}",
        f"bytes {LATE}-{WHOLE - 1}",
        "bytes " + "9" * 40 + "-1/1",
    ],
)
def test_threat_b6_a_part_that_is_not_the_asked_one_is_refused(server: Server, given: str) -> None:
    wrong = Reply(206, BOX[LATE:], {"ETag": '"one"', "Content-Range": given})
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), wrong))
    assert f"was asked for bytes from {LATE} on and answered with {given}" in str(fetched.error)
    assert fetched.body == BOX[:LATE]


def test_threat_b6_parts_without_a_place_are_not_taken(server: Server) -> None:
    parts = Reply(206, BOX[LATE:], {"Content-Type": "multipart/byteranges; boundary=x"})
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), parts))
    assert "came in a part that has no place" in str(fetched.error)
    assert fetched.body == BOX[:LATE]


def test_a_server_may_send_less_than_was_asked(server: Server) -> None:
    some = {"ETag": '"one"', "Content-Range": f"bytes {LATE}-{LATE + 9}/{WHOLE}"}
    few = Reply(206, BOX[LATE : LATE + 10], some)
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), few, File(BOX)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert ranges(server)[2] == (f"bytes={LATE + 10}-", '"one"')


def test_threat_b6_a_part_may_not_be_longer_than_the_whole(server: Server) -> None:
    headers = {"ETag": '"one"', "Content-Range": f"bytes {LATE}-{WHOLE - 1}/{WHOLE}"}
    long = Reply(206, BOX[LATE:] + b"evil", headers)
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), long))
    assert f"it sends more than its {WHOLE} bytes" in str(fetched.error)
    assert b"evil" not in fetched.body


def test_threat_b6_a_length_that_promises_too_much_is_no_whole(server: Server) -> None:
    lie = Reply(body=BOX, length=WHOLE + 100, headers={"ETag": '"one"'})
    fetched = Fetched(server.at("/a", lie, File(BOX)))
    assert "changed while it was fetched" in str(fetched.error)
    assert Fetched(server.at("/b", lie)).error is not None


def test_a_length_that_promises_too_little_ends_the_body(server: Server) -> None:
    lie = Reply(body=BOX, length=LATE)
    fetched = Fetched(server.at("/a", lie))
    assert fetched.body == BOX[:LATE]


@pytest.mark.parametrize("text", ["-5", "+5", "0x10", "9" * 400])
def test_a_length_that_is_no_number_is_no_length(text: str) -> None:
    def answer(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {text}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + b"hello")

    with raw(answer) as url:
        assert Fetched(url).body == b"hello"


def test_chunked_bodies_have_no_size_and_go_on_too(server: Server) -> None:
    file = File(BOX, cuts=[200_000, 300_000], chunked=True)
    fetched = Fetched(server.at("/a", file))
    assert fetched.error is None
    assert fetched.body == BOX
    assert len(server.seen) == 3


def test_threat_b6_a_length_beside_chunks_is_passed_over(server: Server) -> None:
    both = Reply(body=BOX, chunked=True, headers={"Content-Length": "5000"})
    url = server.at("/a", both)
    assert Fetched(url).body == BOX
    with Web() as web:
        download = web.open(url)
        assert download.size is None
        download.close()


def test_a_chunked_body_that_lacks_only_its_end_is_whole(server: Server) -> None:
    lacks_end = Reply(body=BOX, chunked=True, headers={"ETag": '"one"'}, stop_at=-5)
    fetched = Fetched(server.at("/a", lacks_end, File(BOX)))
    assert fetched.error is None or "stopped" in str(fetched.error)
    assert BOX.startswith(fetched.body)


def test_threat_b6_a_body_without_size_or_version_cannot_go_on(server: Server) -> None:
    file = File(BOX, etag="", cuts=[LATE], chunked=True)
    fetched = Fetched(server.at("/a", file, Reply(body=BOX, chunked=True)))
    assert "cannot be continued: its server tells neither size nor version" in str(fetched.error)


@pytest.mark.parametrize("total", [f"bytes */{LATE}", f"bytes */{WHOLE}", "", "bytes */x"])
def test_threat_b6_a_416_before_the_end_is_a_changed_file(server: Server, total: str) -> None:
    beyond = Reply(416, headers={"Content-Range": total} if total else {})
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), beyond))
    assert f"changed while it was fetched: nothing comes after {LATE} bytes" in str(fetched.error)


def test_five_failures_without_a_byte_between_them_are_enough(server: Server) -> None:
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE] * 99)))
    assert len(server.seen) == 5
    assert len(fetched.told) == 4
    assert f"/a stopped at byte {LATE} of {WHOLE}: " in str(fetched.error)
    assert "hint: run the command again" in str(fetched.error)


def test_failures_with_bytes_between_them_are_not_counted_together(server: Server) -> None:
    cuts = list(range(10_000, 300_000, 10_000))
    fetched = Fetched(server.at("/a", File(BOX, cuts=cuts)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert all("try 2 of 5" in text for text in fetched.told)


def test_a_server_in_trouble_meanwhile_is_waited_for(server: Server) -> None:
    trouble = [Reply(503), Reply(500), Reply(429, headers={"Retry-After": "0"})]
    fetched = Fetched(server.at("/a", File(BOX, cuts=[LATE]), *trouble, File(BOX)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert len(fetched.told) == 4


def test_a_server_that_is_gone_meanwhile_is_tried_again() -> None:
    with serve() as server:
        url = server.at("/a", File(BOX, cuts=[LATE]))
        with Web(patience=QUICK) as web:
            download = web.open(url)
            blocks = download.blocks()
            next(blocks)
            server.refuse()
            with pytest.raises(VmError, match="stopped at byte") as caught:
                list(blocks)
            assert "Connection refused" in str(caught.value)
            download.close()


def test_an_address_at_the_end_of_a_redirect_may_have_expired(server: Server) -> None:
    server.at("/a", redirect("/signed?sig=1"), redirect("/signed?sig=2"))
    server.at("/signed?sig=1", File(BOX, cuts=[LATE]), Reply(403))
    server.at("/signed?sig=2", File(BOX))
    fetched = Fetched(server.url + "/a")
    assert fetched.error is None
    assert fetched.body == BOX
    assert [seen.path[-1] for seen in server.seen] == ["a", "1", "1", "a", "2"]


def test_threat_b1_hops_are_checked_when_it_goes_on_as_well(server: Server) -> None:
    url = server.at("/a", File(BOX, cuts=[LATE]), redirect("ftp://127.0.0.1/a"))
    fetched = Fetched(url)
    assert fetched.error is not None
    assert fetched.error.status == 77


def test_threat_b3_a_token_is_sent_again_when_it_goes_on(server: Server) -> None:
    url = server.at("/a", File(BOX, cuts=[LATE]))
    with Web(patience=QUICK, token_for=lambda _: "t0ken") as web:
        download = web.open(url)
        assert b"".join(download.blocks()) == BOX
        download.close()
    assert [seen.header("Authorization") for seen in server.seen] == ["Bearer t0ken"] * 2


def test_a_stalled_body_goes_on_after_the_read_timeout(server: Server) -> None:
    never = threading.Event()
    stalled = Reply(body=BOX, headers={"ETag": '"one"'}, drip=LATE, gate=never)
    fetched = Fetched(
        server.at("/a", stalled, File(BOX)), Patience(pause_s=0.001, read_s=0.2, tries=3)
    )
    assert fetched.error is None
    assert fetched.body == BOX
    assert "127.0.0.1 does not answer" in fetched.told[0]


def test_threat_b6_headers_that_trickle_when_it_goes_on_say_nothing(server: Server) -> None:
    def answer(connection: socket.socket, closing: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 416 x\r\nX: ")
        closing.wait(20)

    with raw(answer) as elsewhere:
        url = server.at("/a", File(BOX, cuts=[LATE]), redirect(elsewhere), File(BOX))
        fetched = Fetched(url, Patience(pause_s=0.001, headers_s=0.2))
    assert fetched.error is None
    assert fetched.body == BOX
    assert "127.0.0.1 does not answer" in fetched.told[1]


def test_threat_b6_a_part_without_an_end_is_not_taken_for_the_rest(server: Server) -> None:
    def endless(seen: Seen) -> Reply:
        start = seen.header("Range").removeprefix("bytes=")
        headers = {"ETag": '"one"', "Content-Range": f"bytes {start}{WHOLE - 1}/*"}
        return Reply(206, b"", {**headers, "Connection": "close"}, length=-1)

    file = File(BOX, cuts=[LATE], chunked=True)
    fetched = Fetched(server.at("/a", file, endless, File(BOX)))
    assert fetched.error is None
    assert fetched.body == BOX
    assert "came in a part that has no end" in fetched.told[1]


def test_a_slow_body_arrives_when_it_comes(server: Server) -> None:
    gate = threading.Event()
    url = server.at("/a", Reply(body=BOX, drip=200_000, gate=gate))
    with Web(patience=QUICK) as web:
        download = web.open(url)
        blocks = download.blocks()
        body = next(blocks)
        gate.set()
        assert body + b"".join(blocks) == BOX
        download.close()


@pytest.mark.parametrize("length", [None, -1], ids=["with a length", "without"])
def test_closing_wakes_the_thread_that_reads(server: Server, length: int | None) -> None:
    never = threading.Event()
    reading = threading.Event()
    closes = {"Connection": "close"}
    reply = Reply(body=BOX, length=length, headers=closes, drip=4096, gate=never)
    url = server.at("/a", reply)
    errors: list[VmError] = []
    with Web(patience=Patience(read_s=600)) as web:
        download = web.open(url)

        def read() -> None:
            try:
                for _ in download.blocks():
                    reading.set()
            except VmError as error:
                errors.append(error)

        reader = threading.Thread(target=read)
        closer = threading.Thread(target=download.close)
        reader.start()
        assert reading.wait(20)
        reader.join(0.2)  # by now it waits for the second block
        closer.start()
        closer.join(20)
        reader.join(20)
        assert not closer.is_alive()
        assert not reader.is_alive()
    assert "was left before its end" in str(errors[0])


def test_closing_wakes_the_thread_that_waits_for_its_next_try(server: Server) -> None:
    waiting = threading.Event()
    url = server.at("/a", File(BOX, cuts=[LATE] * 9))
    errors: list[VmError] = []
    with Web(tell=lambda _: waiting.set(), patience=Patience(pause_s=60)) as web:
        download = web.open(url)

        def read() -> None:
            try:
                list(download.blocks())
            except VmError as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert waiting.wait(20)
        download.close()
        thread.join(20)
        assert not thread.is_alive()
    assert "was left before its end" in str(errors[0])


def test_a_download_may_be_closed_half_read_and_twice(server: Server) -> None:
    with Web() as web:
        download = web.open(server.at("/a", Reply(body=BOX)))
        blocks = download.blocks()
        next(blocks)
        download.close()
        download.close()
        with pytest.raises(VmError, match="was left before its end"):
            next(blocks)


def test_an_empty_body_is_empty(server: Server) -> None:
    for reply in (Reply(), Reply(chunked=True)):
        with Web() as web:
            download = web.open(server.at("/a", reply))
            assert download.first == b""
            assert list(download.blocks()) == []
            download.close()


def test_memory_does_not_grow_with_the_body(server: Server) -> None:
    url = server.at("/a", Reply(body=bytes(64 << 20)))
    with Web() as web:
        download = web.open(url)
        tracemalloc.start()
        try:
            assert sum(map(len, download.blocks())) == 64 << 20
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        download.close()
    assert peak < 80 << 20


def local(path: Path) -> LocalDownload:
    return LocalDownload(str(path))


def local_refusal(path: Path) -> VmError:
    with pytest.raises(VmError) as caught:
        local(path)
    return caught.value


def test_a_file_is_read_as_a_download_is(tmp_path: Path) -> None:
    file = tmp_path / "a.box"
    file.write_bytes(BOX)
    download = local(file)
    assert download.url == str(file)
    assert download.size == WHOLE
    assert download.first == BOX[:4096]
    assert b"".join(download.blocks()) == BOX
    download.close()
    download.close()


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(b"{}")
    download = local(file)
    assert download.text(2, 1) == b"{}"
    download.close()
    download = local(file)
    with pytest.raises(VmError, match=r"b\.json is larger than 0 KiB"):
        download.text(1, 1)
    download.close()


def test_an_empty_file_has_no_blocks(tmp_path: Path) -> None:
    file = tmp_path / "a.box"
    file.touch()
    download = local(file)
    assert (download.first, list(download.blocks())) == (b"", [])
    download.close()


@pytest.mark.parametrize("change", [b"more", None], ids=["grows", "shrinks"])
def test_threat_b6_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, change: bytes | None
) -> None:
    file = tmp_path / "a.box"
    file.write_bytes(BOX)
    download = local(file)
    blocks = download.blocks()
    next(blocks)
    if change:
        with file.open("ab") as more:
            more.write(change)
    else:
        os.truncate(file, 100_000)
    with pytest.raises(VmError, match="changed while it was read"):
        list(blocks)
    download.close()


def test_what_is_no_regular_file_is_refused_and_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "fifo is not a regular file" in str(local_refusal(tmp_path / "fifo"))
    assert "is a folder" in str(local_refusal(tmp_path))
    assert "/dev/zero is not a regular file" in str(local_refusal(Path("/dev/zero")))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        assert local_refusal(tmp_path / "socket").status == 77


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    error = local_refusal(tmp_path / "a.box")
    assert error.status == 66
    assert "a.box cannot be opened: No such file or directory" in str(error)
    assert local_refusal(Path("a\0b")).status == 65
