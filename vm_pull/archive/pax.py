"""What the extended headers of a tar archive say about the next member.

Source: POSIX.1-2017, pax, pax Extended Header; GNU tar manual, Storing Sparse Files.
"""

from __future__ import annotations

from vm_pull.archive.refusal import refusal
from vm_pull.archive.tar_numbers import decimal
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Extra"]

_SPARSE = b"GNU.sparse."
_NAME = b"GNU.sparse.name"


class Extra:
    """What was said about the next member so far; what it is not about is left unread.

    Attributes:
        count: of the extended headers so far.
        name: the member's name, in place of the one in its header; None when not given.
        size: how many bytes are stored for it; None when not given.
        sparse: the records about its holes, key and value in the order they came.
    """

    def __init__(self) -> None:
        self.count = 0
        self.name: bytes | None = None
        self.size: int | None = None
        self.sparse: list[tuple[bytes, bytes]] = []

    def set_name(self, name: bytes) -> None:
        """Takes a long name (GNU).

        Raises:
            VmError: there is one already.
        """
        if self.name is not None:
            raise refusal("a member of the box has two long names")
        self.name = name

    def read(self, content: bytes) -> None:
        """Takes the records of an extended header.

        Raises:
            VmError: they are damaged, or not the only ones about this member.
        """
        if self.size is not None or self.sparse:
            raise refusal("a member of the box has two extended headers")
        found = list(_records(content))
        by_key = dict(found)
        self.sparse = [pair for pair in found if pair[0].startswith(_SPARSE)]
        if b"size" in by_key:
            self.size = decimal(by_key[b"size"])
        name = by_key.get(_NAME, by_key.get(b"path"))  # `path` of a sparse file is a stand-in
        if name is not None:
            self.set_name(name)

    def check_global(self, content: bytes) -> None:
        """Reads records about all members that follow, and takes none of them.

        Raises:
            VmError: they are damaged, or one would name, size or map every member.
        """
        for key, _ in _records(content):
            if key in {b"path", b"size"} or key.startswith(_SPARSE):
                raise refusal("a header of the box gives all its members one name or size")


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    r"""The records, each `LENGTH KEY=VALUE\n`, LENGTH counting all of it."""
    while content:
        digits, _, _ = content.partition(b" ")
        length = decimal(digits)
        record = content[:length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or record[-1:] != b"\n" or not equals or not key:
            raise refusal("an extended header of the box is damaged")
        yield key, value
        content = content[length:]
