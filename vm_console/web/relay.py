"""Bytes between a browser's WebSocket and a VNC server, until either has enough."""

from __future__ import annotations

import select

from vm_console.web.socket import (
    BINARY,
    CLOSE,
    GOING_AWAY,
    PING,
    PONG,
    FrameError,
    Frames,
    closing,
    frame,
)
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["relay"]

_CHUNK = 1 << 16
_NORMAL = 1000


def relay(browser: socket.socket, screen: socket.socket, early: bytes = b"") -> None:
    """Carries everything both ways; returns when one end has closed or broken the protocol.

    Args:
        browser: past the handshake.
        screen: a VNC server.
        early: what the browser has sent behind the handshake already.

    Raises:
        OSError: a connection is gone.
    """
    frames = Frames()
    poll = select.poll()
    for end in (browser, screen):
        end.settimeout(None)
        poll.register(end, select.POLLIN)
    try:
        _type(frames, early, browser, screen)
        while True:
            for fd, _ in poll.poll():
                if fd == screen.fileno():
                    _show(browser, screen)
                else:
                    _type(frames, _some(browser), browser, screen)
    except FrameError as broken:
        browser.sendall(closing(broken.code))
    except EOFError:
        return


def _show(browser: socket.socket, screen: socket.socket) -> None:
    try:
        chunk = _some(screen)
    except (EOFError, OSError):
        browser.sendall(closing(GOING_AWAY))
        raise
    browser.sendall(frame(chunk))


def _type(frames: Frames, chunk: bytes, browser: socket.socket, screen: socket.socket) -> None:
    for one in frames.feed(chunk):
        if one.opcode == BINARY:
            screen.sendall(one.payload)
        elif one.opcode == PING:
            browser.sendall(frame(one.payload, PONG))
        elif one.opcode == CLOSE:
            browser.sendall(closing(_NORMAL))
            raise EOFError


def _some(end: socket.socket) -> bytes:
    chunk = end.recv(_CHUNK)
    if not chunk:
        raise EOFError
    return chunk
