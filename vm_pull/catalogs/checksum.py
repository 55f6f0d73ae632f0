"""What a whole box must hash to."""

from __future__ import annotations

import hashlib
import re

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from typing import Protocol

    class Hash(Protocol):
        """What hashlib makes."""

        def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
        def hexdigest(self) -> str: ...


__all__ = ["KINDS", "Checksum", "parse", "published", "remark"]

KINDS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}  # hex digits
_WEAK = ("md5", "sha1")
_NAMES = ", ".join(KINDS)


class Checksum(Value):
    """A digest of the whole file, as it was published or typed.

    Attributes:
        kind: one of md5, sha1, sha256, sha384, sha512.
        digits: the hexadecimal digits, in lower case, as many as the kind has.
    """

    kind: str
    digits: str

    @property
    def is_weak(self) -> bool:
        """Whether others can make a different box with the same checksum."""
        return self.kind in _WEAK

    def new(self) -> Hash:
        """An empty hash of this kind, to be fed with the file."""
        return hashlib.new(self.kind, usedforsecurity=False)  # a FIPS host has md5 only like this

    def compare(self, found: str, what: str) -> None:
        """Passes the digits of what has come.

        Args:
            found: `hexdigest()` of the whole file.
            what: what the file is called in the fault.

        Raises:
            VmError: they differ (65); both are shown.
        """
        if found.strip().lower() == self.digits:
            return
        problem = (
            f"{what} is not what was published: its {self.kind} is {found},"
            f" and {self.digits} was expected"
        )
        hint = "try again later; if it stays, ask its publisher which of the two is right"
        raise VmError(Fault(problem=problem, hint=hint))

    def __str__(self) -> str:
        """`sha256:...`; `parse` reads it back."""
        return f"{self.kind}:{self.digits}"


def parse(text: str) -> Checksum:
    """Reads what `--checksum` was given, TYPE:HEX in any case.

    Raises:
        VmError: it is not of this form (64).
    """
    kind, colon, digits = text.strip().lower().replace("sha-", "sha").partition(":")
    if not colon:
        likely = [k for k, length in KINDS.items() if length == len(kind)]
        hint = f"say --checksum {likely[0]}:{kind}" if likely else "say TYPE:HEX, sha256:9f86d0..."
        problem = "--checksum does not say which kind of checksum it is"
        raise VmError(Fault(problem=problem, hint=hint), status=64)
    if kind not in KINDS:
        problem = f"--checksum: {kind} is not a kind of checksum that is known"
        raise VmError(Fault(problem=problem, hint=f"known are {_NAMES}"), status=64)
    if not _fits(kind, digits):
        problem = f"--checksum: a {kind} has {KINDS[kind]} hexadecimal digits"
        raise VmError(Fault(problem=problem, hint="copy the whole of it"), status=64)
    return Checksum(kind=kind, digits=digits)


def published(kind: str, digits: str) -> Checksum | None:
    """The checksum of a catalog's entry; none when the entry has none.

    Registries write an empty checksum of type `none`, or null, or leave it out.

    Raises:
        VmError: there is one, and it cannot be verified (65).
    """
    kind, digits = kind.strip().lower().replace("sha-", "sha"), digits.strip().lower()
    if kind in ("", "none", "null") or not digits:
        return None
    hint = "give the right one: --checksum TYPE:HEX"
    if kind not in KINDS:
        problem = f"the catalog has a checksum of the kind {kind[:40]}; known are {_NAMES}"
        raise VmError(Fault(problem=problem, hint=hint))
    if not _fits(kind, digits):
        problem = (
            f"the catalog's checksum is no {kind}, which has {KINDS[kind]} hexadecimal digits:"
            f" {digits[:140]}"
        )
        raise VmError(Fault(problem=problem, hint=hint))
    return Checksum(kind=kind, digits=digits)


def remark(checksum: Checksum | None) -> str:
    """What a user should know of a checksum before trusting it; empty when it is good."""
    if checksum is None:
        return "the box's checksum is unpublished: nobody can tell whether it is the right box"
    if checksum.is_weak:
        return f"the box's checksum is a weak one, {checksum.kind}: it shows accidents, not attacks"
    return ""


def _fits(kind: str, digits: str) -> bool:
    return len(digits) == KINDS[kind] and bool(re.fullmatch(r"[0-9a-f]+", digits, re.ASCII))
