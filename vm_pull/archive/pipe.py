"""Blocks on their way from one thread to the next."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Any, Protocol, TypeVar

    from vm_pull.archive.cursor import Buffer

    T = TypeVar("T")

    class Digest(Protocol):
        """A hash that takes more."""

        def update(self, data: Buffer, /) -> None:
            """Takes more."""


__all__ = ["ahead", "hashed"]


def hashed(blocks: Iterable[Buffer], *digests: Digest) -> Iterator[Buffer]:
    """The same blocks; each has gone through every digest before it is passed on."""
    for block in blocks:
        for digest in digests:
            digest.update(block)
        yield block


class _Ended:
    """The last thing in the queue: how the producer ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Producer:
    """A thread that takes blocks from an iterable and keeps a few of them ready.

    Attributes:
        free: how many more blocks may be made ready.
        ready: the blocks, and how they ended.
        unwanted: nobody takes blocks any more.
    """

    def __init__(self, blocks: Iterable[Any], depth: int) -> None:
        self._blocks = blocks
        self.free = threading.Semaphore(depth)
        self.ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.unwanted = False
        # daemon: an interrupt before `ahead` has it must not leave a process that waits
        self._thread = threading.Thread(target=self._run, name="vm-pull-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._produce()
        except BaseException as caught:  # noqa: BLE001  the consumer raises it
            error = caught
        self.ready.put(_Ended(error))

    def _produce(self) -> None:
        self.free.acquire()
        try:
            for block in self._blocks:
                if self.unwanted:
                    return
                self.ready.put(block)
                self.free.acquire()
        finally:
            close = getattr(self._blocks, "close", None)  # a generator holds things open
            if close is not None:
                close()

    def taken(self) -> Iterator[Any]:
        """The blocks, in the consumer's thread."""
        while True:
            block = self.ready.get()
            if isinstance(block, _Ended):
                if block.error is not None:
                    raise block.error
                return
            self.free.release()
            yield block

    def end(self) -> None:
        """Waits for the thread, which makes at most one more block."""
        self.unwanted = True
        self.free.release()
        self._thread.join()


@contextmanager
def ahead(
    blocks: Iterable[T], depth: int, interrupt: Callable[[], None] | None = None
) -> Generator[Iterator[T]]:
    """The same blocks, made ready by another thread while this one works.

    What the other thread raises is raised here, after the blocks that were made before it.
    Leaving the context ends the thread, also when not all blocks were taken; `blocks` is then
    closed, if it can be.

    Args:
        blocks: made in the other thread only.
        depth: how many blocks wait at most, from 1.
        interrupt: called first when an error ends the context, to wake a producer that waits for
            something that may never come (to shut its socket down, for example).
    """
    producer = _Producer(blocks, depth)
    try:
        yield producer.taken()
    except BaseException:
        if interrupt is not None:
            interrupt()
        raise
    finally:
        producer.end()
