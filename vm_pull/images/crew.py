"""Some threads that share small pieces of work, for libraries that let go of the interpreter."""

from __future__ import annotations

import os
import queue
import threading

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    Work = Callable[[], None]

__all__ = ["Crew"]

_MOST = 3  # a fourth finds nothing to do: one thread feeds them
_WAITING = 12  # pieces of work for each thread


class Crew:
    """Does pieces of work, in any order; a context manager, whose end is the end of its threads.

    With one processor there is no thread, and each piece is done as it comes.
    """

    def __init__(self, hands: int | None = None) -> None:
        """Begins.

        Args:
            hands: how many threads; as many as this process has processors to spare when None.
        """
        spare = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        count = min(_MOST, spare - 1) if hands is None else hands
        self._free = threading.Semaphore(_WAITING * count)
        self._places = _WAITING * count
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        # daemon: an interrupt before the `with` is entered must not leave a process that waits
        self._threads = [
            threading.Thread(target=self._run, name="vm-pull-hand", daemon=True)
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, work: Work) -> None:
        """Has a piece of work done, now or soon; waits while too many are waiting.

        Raises:
            BaseException: what an earlier piece has raised.
        """
        if not self._threads:
            work()
            return
        self._free.acquire()
        if self._error is not None:
            self._free.release()
            raise self._error
        self._works.put(work)

    def wait(self) -> None:
        """Waits until all that was given is done.

        Raises:
            BaseException: what a piece has raised.
        """
        for _ in range(self._places):
            self._free.acquire()
        if self._places:
            self._free.release(self._places)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            try:
                if self._error is None:
                    work()
            except BaseException as error:  # noqa: BLE001  whoever gives work raises it
                self._error = error
            finally:
                self._free.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _hand in self._threads:
            self._works.put(None)
        for thread in self._threads:
            thread.join()
