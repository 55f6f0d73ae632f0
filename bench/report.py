"""What a benchmark says: its tables, or every figure as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.measure import Row, Section

__all__ = ["as_json", "machine", "table"]

WIDTH = 36


def machine() -> str:
    """The day and the machine."""
    kvm = "KVM" if _has_kvm() else "no KVM"
    date = time.strftime("%Y-%m-%d")
    return f"{date}: {os.cpu_count()} processors, {kvm}, Linux {platform.release()}"


def _has_kvm() -> bool:
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


def table(section: Section, found: list[Row]) -> str:
    """A section's rows, for people."""
    lines = ["", f"{section.key}: {section.title}; n = {section.n}"]
    for metric in section.metrics:
        head = f"  {metric:<{WIDTH}}{'median':>9}{'min':>9}{'ours/it':>9}  aim"
        lines += [head, *(_line(row) for row in found if row.metric == metric)]
    return "\n".join(lines)


def _line(row: Row) -> str:
    if row.median is None or row.least is None:
        return f"  {row.contender:<{WIDTH}}{'-':>9}{'-':>9}{'-':>9}  {row.note}"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    line = f"  {row.contender:<{WIDTH}}{row.median:>9.1f}{row.least:>9.1f}{ratio:>9}  {_aim(row)}"
    return line.rstrip()


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    unit = f" {row.metric.split()[-1]}" if row.ratio is None else ""
    return f"<= {row.aim:g}{unit}: {'ok' if row.is_met else 'missed'}"


def as_json(found: list[Row]) -> str:
    """Rows, for programs."""
    return json.dumps({"machine": machine(), "rows": [_plain(row) for row in found]})


def _plain(row: Row) -> dict[str, object]:
    return {
        "section": row.section,
        "contender": row.contender,
        "metric": row.metric,
        "median": row.median,
        "min": row.least,
        "ratio": row.ratio,
        "aim": row.aim,
        "met": row.is_met,
        "absent": row.note,
        "figures": row.figures,
    }
