"""A box's catalog: which versions there are, for which providers and architectures, and where."""

from __future__ import annotations

from vm_pull.catalogs import gem
from vm_pull.catalogs.json_table import Table, table
from vm_pull.catalogs.location import located
from vm_pull.net import urls
from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

__all__ = [
    "MOST_BYTES",
    "Catalog",
    "Offer",
    "Release",
    "architecture_of",
    "check_name",
    "is_word",
    "newest_first",
    "place_of",
    "read",
]

MOST_BYTES = 1 << 20
_MOST_VERSIONS = 5000
_MOST_SKIPPED = 20  # sentences; a hostile catalog has more to say
_LONGEST = 200  # characters of a version, provider or architecture
_MACHINES = {"x86_64": "amd64", "x64": "amd64", "aarch64": "arm64"}


class Offer(Value):
    """One box file of one version.

    Attributes:
        provider: the hypervisor it is for, in lower case.
        url: an http or https address, or a path when the catalog is a file.
        checksum: as published; may be empty.
        checksum_type: as published; may be empty, "none", or unknown to us.
        architecture: amd64, arm64, ...; "unknown", or empty when the catalog does not tell.
        default_architecture: whether it is for clients that know no architectures; none when the
            catalog does not tell, as those made before there were architectures.
        size: bytes of the box file; 0 when unknown.
    """

    provider: str
    url: str
    checksum: str = ""
    checksum_type: str = ""
    architecture: str = ""
    default_architecture: bool | None = None
    size: int = 0


