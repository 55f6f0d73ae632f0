"""From the words on the command line to one box, ready to be received."""

from __future__ import annotations

import os

from vm_pull.catalogs import boxfolder, checksum, choose, registry
from vm_pull.catalogs import catalog as catalogs
from vm_pull.catalogs.source import BoxFolder, File, Registry, Source, Url
from vm_pull.net import magic, urls
from vm_pull.net.local import LocalDownload
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from vm_pull.catalogs.catalog import Catalog, Offer
    from vm_pull.catalogs.checksum import Checksum
    from vm_pull.catalogs.choose import Choice, Wishes
    from vm_pull.net.download import Download
    from vm_pull.net.web import Web

    class Stream(Protocol):
        """A box on its way: a `Download`, a `LocalDownload` or a `Packed`."""

        @property
        def url(self) -> str:
            """Where it is."""
            ...

        @property
        def size(self) -> int | None:
            """Bytes, when that is known."""
            ...

        def blocks(self) -> Iterator[bytes]:
            """The box."""
            ...

        def close(self) -> None:
            """Ends it."""


__all__ = ["Found", "catalog", "find"]

_DEADLINE_S = 60.0
_NO_SUCH = 66


class Found(Value):
    """A box.

    Attributes:
        stream: its bytes.
        catalog_name: USER/BOX as its catalog says; empty without a catalog.
        version: empty without a catalog.
        provider: as the catalog calls it; empty without one.
        architecture: empty when the catalog does not say.
        digest: what it must hash to; none when nobody says.
    """

    stream: Stream
    catalog_name: str = ""
    version: str = ""
    provider: str = ""
    architecture: str = ""
    digest: Checksum | None = None


class Searcher:
    """How one box is looked for: with whom, and what is wished of it."""

    def __init__(self, web: Web, wishes: Wishes, tell: Callable[[str], None]) -> None:
        self._web = web
        self._wishes = wishes
        self._tell = tell

    def start(self, source: Source) -> Stream | Catalog:
        """What the words lead to: a box, or the catalog of one.

        Raises:
            VmError: neither is there (66), or something else is (65, 69).
        """
        match source:
            case Registry(asked=asked):
                return self._registered(asked)
            case Url(url=url, asked=asked):
                return self._either(self._web.open(url, accept_json=True), asked)
            case File(path=path, asked=asked, note=note):
                self._note(note)
                return self._either(LocalDownload(path), asked)
            case BoxFolder(path=path, asked=asked, note=note):
                self._note(note)
                found = boxfolder.catalog(path)
                catalogs.check_name(found.name, base=path, asked=asked)
                return found
            case _:
                assert_never(source)

    def _note(self, note: str) -> None:
        if note:
            self._tell(note)

    def _registered(self, asked: str) -> Stream | Catalog:
        """The first of the registry's addresses that knows the box.

        Raises:
            VmError: none does; what the last one said.
        """
        last: VmError | None = None
        for address in registry.addresses(asked, os.environ):
            try:
                return self._either(self._web.open(address, accept_json=True), asked)
            except VmError as error:
                if error.status != _NO_SUCH:
                    raise
                last = error
        raise last or VmError(Fault(problem=f"there is no box {asked}"), status=_NO_SUCH)

    def _either(self, stream: Download | LocalDownload, asked: str) -> Stream | Catalog:
        """What came, by its content."""
        kind = magic.kind(stream.first)
        if kind == "box":
            return stream
        try:
            if kind != "catalog":
                magic.refuse(stream.first, stream.url)
            data = stream.text(catalogs.MOST_BYTES, _DEADLINE_S)
        finally:
            stream.close()
        found = catalogs.read(data, base=stream.url, asked=asked)
        for sentence in found.skipped:
            self._tell(sentence)
        return found

    def chosen(self, found: Catalog) -> tuple[Choice, Stream]:
        """The box that is taken of a catalog.

        Raises:
            VmError: none fits (66), or what is there is no box.
        """
        system = os.uname()
        host = choose.host_architecture(system.machine, os.environ)
        choice = choose.choose(found, self._wishes, host, system=system.sysname)
        for sentence in choice.notes:
            self._tell(sentence)
        offer = choice.offer
        what = " ".join(filter(None, (offer.provider, offer.architecture)))
        self._tell(f"{found.name} {choice.version} for {what}")
        return choice, self._offered(offer, found.base)

    def _offered(self, offer: Offer, base: str) -> Stream:
        """The box of an offer; `base` is where its catalog came from."""
        if os.path.isdir(offer.url) and not urls.is_web(offer.url):
            from vm_pull.catalogs.packed import Packed

            return Packed(offer.url)
        is_web = urls.is_web(offer.url)
        stream = self._web.open(offer.url, came_from=base) if is_web else LocalDownload(offer.url)
        if magic.kind(stream.first) != "box":
            try:
                magic.refuse(stream.first, stream.url)
            finally:
                stream.close()
        if offer.size and stream.size not in (None, offer.size):
            self._tell(f"the catalog says {offer.size} bytes, and the server {stream.size}")
        return stream


def find(searcher: Searcher, source: Source, wanted: Checksum | None) -> Found:
    """The box that is asked for.

    Args:
        searcher: how it is looked for.
        source: where.
        wanted: the checksum that the user gave; it wins over the catalog's.

    Raises:
        VmError: there is none, or it cannot be had.
    """
    first = searcher.start(source)
    if not isinstance(first, catalogs.Catalog):
        return Found(stream=first, digest=wanted)
    choice, stream = searcher.chosen(first)
    try:
        offer = choice.offer
        digest = wanted or checksum.published(offer.checksum_type, offer.checksum)
    except BaseException:
        stream.close()
        raise
    is_folder = isinstance(source, BoxFolder)
    return Found(
        stream=stream,
        catalog_name=first.name,
        version=choice.version if not (is_folder and choice.version == "0") else "",
        provider=offer.provider,
        architecture=offer.architecture,
        digest=digest,
    )


def catalog(searcher: Searcher, source: Source) -> Catalog:
    """The catalog that is asked for, for `--list`.

    Raises:
        VmError: there is none; also when a box itself was named (64).
    """
    first = searcher.start(source)
    if isinstance(first, catalogs.Catalog):
        return first
    first.close()
    problem = f"{urls.shown(first.url)} is a box, not a catalog: there is nothing to list"
    raise VmError(Fault(problem=problem, hint="leave --list out"), status=64)
