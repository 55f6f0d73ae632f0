"""Frames of WebSockets: RFC 6455's own examples, what is cut, what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_console.web.socket import (
    BINARY,
    CLOSE,
    MOST,
    PING,
    PONG,
    Frame,
    FrameError,
    Frames,
    accepted,
    closing,
    frame,
)

CONTINUED, TEXT = 0, 1
FIN, MASKED = 0x80, 0x80
MASK = bytes.fromhex("37fa213d")  # RFC 6455, 5.7


def masked(payload: bytes, opcode: int = BINARY, first: int = FIN, mask: bytes = MASK) -> bytes:
    """A client's frame, made another way than ours are read."""
    length = len(payload)
    if length < 126:
        head = bytes([first | opcode, MASKED | length])
    elif length < 65536:
        head = bytes([first | opcode, MASKED | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first | opcode, MASKED | 127]) + length.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def read(*chunks: bytes) -> list[Frame]:
    frames = Frames()
    return [one for chunk in chunks for one in frames.feed(chunk)]


def binary(*payloads: bytes) -> list[Frame]:
    return [Frame(opcode=BINARY, payload=payload) for payload in payloads]


def test_the_handshake_is_answered_as_rfc_6455_1_3_has_it() -> None:
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("sent", "payload", "opcode"),
    [
        ("810548656c6c6f", b"Hello", TEXT),
        ("890548656c6c6f", b"Hello", PING),
        ("827e0100" + "aa" * 256, b"\xaa" * 256, BINARY),
        ("827f0000000000010000" + "aa" * 65536, b"\xaa" * 65536, BINARY),
    ],
)
def test_frames_are_written_as_rfc_6455_5_7_has_them(
    sent: str, payload: bytes, opcode: int
) -> None:
    assert frame(payload, opcode) == bytes.fromhex(sent)


def test_a_masked_pong_is_read_as_rfc_6455_5_7_has_it() -> None:
    (found,) = read(bytes.fromhex("8a8537fa213d7f9f4d5158"))
    assert found == Frame(opcode=PONG, payload=b"Hello")


def test_a_closing_frame_has_its_number() -> None:
    assert closing(1001) == bytes.fromhex("880203e9")


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.integers(1, 400))
def test_what_was_masked_is_read_however_it_is_cut(payload: bytes, mask: bytes, cut: int) -> None:
    sent = masked(payload, mask=mask) + masked(b"", PING, mask=mask) + masked(b"end", mask=mask)
    chunks = [sent[at : at + cut] for at in range(0, len(sent), cut)]
    ping = Frame(opcode=PING, payload=b"")
    assert read(*chunks) == [*binary(payload), ping, *binary(b"end")]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, MOST])
def test_every_form_of_a_length_is_read(length: int) -> None:
    payload = bytes(range(256)) * (length // 256 + 1)
    assert read(masked(payload[:length])) == binary(payload[:length])


def test_fragments_are_handed_on_with_a_ping_between_them() -> None:
    sent = masked(b"one", BINARY, 0), masked(b"?", PING), masked(b"two", CONTINUED, 0)
    ping = Frame(opcode=PING, payload=b"?")
    end = masked(b"three", CONTINUED), masked(b"four")
    assert read(*sent, *end) == [*binary(b"one"), ping, *binary(b"two", b"three", b"four")]


WRONG = {
    "not masked": (b"\x82\x01a", 1002),
    "an extension": (masked(b"a", BINARY, FIN | 0x40), 1002),
    "a kind that is not known": (masked(b"a", 3), 1002),
    "a control frame of an unknown kind": (masked(b"a", 11), 1002),
    "text": (masked(b"a", TEXT), 1003),
    "nothing to continue": (masked(b"a", CONTINUED), 1002),
    "a message in a message": (masked(b"a", BINARY, 0) + masked(b"b"), 1002),
    "a long ping": (masked(bytes(126), PING), 1002),
    "a ping in fragments": (masked(b"a", PING, 0), 1002),
    "a close in fragments": (masked(b"", CLOSE, 0), 1002),
    "a length in a longer form": (b"\x82\xfe\x00\x7d" + MASK + bytes(125), 1002),
    "a length in the longest form": (b"\x82\xff" + (65535).to_bytes(8, "big") + MASK, 1002),
    "more than is taken": (b"\x82\xff" + (MOST + 1).to_bytes(8, "big") + MASK, 1009),
    "a length below zero": (b"\x82\xff" + b"\xff" * 8 + MASK, 1009),
}


@pytest.mark.parametrize(("sent", "code"), WRONG.values(), ids=WRONG.keys())
def test_what_breaks_the_protocol_is_refused_with_its_number(sent: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        read(sent)
    assert caught.value.code == code


def test_a_frame_that_is_too_long_is_refused_before_it_has_come() -> None:
    frames = Frames()
    head = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK
    with pytest.raises(FrameError, match="too long"):
        list(frames.feed(head))
