"""What a person sees of a pull: one bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys

from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol, Self

    from rich.progress import TaskID

    class Progress(Protocol):
        """Something that shows how far a pull is; used as a context manager."""

        def __enter__(self) -> Self: ...
        def __exit__(self, *_: object) -> None: ...

        def say(self, text: str) -> None:
            """Tells one thing that happened."""

        def begin(self, what: str, total: int) -> None:
            """Begins to count bytes; a total of 0 is unknown."""

        def advance(self, count: int) -> None:
            """Counts bytes."""


__all__ = ["Progress", "counted", "progress"]

_MIB = 1 << 20


def progress(*, quiet: bool) -> Progress:
    """What fits standard error."""
    if quiet:
        return Silence()
    return Bar() if sys.stderr.isatty() else Lines()


def counted(blocks: Iterable[bytes], shown: Progress) -> Iterator[bytes]:
    """The same blocks, each told to `shown` as it passes."""
    for block in blocks:
        shown.advance(len(block))
        yield block


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Is not shown."""

    def begin(self, what: str, total: int) -> None:
        """Is not shown."""

    def advance(self, count: int) -> None:
        """Is not shown."""


class Lines(Silence):
    """A line for each thing, and for each tenth of what is counted."""

    def __init__(self) -> None:
        self._what = ""
        self._total = self._count = self._next = 0

    def say(self, text: str) -> None:
        """Writes it on standard error; a closed one stops nothing."""
        try:
            sys.stderr.write(f"vm-pull: {printable(text)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass

    def begin(self, what: str, total: int) -> None:
        """Says what is being done, and how much there is."""
        self._what, self._total, self._count = what, total, 0
        self._next = max(total // 10, 16 * _MIB)
        self.say(f"{what}, {_shown(total)}" if total else what)

    def advance(self, count: int) -> None:
        """Writes a line when another tenth is there."""
        self._count += count
        if self._count >= self._next:
            share = f"{100 * self._count // self._total:3d} %  " if self._total else ""
            self.say(f"  {share}{_shown(self._count)}")
            self._next = self._count + max(self._total // 10, 16 * _MIB)


class Bar(Silence):
    """One line that changes: what is done, how far, how fast, how long yet."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def say(self, text: str) -> None:
        """Writes a line above the bar."""
        self._rich.console.print(f"vm-pull: {printable(text)}", markup=False, soft_wrap=True)

    def begin(self, what: str, total: int) -> None:
        """Begins the bar anew."""
        if self._task is not None:
            self._rich.remove_task(self._task)
        self._task = self._rich.add_task(printable(what), total=total or None)

    def advance(self, count: int) -> None:
        """Moves the bar."""
        if self._task is not None:
            self._rich.advance(self._task, count)


def _shown(count: int) -> str:
    if count < 10 * _MIB:
        return f"{count / 1024:.0f} KiB"
    return f"{count / _MIB:.0f} MiB" if count < 10240 * _MIB else f"{count / 1024 / _MIB:.1f} GiB"
