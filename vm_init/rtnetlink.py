"""Messages of rtnetlink(7): packed, sent, and taken apart."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct

# linux/netlink.h, linux/rtnetlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NEWLINK, DELLINK, GETLINK = 16, 17, 18
REQUEST, ACK, DUMP, EXCLUSIVE = 0x1, 0x4, 0x300, 0x600  # the last: NLM_F_CREATE | NLM_F_EXCL

HEADER = Struct("=IHHII")  # length, kind, flags, the message's number, port
INFO = Struct("=BxHiII")  # family, type, index, flags, which flags
ATTRIBUTE = Struct("=HH")
MOST_BYTES = 1 << 20
PATIENCE_S = 3.0


def attribute(kind: int, *content: bytes) -> bytes:
    """An attribute of bytes, or of other attributes."""
    data = b"".join(content)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def integer(kind: int, number: int) -> bytes:
    """An attribute of a number of 32 bits."""
    return attribute(kind, number.to_bytes(4, sys.byteorder))


def message(kind: int, how: int, index: int, *attributes: bytes, flags: int = 0) -> bytes:
    """A message about a link."""
    body = INFO.pack(0, 0, index, flags, flags) + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | how, 0, 0) + body


def tell(*messages: tuple[int, bytes], gone_is_fine: bool = False) -> None:
    """Have messages carried out, one after the other, each with what it is about.

    Errors come unasked, so that the last message alone asks for an answer.

    Raises:
        OSError: the first that the kernel refused; what it is about is `filename`.
    """
    sent = bytearray()
    for order, (_, each) in enumerate(messages, 1):
        length, kind, how, _, _ = HEADER.unpack_from(each)
        how |= ACK if order == len(messages) else 0
        sent += HEADER.pack(length, kind, how, order, 0) + each[HEADER.size :]
    failed: OSError | None = None
    for kind, order, body in _answers(sent):
        number = _error(kind, body)
        if number and not failed and not (gone_is_fine and number == errno.ENODEV):
            failed = OSError(number, os.strerror(number), messages[order - 1][0])
        if order == len(messages):
            break
    if failed:
        raise failed


def told(question: bytes) -> Iterator[bytes]:
    """What the kernel answers to a message, up to the end.

    Raises:
        OSError: that there is none.
    """
    for kind, _, body in _answers(question):
        if number := _error(kind, body):
            raise OSError(number, os.strerror(number))
        if kind == NLMSG_DONE:
            return
        yield body


def _error(kind: int, body: bytes) -> int:
    return -int.from_bytes(body[:4], sys.byteorder, signed=True) if kind == NLMSG_ERROR else 0


def _answers(sent: bytes | bytearray) -> Iterator[tuple[int, int, bytes]]:
    """What the kernel, and nobody else, says to some messages: kind, the message's number, body."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(PATIENCE_S)
        kernel.sendto(sent, (0, 0))
        while True:
            data, sender = kernel.recvfrom(MOST_BYTES)
            at = 0
            while sender[0] == 0 and at + HEADER.size <= len(data):
                length, kind, _, order, _ = HEADER.unpack_from(data, at)
                yield kind, order, data[at + HEADER.size : at + length]
                at += max(HEADER.size, (length + 3) & ~3)


def parts(data: bytes) -> dict[int, bytes]:
    """The attributes of a message, or of an attribute that has such, by their kinds."""
    found: dict[int, bytes] = {}
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + ATTRIBUTE.size : at + length]
        at += max(ATTRIBUTE.size, (length + 3) & ~3)
    return found


def text(data: bytes | None) -> str:
    """The text of an attribute; empty without one."""
    return (data or b"").rstrip(b"\0").decode("ascii", "backslashreplace")


def value(data: bytes | None) -> int:
    """The number of an attribute; 0 without one."""
    return int.from_bytes(data or b"", sys.byteorder)
