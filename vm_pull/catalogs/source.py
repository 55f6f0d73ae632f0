"""Where a box comes from, by the words on the command line."""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import unquote, urlsplit

from vm_pull.catalogs import boxfolder
from vm_pull.catalogs.location import path_of
from vm_pull.catalogs.registry import rewritten
from vm_pull.net import urls
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, assert_never
from vm_spec.types import VmName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["BoxFolder", "File", "Registry", "Source", "Url", "default_name", "source"]

_WRONG_CALL, _NO_SUCH = 64, 66
_SHORTHAND = re.compile(r"[^/\\\s:?#]+/[^/\\\s:?#]+")  # Vagrant's, without what no box has
_NAME = re.compile(r"[^/\\\s:?#]+(/[^/\\\s:?#]+)?")
_ENDING = re.compile(r"\.(box|json|tar|tgz|gz|xz|bz2|zst|zip)$", re.IGNORECASE)
_REGISTRY_PATH = re.compile(r"/[^/]+/boxes/([^/]+)(?:/versions/.*)?/?")


class Registry(Value):
    """A box of the registry.

    Attributes:
        asked: USER/BOX.
    """

    asked: str


class Url(Value):
    """An address of a catalog or a box; which, only its content tells.

    Attributes:
        url: http or https, not yet asked whether it may be; a former registry's host replaced.
        asked: USER/BOX when it was typed before the address, else empty.
    """

    url: str
    asked: str = ""


class File(Value):
    """A catalog or a box on this host; which, only its content tells.

    Attributes:
        path: as it was typed.
        asked: USER/BOX when it was typed before the path, else empty.
        note: a sentence for the user when the words could have meant something else.
    """

    path: str
    asked: str = ""
    note: str = ""


class BoxFolder(Value):
    """A box that Vagrant has unpacked on this host; `boxfolder.catalog` reads it.

    Attributes:
        path: as it was typed.
        asked: USER/BOX when it was typed before the path, else empty.
        note: a sentence for the user when the words could have meant something else.
    """

    path: str
    asked: str = ""
    note: str = ""


Source = Registry | Url | File | BoxFolder


def source(words: Sequence[str]) -> Source:
    """What `USER/BOX`, `URL`, `FILE`, `USER/BOX URL` or `USER/BOX FILE` stands for.

    A file that exists goes before a box of the same name in the registry, as in Vagrant.

    Raises:
        VmError: the words are wrong (64), there is no such file (66), or the address is of a kind
            that is never asked (77).
    """
    if len(words) == 1:
        return _only(words[0])
    if len(words) != 2:
        _refuse("the name of a box is missing" if not words else "too many words", "vm-pull --help")
    asked, place = words
    if not _is_name(asked, _NAME):
        problem = f"{urls.shown(asked)} before an address or a file must be a box's name"
        _refuse(problem, "vm-pull USER/BOX URL, or vm-pull URL")
    found = _placed(place, asked)
    return found or _no_file(place, "give an address with https: or a file")


def default_name(of: Source, catalog_name: str = "") -> VmName:
    """What the VM is called unless `--name` says so: the short name of the box or of the file.

    Args:
        of: where the box comes from.
        catalog_name: USER/BOX as its catalog says, if it has one; used when none was typed.

    Raises:
        VmError: no name can be made of it (64).
    """
    text = of.asked or catalog_name or _place_name(of)
    stem = text.rstrip("/").rpartition("/")[2]
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip("_.-")[:64].rstrip("-.")
    try:
        return VmName(clean)
    except ValueError:
        problem = f"no name for the VM can be made of {urls.shown(text)!r}"
        raise VmError(Fault(problem=problem, hint="say --name NAME"), status=_WRONG_CALL) from None


def _only(word: str) -> Source:
    is_shorthand = _is_name(word, _SHORTHAND)
    found = _placed(word, "", only_files=is_shorthand)
    if found:
        if is_shorthand and isinstance(found, File | BoxFolder):
            note = f"{word} is a file here and is taken; not the registry's box of this name"
            return type(found)(path=found.path, note=note)
        return found
    if is_shorthand:
        return Registry(asked=word)
    return _no_file(word, "a box of the registry is called USER/BOX")


def _placed(word: str, asked: str, *, only_files: bool = False) -> Source | None:
    """What is at an address or a path; none when there is no such file.

    Args:
        word: an address or a path.
        asked: USER/BOX, if it was typed.
        only_files: whether a folder that is no box's is passed over.
    """
    path = path_of(word)
    found = _kind(path) if path else 0
    if stat.S_ISREG(found):
        return File(path=path, asked=asked)
    if stat.S_ISDIR(found) and (boxfolder.is_box(path) or not only_files):
        return BoxFolder(path=path, asked=asked)
    if found and not stat.S_ISDIR(found):
        _refuse(f"{word} is not a regular file", "give a box, a catalog, or a folder of Vagrant's")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", word) and word[:5].lower() != "file:":
        urls.check(word, insecure=True)  # its kind; whether http is allowed is asked before use
        return Url(url=rewritten(word), asked=asked)
    return None


def _kind(path: str) -> int:
    """The kind of what is at a path; 0 when there is nothing or it cannot be seen."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


def _is_name(word: str, shape: re.Pattern[str]) -> bool:
    parts = word.split("/")
    paths = (".", "..", "~")
    return bool(shape.fullmatch(word)) and word.isprintable() and not any(p in paths for p in parts)


def _place_name(of: Source) -> str:
    """The last part of an address or a path without its endings."""
    match of:
        case Registry(asked=asked):
            return asked
        case Url(url=url):
            path = unquote(urlsplit(url).path)
            found = _REGISTRY_PATH.fullmatch(path)
            return found[1] if found else _stem(path)
        case File(path=path):
            return _stem(path)
        case BoxFolder(path=path):
            return boxfolder.name_of(path)
        case _:
            assert_never(of)


def _stem(path: str) -> str:
    stem = path.rstrip("/").rpartition("/")[2]
    while (shorter := _ENDING.sub("", stem)) != stem:
        stem = shorter
    return stem


def _no_file(word: str, hint: str) -> NoReturn:
    problem = f"there is no file {urls.shown(word)}"
    raise VmError(Fault(problem=problem, hint=hint), status=_NO_SUCH)


def _refuse(problem: str, hint: str) -> NoReturn:
    raise VmError(Fault(problem=problem, hint=hint), status=_WRONG_CALL)
