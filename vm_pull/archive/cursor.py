"""A place in a stream of blocks, read by the byte."""

from __future__ import annotations

from vm_pull.archive.refusal import cut_short
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Buffer", "Cursor"]

Buffer = bytes | bytearray | memoryview


class Cursor:
    """Takes bytes from a stream in the sizes one asks for; nothing is copied but small pieces.

    Attributes:
        position: how many bytes were taken, all skipped ones included.
    """

    def __init__(self, blocks: Iterable[Buffer]) -> None:
        self.position = 0
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def _fill(self) -> bool:
        """Whether there are bytes at hand; fetches the next block when not."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._rest = memoryview(block)
        return True

    def first(self, count: int) -> bytes:
        """The next `count` bytes without taking them; fewer where the stream ends."""
        while len(self._rest) < count:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest = memoryview(bytes(self._rest) + block)
        return bytes(self._rest[:count])

    def block(self) -> memoryview | None:
        """The next bytes, as many as are at hand; None at the end of the stream."""
        if not self._fill():
            return None
        piece = self._rest
        self._rest = memoryview(b"")
        self.position += len(piece)
        return piece

    def give_back(self, data: bytes) -> None:
        """Takes back the end of what `block` gave last."""
        self.position -= len(data)
        self._rest = memoryview(data)

    def pieces(self, count: int, where: str) -> Iterator[memoryview]:
        """The next `count` bytes, in pieces as they came.

        Raises:
            VmError: the stream ends before; `where` is said of it.
        """
        while count:
            if not self._fill():
                raise cut_short(where)
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            self.position += len(piece)
            count -= len(piece)
            yield piece

    def take(self, count: int, where: str) -> bytes:
        """Exactly the next `count` bytes, which must be few.

        Raises:
            VmError: the stream ends before.
        """
        if count <= len(self._rest):
            piece = self._rest[:count]
            self._rest = self._rest[count:]
            self.position += count
            return bytes(piece)
        return b"".join(self.pieces(count, where))

    def skip_to(self, position: int, where: str) -> None:
        """Goes forward to a position.

        Raises:
            VmError: the stream ends before.
        """
        for _ in self.pieces(position - self.position, where):
            pass
