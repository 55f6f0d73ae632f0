"""Frames of the WebSocket protocol, as a server reads and writes them.

What is carried is a stream, so a message's fragments are handed on as they come.

Source: RFC 6455, 4.2.2, 5.2 to 5.5 and 7.4.1.
"""

from __future__ import annotations

import base64
import hashlib

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BINARY", "CLOSE", "GOING_AWAY", "MOST", "PING", "PONG", "FrameError", "Frame", "Frames",
    "accepted", "closing", "frame",
]  # fmt: skip

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GOING_AWAY, _WRONG, _UNWANTED, _TOO_BIG = 1001, 1002, 1003, 1009
MOST = 1 << 20  # bytes in one frame: a viewer types and points, and pastes at most
_CONTROL_MOST = 125
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FrameError(Exception):
    """The other end does not keep to the protocol.

    Attributes:
        code: the number to close with.
    """

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class Frame(Value):
    """What has come in one frame.

    Attributes:
        opcode: BINARY, also for what continues it, CLOSE, PING or PONG.
        payload: unmasked.
    """

    opcode: int
    payload: bytes


def accepted(key: str) -> str:
    """The answer to a client's Sec-WebSocket-Key."""
    # RFC 6455 wants SHA-1 here, and keeps nothing secret by it.
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """A whole message in one frame, unmasked as a server sends it."""
    head = bytes([0x80 | opcode])
    if len(payload) <= _CONTROL_MOST:
        head += bytes([len(payload)])
    elif len(payload) < 1 << 16:
        head += b"\x7e" + len(payload).to_bytes(2, "big")
    else:
        head += b"\x7f" + len(payload).to_bytes(8, "big")
    return head + payload


def closing(code: int) -> bytes:
    """The frame that ends a connection."""
    return frame(code.to_bytes(2, "big"), CLOSE)


class Frames:
    """What a client sends, frame by frame, however it was cut on its way."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._is_open = False  # a message whose last fragment has not come

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Every frame that is whole with this chunk.

        Raises:
            FrameError: these are no frames of a client's.
        """
        self._unread += chunk
        while len(self._unread) >= 2:
            found = self._next()
            if found is None:
                return
            yield found

    def _next(self) -> Frame | None:
        first, second = self._unread[:2]
        opcode, final, short = first & 0x0F, bool(first & 0x80), second & 0x7F
        if first & 0x70:
            raise FrameError(_WRONG, "an extension that was not agreed on")
        if not second & 0x80:
            raise FrameError(_WRONG, "a client's frame that is not masked")
        if opcode >= CLOSE and (short > _CONTROL_MOST or not final):
            raise FrameError(_WRONG, "a control frame that is long or cut")
        wide = {126: 2, 127: 8}.get(short, 0)
        start = 2 + wide + 4
        if len(self._unread) < start:
            return None
        length = _length(short, bytes(self._unread[2 : 2 + wide]))
        if len(self._unread) < start + length:
            return None
        payload = _unmasked(
            bytes(self._unread[start : start + length]), bytes(self._unread[start - 4 : start])
        )
        del self._unread[: start + length]
        return Frame(opcode=self._kind(opcode, final=final), payload=payload)

    def _kind(self, opcode: int, *, final: bool) -> int:
        """What a frame is, once it is known whether it continues another."""
        if opcode in (CLOSE, PING, PONG):
            return opcode
        if opcode == TEXT:
            raise FrameError(_UNWANTED, "text, where bytes are spoken")
        if opcode not in (CONTINUED, BINARY) or self._is_open == (opcode == BINARY):
            raise FrameError(_WRONG, "a frame that does not follow the one before")
        self._is_open = not final
        return BINARY


def _length(short: int, long: bytes) -> int:
    """The length of a payload, in the shortest form that there is for it."""
    length = int.from_bytes(long, "big") if long else short
    if long and length < {2: 126, 8: 1 << 16}[len(long)]:
        raise FrameError(_WRONG, "a length in a longer form than needed")
    if length > MOST:
        raise FrameError(_TOO_BIG, "a frame that is too long")
    return length


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")
