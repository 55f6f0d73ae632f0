"""Where a box is, seen from its catalog."""

from __future__ import annotations

import os
from urllib.parse import unquote, urljoin, urlsplit

from vm_pull.catalogs.registry import rewritten
from vm_pull.net.urls import is_web

__all__ = ["located", "path_of"]

_LONGEST = 4095  # characters of an address, bytes of a path: more than any box has


def located(url: str, base: str) -> str:
    """The address or the path of a box; empty when its catalog must not name it.

    A catalog from the web names addresses of the web, never files of this host. A catalog that is
    a file may name both, files relative to its own folder.

    Args:
        url: what the catalog says.
        base: the address or the file that the catalog came from.
    """
    if len(url) > _LONGEST:
        return ""
    if is_web(base):
        try:
            joined = urljoin(base, url)
        except ValueError:
            return ""
        return rewritten(joined) if is_web(joined) else ""
    if is_web(url):
        return rewritten(url)
    path = path_of(url)
    return os.path.join(os.path.dirname(base), path) if path else ""


def path_of(text: str) -> str:
    """The path in a `file:` address or in a plain text; empty when it is another address.

    Source: RFC 8089, The "file" URI Scheme.
    """
    path = text
    if text[:5].lower() == "file:":
        try:
            split = urlsplit(text)
        except ValueError:
            return ""
        is_local = split.netloc in ("", "localhost") and split.path.startswith("/")
        path = unquote(split.path) if is_local else ""
    elif "://" in text or text.startswith("//"):
        return ""
    try:
        fits = "\0" not in path and len(path.encode()) <= _LONGEST
    except UnicodeEncodeError:  # a half of a surrogate pair
        return ""
    return path if fits else ""
