"""What is said when no box of a catalog fits: what was asked, what there is, the next step."""

from __future__ import annotations

from vm_pull import providers
from vm_pull.catalogs.catalog import newest_first
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vm_pull.catalogs.catalog import Catalog, Offer, Release

__all__ = ["no_offer", "no_version", "some", "unusable", "withdrawn", "words_of"]

_WRONG_CALL, _NO_SUCH, _LACKING, _REFUSED = 64, 66, 69, 77
_SHOWN = 6


def some(words: Iterable[str]) -> str:
    """The first few of some words, and how many more there are."""
    all_words = list(dict.fromkeys(words))
    more = len(all_words) - _SHOWN
    shown = ", ".join(all_words[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def words_of(release: Release) -> list[str]:
    """What the boxes of one version are for: `libvirt (arm64)`."""
    return [_word(one) for one in release.offers]


def unusable(catalog: Catalog, provider: str) -> VmError:
    """The user asks for a provider whose boxes cannot be used."""
    usable = _usable(catalog.releases)
    hint = f"say --provider {usable[0]}" if usable else f"usable are {', '.join(providers.USABLE)}"
    return _error(providers.why_not(provider), hint, _LACKING)


def withdrawn(catalog: Catalog, release: Release) -> VmError:
    """The user asks for a version that its publisher does not offer, or no more."""
    problem = f"{release.version} of {catalog.name} is {release.status}: its publisher says so"
    others = _offered(catalog)
    hint = f"there is {some(others)}" if others else "there is no other version"
    return _error(problem, hint, _REFUSED)


def no_version(catalog: Catalog, text: str, mistake: str = "") -> VmError:
    """No version meets the wish; a mistake in the wish itself is told instead."""
    versions = _offered(catalog)
    if mistake:
        hint = "such as --version '>= 1.0, < 2.0' or --version '~> 8.10'"
        return _error(f"--version {text} is not understood: it {mistake}", hint, _WRONG_CALL)
    if not versions:
        return _error(f"{catalog.name} has no version that is offered", "try another box", _NO_SUCH)
    if not text.strip():
        problem = f"{catalog.name} has no version that can be ordered"
        return _error(problem, f"name one: --version {versions[0]}", _NO_SUCH)
    problem = f"{catalog.name} has no version {text.strip()}; there is {some(versions)}"
    return _error(problem, "--list shows them all", _NO_SUCH)


def no_offer(
    catalog: Catalog, wanted: Sequence[Release], names: Sequence[str], architecture: str
) -> VmError:
    """The versions that meet the wish have no box for the provider or the architecture.

    Args:
        catalog: what there is.
        wanted: the versions that meet the wish, the newest first.
        names: the providers that would do.
        architecture: the only one that would do.
    """
    which = wanted[0].version if len(wanted) == 1 else "no version"
    offers = [one for release in wanted for one in release.offers]
    fitting = [one for one in offers if providers.canonical(one.provider) in names]
    there = some(one.provider for one in offers) or "nothing"
    if fitting:
        architectures = [one.architecture or "unknown" for one in fitting]
        verb = "is not" if len(wanted) == 1 else "is"
        problem = (
            f"{catalog.name}: {which} {verb} for {architecture}; there is {some(architectures)}"
        )
        return _error(problem, f"if you want that one: --arch {architectures[0]}", _NO_SUCH)
    verb = "has no box" if len(wanted) == 1 else "has a box"
    problem = f"{catalog.name}: {which} {verb} for {' or '.join(names)}; there is {there}"
    usable = _usable(wanted)
    if usable:
        hint = f"say --provider {usable[0]}"
    else:
        hint = providers.why_not(offers[0].provider) if offers else "--list shows what there is"
    return _error(problem, hint, _NO_SUCH)


def _offered(catalog: Catalog) -> list[str]:
    """The versions that can be asked for, the newest first, those without a place last."""
    active = [one for one in catalog.releases if one.is_active]
    ordered = [one.version for _, one in newest_first(active)]
    return list(dict.fromkeys((*ordered, *(one.version for one in active))))


def _usable(releases: Iterable[Release]) -> list[str]:
    """The usable providers that some versions have boxes for."""
    names = (providers.canonical(one.provider) for release in releases for one in release.offers)
    return [name for name in dict.fromkeys(names) if not providers.why_not(name)]


def _word(offer: Offer) -> str:
    told = offer.architecture not in ("", "unknown")
    return f"{offer.provider} ({offer.architecture})" if told else offer.provider


def _error(problem: str, hint: str, status: int) -> VmError:
    return VmError(Fault(problem=problem, hint=hint), status=status)