class Release(Value):
    """One version.

    Attributes:
        version: as written; it need not be a version that can be ordered.
        status: "active" and empty can be taken; "revoked" and "unreleased" cannot.
        offers: in the catalog's order.
    """

    version: str
    status: str = ""
    offers: tuple[Offer, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether its publisher stands by it."""
        return self.status in ("", "active")


class Catalog(Value):
    """All versions of one box.

    Attributes:
        name: USER/BOX, or whatever its publisher calls it; never a path upwards.
        description: free text; may be empty.
        releases: in the catalog's order, which says nothing.
        skipped: sentences about what was left out and why.
        base: the address or the file it came from.
    """

    name: str
    description: str = ""
    releases: tuple[Release, ...] = ()
    skipped: tuple[str, ...] = ()
    base: str = ""


def read(data: bytes, *, base: str, asked: str) -> Catalog:
    """Reads a catalog: Vagrant's box metadata, or what the registry's box API answers.

    Entries that make no sense are left out and named in `skipped`.

    Args:
        data: JSON, at most 1 MiB.
        base: the address or the file it came from, which relative addresses are relative to.
        asked: the USER/BOX that was asked for; empty when only an address or file was. Upper and
            lower case are one: the registry takes either and answers with its own.

    Raises:
        VmError: it is no catalog, or that of another box.

    Source: Vagrant, Box Catalog Metadata; Vagrant Cloud API, Read a box.
    """
    raw = _parse(data, base)
    name = raw.get("name") if "tag" not in raw else raw["tag"]
    versions = raw.get("versions")
    if "tag" in raw and not versions:
        versions = [raw.get("current_version")]
    if not is_list(versions):
        _refuse(base, "has no list of versions", "is it the address of a box's catalog?")
    reader = _Reader(base)
    releases = tuple(reader.releases(versions[:_MOST_VERSIONS]))
    if len(versions) > _MOST_VERSIONS:
        reader.skip(f"all versions after the first {_MOST_VERSIONS}")
    return Catalog(
        name=check_name(_text(name), base=base, asked=asked),
        description=_text(raw.get("description"))[:10_000],
        releases=releases,
        skipped=reader.sentences(),
        base=base,
    )


def place_of(release: Release) -> gem.Version | None:
    """The place of a release in the order of versions; none when it has none."""
    try:
        return gem.Version.parse(release.version)
    except ValueError:
        return None


def newest_first(releases: Iterable[Release]) -> list[tuple[gem.Version, Release]]:
    """The releases that have a place in the order; of equal ones, the first stays first."""
    placed = [(version, one) for one in releases if (version := place_of(one))]
    return sorted(placed, key=lambda pair: pair[0], reverse=True)


def architecture_of(text: str) -> str:
    """An architecture in the words of catalogs: what uname calls x86_64 is amd64, i686 is i386."""
    word = text.strip().lower()[:_LONGEST]
    if len(word) == 4 and word.startswith("i") and word.endswith("86"):
        return "i386"
    return _MACHINES.get(word, word)


def check_name(name: str, *, base: str, asked: str) -> str:
    """The name a catalog gives itself, if it is that of the box that was asked for.

    Raises:
        VmError: it is another box's, or a path.
    """
    if not name:
        _refuse(base, "has no name", "a catalog names its box: USER/BOX")
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts) or "\\" in name:
        _refuse(base, f"calls its box {name[:_LONGEST]!r}", "a box is called USER/BOX")
    if not name.isprintable() or len(name) > _LONGEST:
        _refuse(base, f"calls its box {printable(name[:_LONGEST])}", "a box is called USER/BOX")
    if asked and name.casefold() != asked.casefold():
        _refuse(base, f"is of {name}, not of {asked}", f"if {name} is what you want, ask for that")
    return name


class _Reader:
    """Turns entries into releases and notes what it leaves out."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.skipped: list[str] = []
        self.more = 0

    def skip(self, what: str) -> None:
        """Notes one thing that is left out."""
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append(f"skipped: {printable(what)}")
        else:
            self.more += 1

    def sentences(self) -> tuple[str, ...]:
        """What was left out; how many more at the end."""
        more = (f"skipped: {self.more} more",) if self.more else ()
        return (*self.skipped, *more)

    def releases(self, entries: list[object]) -> Iterator[Release]:
        """The entries that are versions; of two with one name, the first."""
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            version = _text(entry.get("version")).strip() if is_table(entry) else ""
            if not is_table(entry) or not is_word(version):
                self.skip(f"versions[{number}], which has no version")
            elif version in seen:
                self.skip(f"versions[{number}], a second {version}")
            else:
                seen.add(version)
                status = _text(entry.get("status")).strip().lower()
                offers = tuple(self._offers(version, entry.get("providers")))
                yield Release(version=version, status=status[:_LONGEST], offers=offers)

    def _offers(self, version: str, entries: object) -> Iterator[Offer]:
        """The usable entries of one version's list; of two for the same thing, the first."""
        if not is_list(entries):
            self.skip(f"{version}, which has no list of providers")
            return
        seen: set[tuple[str, str]] = set()
        for number, entry in enumerate(entries):
            offer = self._offer(entry) if is_table(entry) else "it is no table"
            if isinstance(offer, str):
                self.skip(f"{version}, providers[{number}]: {offer}")
            elif (offer.provider, offer.architecture) in seen:
                self.skip(f"{version}, providers[{number}]: a second {offer.provider}")
            else:
                seen.add((offer.provider, offer.architecture))
                yield offer

    def _offer(self, entry: Table) -> Offer | str:
        """One box file, or why it is none."""
        provider = _text(entry.get("name")).strip().lower()
        if not is_word(provider):
            return "it has no provider's name"
        url = _text(entry.get("url") or entry.get("download_url")).strip()
        if not url:
            return f"{provider} has no url"
        place = located(url, self.base)
        if not place:
            return f"{provider}: {urls.shown(url)[:_LONGEST]} cannot be asked for"
        architecture = architecture_of(_text(entry.get("architecture")))
        if architecture and not is_word(architecture):
            return f"{provider} is for an architecture that is no word"
        default, size = entry.get("default_architecture"), entry.get("size")
        return Offer(
            provider=provider,
            url=place,
            checksum=_text(entry.get("checksum")).strip()[:_LONGEST],
            checksum_type=_text(entry.get("checksum_type")).strip()[:_LONGEST],
            architecture=architecture,
            default_architecture=default if isinstance(default, bool) else None,
            size=size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0,
        )


def _parse(data: bytes, base: str) -> Table:
    hint = "a catalog is JSON as Vagrant's box metadata is; is the address the right one?"
    if len(data) > MOST_BYTES:
        _refuse(base, f"has more than {MOST_BYTES >> 20} MiB, too much for a catalog", hint)
    try:
        return table(data)
    except ValueError as error:
        _refuse(base, f"is no catalog: {printable(str(error))[:_LONGEST]}", hint)


def _text(raw: object) -> str:
    """A text or a whole number as text; empty for anything else."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return raw if isinstance(raw, str) else ""


def is_word(text: str) -> bool:
    """Whether a text can be a version, a provider or an architecture: plain, and no path."""
    return (
        0 < len(text) <= _LONGEST
        and text.isprintable()
        and text.isascii()
        and not any(c in "/\\ " for c in text)
        and text not in (".", "..")
    )


def _refuse(base: str, problem: str, hint: str) -> NoReturn:
    what = urls.shown(base) if base else "the catalog"
    raise VmError(Fault(problem=f"{what} {problem}", hint=hint))
