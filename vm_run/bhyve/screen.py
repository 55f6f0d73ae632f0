"""What bhyve is told of the screen: a frame buffer that is seen through VNC.

Untested on FreeBSD. Source: bhyve(8), Framebuffer devices; bhyve_config(5); rfb.c, which asks
getaddrinfo(3) for numeric addresses only.
"""

from __future__ import annotations

import re

from vm_run.bhyve.settings import given, named
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.settings import Part
    from vm_spec.devices import Graphic

__all__ = ["screen"]

BYTE = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
ADDRESS = re.compile(
    rf"{BYTE}(\.{BYTE}){{3}}"
    r"|(?P<open>\[)?[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}(%[0-9A-Za-z._-]+)?(?(open)\])",
    re.ASCII,
)


def screen(graphic: Graphic) -> Iterator[Part]:
    """The frame buffer's settings, and what bhyve would not listen on."""
    if not {"rfb", "tcp"} & {key for key, _ in graphic.bhyve}:
        yield from _listening(graphic.host, graphic.port)
    yield from given(
        w=graphic.width,
        h=graphic.height,
        vga=graphic.vga,
        wait=graphic.wait,
        password=graphic.password,
    )


def _listening(host: str, port: int) -> Iterator[Part]:
    if not ADDRESS.fullmatch(host):
        yield Fault(
            problem=f"host {host!r} is not a numeric address, and bhyve looks up no names",
            hint="host = 127.0.0.1",
        )
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    yield named("tcp", f"{host}:{port}")
