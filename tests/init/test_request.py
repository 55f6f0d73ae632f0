"""The request's grammar: what comes from the child is a request, or nothing."""

import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_init import request
from vm_init.request import RequestError, parse, parse_line

NAMES = st.from_regex(request.NAME, fullmatch=True)
NETWORKS = st.from_regex(request.NETWORK, fullmatch=True)
MACS = st.from_regex(request.MAC, fullmatch=True)
LINES = st.one_of(
    st.builds("tap {} bridge {}".format, NAMES, NAMES | st.just("-")),
    st.builds("tap {} network {}".format, NAMES, NETWORKS),
    st.builds("macvtap {} on {} mac {}".format, NAMES, NAMES, MACS),
    st.builds("macvtap {} network {} mac {}".format, NAMES, NETWORKS, MACS),
    st.from_regex(request.ADDRESS, fullmatch=True).map("pci {}".format),
    st.from_regex(request.NODE, fullmatch=True).map("node {}".format),
)
BATCHES = st.lists(LINES, max_size=12, unique_by=lambda line: line.split(" ")[1])
MAC = "02:00:00:00:00:01"
WHOLE = b"vmman 1\ntap vm0 bridge br0\nend 1\n"


def frame_of(lines: list[str]) -> bytes:
    return "\n".join(["vmman 1", *lines, f"end {len(lines)}", ""]).encode()


def read(frame: bytes) -> bytes:
    """The frame again, of what was understood."""
    return frame_of([one.line for one in parse(frame)])


@given(BATCHES)
def test_what_is_written_is_read_again(lines: list[str]) -> None:
    with contextlib.suppress(RequestError):  # two of one address
        assert read(frame_of(lines)) == frame_of(lines)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("tap vm0 bridge br0", ("tap", "vm0", "br0", "", "")),
        ("tap vm0 bridge -", ("tap", "vm0", "-", "", "")),
        ("tap vm0 network lab", ("tap", "vm0", "", "lab", "")),
        (f"macvtap m on eth0 mac {MAC}", ("macvtap", "m", "eth0", "", MAC)),
        (f"macvtap m network lab mac {MAC}", ("macvtap", "m", "", "lab", MAC)),
        ("pci 0000:01:00.0", ("pci", "0000:01:00.0", "", "", "")),
        ("node /dev/input/event0", ("node", "/dev/input/event0", "", "", "")),
        ("vm web", ("vm", "web", "", "", "")),
    ],
)  # fmt: skip
def test_each_kind_has_its_fields(line: str, fields: tuple[str, ...]) -> None:
    assert parse_line(line)[1:] == fields


@given(st.binary(max_size=400))
def test_threat_12_any_bytes_are_a_request_or_refused(frame: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert read(frame) == frame


@given(BATCHES, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 1))
def test_threat_12_a_changed_frame_is_a_request_or_refused(
    lines: list[str], at: int, middle: bytes, replaced: int
) -> None:
    frame = frame_of(lines)
    changed = frame[:at] + middle + frame[at + len(middle) * replaced :]
    with contextlib.suppress(RequestError):
        assert read(changed) == changed


@given(BATCHES, st.integers(1, 2000))
def test_threat_12_a_frame_that_ends_early_is_refused(lines: list[str], less: int) -> None:
    frame = frame_of(lines)
    with pytest.raises(RequestError):
        parse(frame[: -min(less, len(frame))])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\n",
        b"vmman 1\n",
        b"vmman 2\nend 0\n",
        b"vmman 1\nend 0",
        b"vmman 1\nend 0\n\n",
        b"vmman 1\nend 2147483648\n",
        b"vmman 1\nend 00\n",
        b"vmman 1\nend -0\n",
        b"vmman 1\r\nend 0\r\n",
        b"vmman 1\nend 0\nend 0\n",
        b"vmman 1\nrelease vm0\nend 1\n",
        b"vmman 1\ntap vm0 bridge br0\nshell id\nend 2\n",
        b"vmman 1\ntap vm0 bridge br0\ntap vm0 bridge br1\nend 2\n",
        b"vmman 1\ntap vm0 bridge br0\nmacvtap vm0 on eth0 mac 02:00:00:00:00:01\nend 2\n",
        b"vmman 1\ntap  vm0 bridge br0\nend 1\n",
        b"vmman 1\ntap vm0 bridge br0 \nend 1\n",
        b"vmman 1\ntap vm0 bridge br0\0\nend 1\n",
        "vmman 1\ntap vmé bridge br0\nend 1\n".encode(),
        b"vmman 1\ntap vm\xe9 bridge br0\nend 1\n",
        WHOLE + b"x",
        WHOLE * 2,
        b"vmman 1\n" + b"pci 0000:01:00.0\n" * 65 + b"end 65\n",
        b"vmman 1\n" + b"".join(b"tap t%d bridge -\n" % n for n in range(65)) + b"end 65\n",
        b"vmman 1\n" + b"tap vm0 bridge br0\n" * 1_000_000 + b"end 1000000\n",
        WHOLE.ljust(request.MAX_BYTES + 1, b"\n"),
    ],
    ids=lambda frame: repr(frame[:60]),
)
def test_threat_12_an_odd_frame_is_refused_whole(frame: bytes) -> None:
    with pytest.raises(RequestError):
        parse(frame)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_threat_13_a_pickle_is_no_request(protocol: int) -> None:
    with pytest.raises(RequestError):
        parse(pickle.dumps(("tap vm0 bridge br0",), protocol))


@pytest.mark.parametrize(
    "line",
    [
        "tap 0123456789 bridge br0",
        "tap abcdefghijklmnop bridge br0",
        "tap tap%d bridge br0",
        "tap -x bridge br0",
        "tap a/b bridge br0",
        "tap . bridge br0",
        "tap .. bridge br0",
        "tap all bridge br0",
        "tap default bridge br0",
        "tap lo bridge br0",
        "macvtap vm0 on eth0 mac 01:00:00:00:00:01",
        "macvtap vm0 on eth0 mac 00:00:00:00:00:00",
        "macvtap vm0 on eth0 mac 02-00-00-00-00-01",
        "macvtap vm0 on eth0 mac 02:00:00:00:00",
        "macvtap vm0 on eth0 mac 02:00:00:00:00:0A",
        "macvtap vm0 on - mac 02:00:00:00:00:01",
        "pci 0000:01:00.8",
        "pci 1:0.0",
        "pci ../../../x",
        "pci 0000:01:20.0",
        "pci 0000:0A:00.0",
        "node /dev/input/event0/../../sda",
        "node //dev/x",
        "node /dev",
        "node /dev/",
        "node /dev/./x",
        "node /etc/shadow",
        "node dev/x",
        "node /dev/kvm",
        "node /dev/tty0",
        "node /dev/input/event0/x",
        "node /dev/input/mice",
    ],
)
def test_threat_12_a_field_has_one_form(line: str) -> None:
    with pytest.raises(RequestError):
        parse(f"vmman 1\n{line}\nend 1\n".encode())
