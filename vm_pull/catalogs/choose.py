"""Which box of a catalog is taken."""

from __future__ import annotations

import re

from vm_pull import providers
from vm_pull.catalogs import gem, misfit
from vm_pull.catalogs.catalog import architecture_of, newest_first, place_of
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vm_pull.catalogs.catalog import Catalog, Offer, Release

__all__ = ["Choice", "Wishes", "choose", "host_architecture"]

_UNSTATED = ("", "unknown")


class Wishes(Value):
    """What the user asks of a box; what is empty is left to us.

    Attributes:
        version: a version as it is written, or constraints as in gem.constraints.
        provider: the hypervisor it was made for.
        architecture: amd64, arm64, ...
    """

    version: str = ""
    provider: str = ""
    architecture: str = ""


class Choice(Value):
    """The box that is taken.

    Attributes:
        version: as the catalog writes it.
        offer: the one box file.
        notes: sentences that the user should read.
    """

    version: str
    offer: Offer
    notes: tuple[str, ...] = ()


def choose(
    catalog: Catalog, wishes: Wishes, host_architecture: str, *, system: str = "Linux"
) -> Choice:
    """The newest version that can be used, and the best of its boxes.

    A version counts when it meets the wish, has a box for a usable provider (or the wished one)
    and for the architecture (or the wished one). The newest of those is taken, even when an older
    one has a box for a provider that comes first; within it `providers.order` decides. A version
    whose text is exactly what was wished is taken even when it has no place in the order.

    Args:
        catalog: what there is.
        wishes: what the user asks.
        host_architecture: what this host is, in the words of catalogs.
        system: what `os.uname().sysname` says.

    Raises:
        VmError: nothing fits: no such version, provider or architecture (66), wrong constraints
            (64), a provider whose boxes cannot be used (69), or a version that was withdrawn (77).

    Source: Vagrant, Box Versioning; Box Architecture.
    """
    wanted = _wanted(catalog, wishes.version)
    provider = providers.canonical(wishes.provider)
    if provider and providers.why_not(provider):
        raise misfit.unusable(catalog, provider)
    names = (provider,) if provider else providers.order(system)
    architecture = architecture_of(wishes.architecture)
    for release in wanted:
        offer = _best(release, names, architecture, host_architecture)
        if offer:
            notes = _notes(catalog, wanted, release, offer, exact=bool(wishes.version))
            return Choice(version=release.version, offer=offer, notes=tuple(map(printable, notes)))
    raise misfit.no_offer(catalog, wanted, names, architecture or host_architecture)


def host_architecture(machine: str, environ: Mapping[str, str]) -> str:
    """What this host is, in the words of catalogs: x86_64 is amd64, aarch64 is arm64.

    Args:
        machine: what `os.uname().machine` says.
        environ: the environment; VAGRANT_HOST_ARCHITECTURE, when it is there, decides.
    """
    return architecture_of(environ.get("VAGRANT_HOST_ARCHITECTURE", "") or machine)


def _wanted(catalog: Catalog, text: str) -> list[Release]:
    """The releases that a version's wish leaves, the newest first."""
    exact = [one for one in catalog.releases if one.version == text.strip()]
    if exact and not exact[0].is_active:
        raise misfit.withdrawn(catalog, exact[0])
    if exact:
        return exact
    try:
        wanted = gem.constraints(text) if text.strip() else ()
    except ValueError as error:
        is_constraint = re.search(r"[=<>~!,]", text)
        raise misfit.no_version(catalog, text, str(error) if is_constraint else "") from None
    fitting = [
        one for version, one in newest_first(catalog.releases) if gem.satisfies(version, wanted)
    ]
    active = [one for one in fitting if one.is_active]
    if active:
        return active
    raise misfit.withdrawn(catalog, fitting[0]) if fitting else misfit.no_version(catalog, text)


def _best(
    release: Release, names: Sequence[str], architecture: str, host_architecture: str
) -> Offer | None:
    """The box of one version that suits best; none when no box of it does."""
    for name in names:
        offers = [one for one in release.offers if providers.canonical(one.provider) == name]
        offers.sort(key=lambda one: one.provider != name)
        for spelling in dict.fromkeys(one.provider for one in offers):
            same = [one for one in offers if one.provider == spelling]
            found = _suiting(same, architecture, host_architecture)
            if found:
                return found
    return None


def _suiting(offers: Sequence[Offer], architecture: str, host_architecture: str) -> Offer | None:
    """The box of one provider for an architecture, in Vagrant's order.

    That very architecture; else, when the user did not name one, the default if it is "unknown";
    else the only one, if it is from before catalogs told. The only one for another architecture
    is never taken.
    """
    wanted = architecture or host_architecture
    for one in offers:
        if one.architecture == wanted:
            return one
    if not architecture:
        for one in offers:
            if one.architecture == "unknown" and one.default_architecture:
                return one
    is_old = offers[0].default_architecture is None and offers[0].architecture in _UNSTATED
    return offers[0] if len(offers) == 1 and is_old else None


def _notes(
    catalog: Catalog, wanted: Sequence[Release], taken: Release, offer: Offer, *, exact: bool
) -> Iterable[str]:
    """What the user may not expect of a choice."""
    newest = wanted[0]
    if taken is not newest:
        there = misfit.some(misfit.words_of(newest))
        yield (
            f"{newest.version} is newer, but is only for {there}"
            if there
            else (f"{newest.version} is newer, but has no box")
        )
    if offer.architecture in _UNSTATED:
        yield "the catalog does not say which architecture this box is for"
    odd = [one.version for one in catalog.releases if one.is_active and not place_of(one)]
    if odd and not exact:
        yield (
            f"not looked at, being no versions that can be ordered: {misfit.some(odd)};"
            " --version takes them by name"
        )
