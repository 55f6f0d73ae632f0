"""What came, by its first bytes: servers call boxes text and error pages a success."""

from __future__ import annotations

import re

from vm_pull.net import urls
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal, NoReturn

    Buffer = bytes | bytearray | memoryview
    Kind = Literal["catalog", "box", "html", "empty", "unknown"]

__all__ = ["NEEDED", "html_title", "kind", "refuse"]

NEEDED = 4096  # bytes; a tar header has 512, a page's title comes later
_ARCHIVES = (
    b"\x1f\x8b",  # gzip, RFC 1952
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",  # zstd, RFC 8878
    b"PK\x03\x04",
)
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_IMAGES = (
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"# Disk Desc", "VMDK"),
)
_TITLE = re.compile(
    rb"<(title|h1|message)\b[^>]{0,200}>(.{1,400}?)</\1\s*>", re.IGNORECASE | re.DOTALL
)
_TAR_HEADER = 512
_LONGEST_TITLE = 80


def kind(first: Buffer) -> Kind:
    """What a body is: a catalog (JSON), a box (an archive), a page, nothing, or something else.

    Args:
        first: its first bytes, `NEEDED` of them or all there are.
    """
    head = bytes(first[:NEEDED])
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        return "empty"
    if text.startswith(b"{"):
        return "catalog"
    if text.startswith(b"<"):
        return "html"
    if head.startswith(_ARCHIVES) or _BZIP2.match(head) or _is_tar(head):
        return "box"
    return "unknown"


def _is_tar(head: bytes) -> bool:
    """Whether a tar header's sum is right: older archives have no `ustar` (tar(5))."""
    header = head[:_TAR_HEADER]
    if len(header) < _TAR_HEADER:
        return False
    field = header[148:156].strip(b" \x00")
    if not re.fullmatch(rb"[0-7]{1,7}", field):
        return False
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return int(field, 8) == total


def html_title(first: Buffer) -> str:
    """What a page calls itself, on one line of at most 80 characters; empty when it does not."""
    found = _TITLE.search(bytes(first[:NEEDED]))
    if not found:
        return ""
    from html import unescape

    words = unescape(found[2].decode("utf-8", "replace")).split()
    return " ".join(words)[:_LONGEST_TITLE]


def refuse(first: Buffer, url: str) -> NoReturn:
    """Says what came instead of a box or a catalog.

    Raises:
        VmError: always (65, for a page 69: the server has failed).
    """
    place = urls.shown(url)
    match kind(first):
        case "html":
            title = html_title(first)
            named = f' (title "{title}")' if title else ""
            problem = f"got an HTML page{named} instead of a box from {place}"
            hint = "look at it in a browser; the server may be out of order"
            raise VmError(Fault(problem=problem, hint=hint), status=69)
        case "empty":
            problem = f"got nothing, not a byte, from {place}"
            raise VmError(Fault(problem=problem, hint="try again later"), status=69)
        case _:
            what = _image(first) or "neither a box nor a catalog"
            hint = "a box is a tar, tar.gz, tar.xz or zip archive; a catalog is JSON"
            raise VmError(Fault(problem=f"{place} is {what}", hint=hint))


def _image(first: Buffer) -> str:
    head = bytes(first[:16])
    for magic, name in _IMAGES:
        if head.startswith(magic):
            return f"a {name} disk image, not a box"
    return ""
