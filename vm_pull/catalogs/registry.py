"""Vagrant's registry: where a box's catalog is, and the token that opens it."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, urlsplit, urlunsplit

from vm_pull.net import urls
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SERVER", "addresses", "rewritten", "server", "token"]

SERVER = "https://vagrantcloud.com"
_FORMER = ("app.vagrantup.com", "atlas.hashicorp.com")
_PAGES = {
    "vagrantcloud.com": re.compile(r"/([^/]+)/boxes/([^/]+)/?"),
    "portal.cloud.hashicorp.com": re.compile(r"/vagrant/discover/([^/]+)/([^/]+)/?"),
}
_MOST_TOKEN = 8192  # bytes


def server(environ: Mapping[str, str]) -> str:
    """The registry's address: VAGRANT_SERVER_URL, else HashiCorp's own.

    Raises:
        VmError: the variable holds no address (64).
    """
    given = environ.get("VAGRANT_SERVER_URL", "").strip().rstrip("/")
    if not given:
        return SERVER
    if not urls.is_web(given) or "?" in given or "#" in given:
        problem = f"VAGRANT_SERVER_URL is {urls.shown(given)}, which is no address of a server"
        raise VmError(Fault(problem=problem, hint="unset VAGRANT_SERVER_URL"), status=64)
    return rewritten(given)


def addresses(name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where a box's catalog may be, in the order in which they are asked.

    The first knows architectures; the second is what older servers have.

    Args:
        name: USER/BOX.
        environ: the environment; VAGRANT_SERVER_URL is looked at.

    Raises:
        VmError: the variable holds no address (64).

    Source: Vagrant 2.4, CHANGELOG 2.4.0.
    """
    place = server(environ)
    path = "/".join(quote(part, safe="") for part in name.split("/"))
    return (f"{place}/api/v2/vagrant/{path}", f"{place}/{path}")


def rewritten(url: str) -> str:
    """An address that the registry answers: its former hosts and its web pages lead nowhere now.

    The page of a box, which people copy out of a browser, becomes the box's catalog.
    """
    host = urls.host(url)
    if host in _FORMER:
        split = urlsplit(url)
        host = urls.host(SERVER)
        url = urlunsplit(("https", host, split.path, split.query, ""))
    page = _PAGES[host].fullmatch(urlsplit(url).path) if host in _PAGES else None
    return f"{SERVER}/api/v2/vagrant/{page[1]}/{page[2]}" if page else url


def token(url: str, environ: Mapping[str, str], home: str) -> str:
    """What goes into `Authorization: Bearer` for an address; empty when nothing may.

    It is for the registry's own host and port only, and never goes over plain http, but to a
    server on this host itself.

    Args:
        url: the address that is about to be asked; for a redirect, the new one.
        environ: the environment.
        home: the user's home folder, for the token that `vagrant login` has kept.

    Raises:
        VmError: VAGRANT_SERVER_URL holds no address (64), or the token cannot be one (64).

    Source: Vagrant, `vagrant cloud auth`; VAGRANT_CLOUD_TOKEN, then the kept one, then ATLAS_TOKEN.
    """
    if urls.origin(url) != urls.origin(server(environ)):
        return ""
    if not url.lower().startswith("https:") and not urls.is_loopback(url):
        return ""
    for place, text in _tokens(environ, home):
        if text:
            if not re.fullmatch(r"[\x21-\x7e]+", text):  # it would end or split the header
                problem = f"the token in {place} has characters that no token has"
                raise VmError(Fault(problem=problem, hint="vagrant cloud auth login"), status=64)
            return text
    return ""


def _tokens(environ: Mapping[str, str], home: str) -> Iterator[tuple[str, str]]:
    yield "VAGRANT_CLOUD_TOKEN", environ.get("VAGRANT_CLOUD_TOKEN", "").strip()
    folder = environ.get("VAGRANT_HOME") or os.path.join(home, ".vagrant.d")
    path = os.path.join(folder, "data", "vagrant_login_token")
    yield path, _kept(path)
    yield "ATLAS_TOKEN", environ.get("ATLAS_TOKEN", "").strip()


def _kept(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_TOKEN).decode("latin-1").strip()
    except OSError:
        return ""
