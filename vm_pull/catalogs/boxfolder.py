"""Boxes that Vagrant has unpacked: a folder of ~/.vagrant.d/boxes as a catalog."""

from __future__ import annotations

import os
import stat

from vm_pull.catalogs.catalog import Catalog, Offer, Release, architecture_of, is_word
from vm_pull.catalogs.json_table import table
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

__all__ = ["Member", "catalog", "is_box", "members", "name_of", "open_member"]

_SLASH, _COLON = "-VAGRANTSLASH-", "-VAGRANTCOLON-"
_MARKS = ("metadata.json", "box.ovf")  # a provider's folder has one; one of version 1 only the last
_MOST_NAMES = 1000  # in one folder
_MOST_BYTES = 1 << 20
_DEEPEST = 3
_NO_SUCH, _IO = 66, 74


class Member(Value):
    """One file of a box.

    Attributes:
        name: relative to the provider's folder, with slashes.
        path: where it is.
        size: bytes.
    """

    name: str
    path: str
    size: int


def is_box(path: str) -> bool:
    """Whether a folder is one that Vagrant keeps a box in, or a version's part of it."""
    return _has_mark(path) or _SLASH in os.path.basename(os.path.abspath(path))


def name_of(path: str) -> str:
    """The USER/BOX that a folder of Vagrant is of; else the folder's own name."""
    parts = os.path.abspath(path).split("/")
    own = next((part for part in reversed(parts) if _SLASH in part), parts[-1])
    return own.replace(_SLASH, "/").replace(_COLON, ":")


def catalog(path: str) -> Catalog:
    """What a folder has, as the catalog that `choose` takes; each offer's url is a folder.

    The folder is a box's, `USER-VAGRANTSLASH-BOX`, with VERSION/[ARCHITECTURE/]PROVIDER below; or
    a provider's, in which metadata.json lies.

    Raises:
        VmError: it has no box (66) or cannot be read (74).

    Source: Vagrant, lib/vagrant/box_collection.rb.
    """
    if _has_mark(path):
        offer = Offer(provider=_provider(path), url=path, architecture=_architecture(path))
        return Catalog(name=name_of(path), releases=(Release(version="0", offers=(offer,)),))
    releases = tuple(
        Release(version=version, offers=offers)
        for version in _folders(path)
        if (offers := tuple(_offers(os.path.join(path, version))))
    )
    if not releases:
        problem = f"{path} is a folder without a box"
        hint = "give the box's folder: ~/.vagrant.d/boxes/USER-VAGRANTSLASH-BOX"
        raise VmError(Fault(problem=problem, hint=hint), status=_NO_SUCH)
    return Catalog(name=name_of(path), releases=releases)


def members(folder: str) -> tuple[Member, ...]:
    """The regular files of a provider's folder, by name; links are left out, as in archives.

    Raises:
        VmError: it has more files than any box, or cannot be read (74).
    """
    return tuple(_members(folder, "", 0))


def open_member(member: Member) -> int:
    """A descriptor of a member, for reading; whoever calls closes it.

    Raises:
        VmError: it is gone, or has become something else since it was listed (74).
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(member.path, flags)
    except OSError as error:
        _unreadable(member.path, error)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        problem = f"{member.path} is not a regular file any more"
        raise VmError(Fault(problem=problem, hint="try again"), status=_IO)
    return fd


def _offers(version: str) -> Iterator[Offer]:
    """The boxes of one version: in folders of providers, or of architectures with these below."""
    for name in _folders(version):
        path = os.path.join(version, name)
        if _has_mark(path):
            yield Offer(provider=name.lower(), url=path)
            continue
        for provider in _folders(path):
            below = os.path.join(path, provider)
            if _has_mark(below):
                yield Offer(
                    provider=provider.lower(), url=below, architecture=architecture_of(name)
                )


def _members(folder: str, below: str, depth: int) -> Iterator[Member]:
    for entry in _entries(folder):
        name = below + entry.name
        if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
            yield from _members(entry.path, f"{name}/", depth + 1)
        elif entry.is_file(follow_symlinks=False):
            size = entry.stat(follow_symlinks=False).st_size
            yield Member(name=name, path=entry.path, size=size)


def _folders(path: str) -> list[str]:
    """The names of the folders in one that can be a version, an architecture or a provider."""
    return [entry.name for entry in _entries(path) if _is_kept(entry)]


def _is_kept(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and is_word(entry.name) and entry.is_dir()


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        _unreadable(path, error)
    if len(entries) > _MOST_NAMES:
        problem = f"{path} has more than {_MOST_NAMES} names"
        raise VmError(Fault(problem=problem, hint="give the folder of one box"), status=_IO)
    return entries


def _has_mark(path: str) -> bool:
    return any(os.path.isfile(os.path.join(path, mark)) for mark in _MARKS)


def _provider(path: str) -> str:
    """What the box itself says it is for; virtualbox when it is from before boxes said so."""
    raw = _metadata(path).get("provider")
    if raw is None:
        return "virtualbox"
    provider = raw.strip().lower() if isinstance(raw, str) else ""
    if not is_word(provider):
        problem = f"{os.path.join(path, _MARKS[0])} does not say what the box is for"
        raise VmError(Fault(problem=problem, hint="get the box again: vagrant box add"))
    return provider


def _architecture(path: str) -> str:
    raw = _metadata(path).get("architecture")
    return architecture_of(raw) if isinstance(raw, str) and is_word(raw) else ""


def _metadata(path: str) -> dict[str, object]:
    file = os.path.join(path, _MARKS[0])
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as opened:
            return table(opened.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        _unreadable(file, error)
    except ValueError as error:
        problem = f"{file} is not a box's metadata: {error}"
        raise VmError(Fault(problem=problem, hint="get the box again: vagrant box add")) from None


def _unreadable(path: str, error: OSError) -> NoReturn:
    problem = f"{path} cannot be read: {error.strerror or error}"
    raise VmError(Fault(problem=problem, hint=f"look at it: ls -l {path}"), status=_IO) from None
