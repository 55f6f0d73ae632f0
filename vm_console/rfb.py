"""Looking at a screen through VNC: one whole picture, and nothing typed.

Source: RFC 6143; the names here are its own.
"""

from __future__ import annotations

import struct

from vm_console.picture import MOST_PIXELS, Picture
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    import socket

__all__ = ["look"]

_VERSION = b"RFB 003.008\n"
_NONE, _RAW = 1, 0  # the security type and the encoding that are asked for
_SHARED = b"\1"  # whoever looks already may stay
_UPDATE, _COLOURS, _BELL, _CUT_TEXT = range(4)
_MOST_WORDS = 1 << 20
_BROKEN = 69


class _Format(Value):
    """Where the three colours are in the four bytes of a pixel."""

    red: int
    green: int
    blue: int


def look(server: socket.socket) -> Picture:
    """What a VNC server shows.

    Args:
        server: a connection that has a timeout; it is spoken on from its first byte.

    Raises:
        VmError: the server wants a password, or sends what is not understood (69).
        OSError: the connection ended, or nothing came in time.
    """
    _shake_hands(server)
    server.sendall(_SHARED)
    width, height = _unpack(server, ">HH")
    order = _order(_read(server, 16))
    (name,) = _unpack(server, ">I")
    _read(server, min(name, _MOST_WORDS))
    if not 0 < width * height <= MOST_PIXELS:
        raise _strange(f"a screen of {width} by {height}")
    server.sendall(struct.pack(">BxHi", 2, 1, _RAW))
    server.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    return Picture(width=width, height=height, rgb=_rgb(_whole(server, width, height), order))


def _shake_hands(server: socket.socket) -> None:
    version = _read(server, len(_VERSION))
    if not version.startswith(b"RFB "):
        raise _strange("no RFB")
    server.sendall(_VERSION)
    (count,) = _unpack(server, ">B")
    offered = _read(server, count)
    if _NONE not in offered:
        hint = "use a VNC viewer, or vm-console --web, which asks for it"
        problem = "its VNC server wants a password" if count else "its VNC server refuses"
        raise VmError(Fault(problem=problem, hint=hint), status=_BROKEN)
    server.sendall(bytes([_NONE]))
    (refused,) = _unpack(server, ">I")
    if refused:
        raise _strange("a refusal")


def _order(form: bytes) -> _Format:
    """The format that the server has by itself: not every server can change it."""
    bits, _, big_endian, true_colour, red_max, green_max, blue_max, *shifts = struct.unpack(
        ">BBBBHHHBBB3x", form
    )
    plain = bits == 32 and true_colour and red_max == green_max == blue_max == 255
    if not plain or any(shift not in (0, 8, 16, 24) for shift in shifts):
        raise _strange("pixels that are not 8 bits a colour")
    red, green, blue = (3 - shift // 8 if big_endian else shift // 8 for shift in shifts)
    return _Format(red=red, green=green, blue=blue)


def _whole(server: socket.socket, width: int, height: int) -> bytearray:
    """Every pixel, four bytes each, from as many updates as that takes."""
    pixels = bytearray(width * height * 4)
    missing = width * height
    while missing > 0:
        (kind,) = _unpack(server, ">B")
        if kind != _UPDATE:
            _skip(server, kind)
            continue
        (count,) = _unpack(server, ">xH")
        for _ in range(count):
            missing -= _paste(server, pixels, width, height)
    return pixels


def _paste(server: socket.socket, pixels: bytearray, width: int, height: int) -> int:
    """Reads one rectangle into the picture; how many pixels it has."""
    left, top, wide, high, encoding = _unpack(server, ">HHHHi")
    if encoding != _RAW or left + wide > width or top + high > height:
        raise _strange(f"a rectangle of encoding {encoding}")
    for row in range(top, top + high):
        at = (row * width + left) * 4
        pixels[at : at + wide * 4] = _read(server, wide * 4)
    return wide * high


def _skip(server: socket.socket, kind: int) -> None:
    """Reads a message that says nothing of the picture."""
    if kind == _COLOURS:
        _read(server, _unpack(server, ">x2xH")[0] * 6)
    elif kind == _CUT_TEXT:
        _read(server, min(_unpack(server, ">3xI")[0], _MOST_WORDS))
    elif kind != _BELL:
        raise _strange(f"a message {kind}")


def _rgb(pixels: bytearray, order: _Format) -> bytes:
    rgb = bytearray(len(pixels) // 4 * 3)
    for place, colour in enumerate((order.red, order.green, order.blue)):
        rgb[place::3] = pixels[colour::4]
    return bytes(rgb)


def _unpack(server: socket.socket, form: str) -> tuple[int, ...]:
    return struct.unpack(form, _read(server, struct.calcsize(form)))


def _read(server: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    read = bytearray()
    while len(read) < count:
        chunk = server.recv(min(count - len(read), 1 << 16))
        if not chunk:
            msg = "the VNC server has closed the connection"
            raise ConnectionResetError(msg)
        read += chunk
    return bytes(read)


def _strange(what: str) -> VmError:
    return VmError(Fault(problem=f"its VNC server sends {what}"), status=_BROKEN)
