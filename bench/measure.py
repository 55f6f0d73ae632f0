"""How contenders are measured: in turn (A B A B), each time as a process of its own."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Contender", "Row", "Section", "ended", "rows", "started"]

TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way of doing the same thing.

    Attributes:
        name: what the table calls it.
        sample: does it once; gives a figure for each of the section's metrics. None: not here.
        absent: why it is not here.
        aims: metric -> the most that is aimed at: of the section's first contender the figure
            itself, of any other the ratio of the first one's figure to this one's.
    """

    name: str
    sample: Callable[[], Mapping[str, float]] | None
    absent: str = ""
    aims: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Section:
    """Contenders that are measured in one interleaved run; the first one is ours.

    Attributes:
        key: what `--only` calls it.
        title: what is measured.
        metrics: their names, with the unit in them.
        contenders: ours first.
        n: how often each is measured, after one round that does not count.
    """

    key: str
    title: str
    metrics: tuple[str, ...]
    contenders: list[Contender]
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        section: its section's key.
        contender: the contender's name.
        metric: what the figures are.
        figures: all of them, in order; none when the contender is not here.
        ratio: our median over this one's; None for ours, and when it is not here.
        aim: the most that is aimed at, for ours in the metric's unit, for another as a ratio.
        note: why it is not here.
    """

    section: str
    contender: str
    metric: str
    figures: tuple[float, ...]
    ratio: float | None
    aim: float | None
    note: str

    @property
    def median(self) -> float | None:
        """The median of the figures."""
        return statistics.median(self.figures) if self.figures else None

    @property
    def least(self) -> float | None:
        """The least of the figures."""
        return min(self.figures, default=None)

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; None without an aim or without figures."""
        reached = self.median if self.ratio is None else self.ratio
        if self.aim is None or reached is None:
            return None
        return reached <= self.aim


def rows(section: Section) -> list[Row]:
    """Measures a section; a row for each metric and contender."""
    figures = _measured(section)
    return [
        _row(section, metric, contender, figures)
        for metric in section.metrics
        for contender in section.contenders
    ]


def _measured(section: Section) -> dict[tuple[str, str], list[float]]:
    figures: dict[tuple[str, str], list[float]] = {}
    for turn in range(section.n + 1):
        for contender in section.contenders:
            if contender.sample is None:
                continue
            for metric, figure in contender.sample().items():
                if turn:
                    figures.setdefault((contender.name, metric), []).append(figure)
    return figures


def _row(
    section: Section,
    metric: str,
    contender: Contender,
    figures: Mapping[tuple[str, str], list[float]],
) -> Row:
    ours = figures.get((section.contenders[0].name, metric))
    theirs = figures.get((contender.name, metric))
    is_ours = contender is section.contenders[0]
    ratio = None
    if ours and theirs and not is_ours and any(theirs):
        ratio = statistics.median(ours) / (statistics.median(theirs) or max(theirs))
    return Row(
        section=section.key,
        contender=contender.name,
        metric=metric,
        figures=tuple(theirs or ()),
        ratio=ratio,
        aim=contender.aims.get(metric),
        note=contender.absent,
    )


def started(
    argv: list[str], environment: Mapping[str, str], stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Starts a contender; nothing of the terminal reaches it, and errors go where output goes."""
    return subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )


def ended(process: subprocess.Popen[bytes], timeout_s: float = TIMEOUT_S) -> int:
    """Waits for the end of a process, without polling: its exit code.

    Raises:
        TimeoutError: it did not end, and was killed.
    """
    watch = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([watch], [], [], timeout_s)
    finally:
        os.close(watch)
    if not ready:
        process.kill()
        process.wait()
        raise TimeoutError(f"{process.args!r} did not end in {timeout_s} s")
    return process.wait()
