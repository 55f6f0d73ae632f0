"""From `vm-run NAME` to the hypervisor and to the guest, beside other ways of getting there.

python3 -m bench.start [-n COUNT] [--only SECTION]... [--prefix FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import contenders, guest, libvirt
from bench.fake import Fake
from bench.measure import rows
from bench.place import Place, install

if TYPE_CHECKING:
    from bench.measure import Row, Section

SECTIONS = ("start", "memory", "userspace", "sector")
MEMORY_TURNS = 3  # it hardly varies
WIDTH = 36


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    call = _parser().parse_args(argv)
    wanted: list[str] = call.only or list(SECTIONS)
    measured: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-bench-")))
        prefix = Path(call.prefix) if call.prefix else install(folder)
        place = Place(folder, prefix)
        if not call.json:
            print(_machine())
        for key in wanted:
            section = _section(key, place, call.n, stack)
            found = rows(section)
            measured += found
            if not call.json:
                print(_table(section, found), flush=True)
    if call.json:
        print(json.dumps({"machine": _machine(), "rows": [_plain(row) for row in measured]}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-n", type=int, default=15, help="how often each is measured (15)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure this section")
    parser.add_argument("--prefix", help="where vm-run is installed already")
    parser.add_argument("--json", action="store_true", help="every figure, as JSON")
    return parser


def _section(key: str, place: Place, n: int, stack: ExitStack) -> Section:
    if key == "start":
        contenders.write(place)
        fake = Fake(place.folder)
        return contenders.section(place, fake, stack.enter_context(libvirt.running(place, fake)), n)
    if key == "sector":
        return guest.sector(place, n)
    if key == "memory":
        return guest.memory(place, guest.folder(), min(n, MEMORY_TURNS))
    return guest.userspace(place, guest.folder(), n)


def _machine() -> str:
    kvm = "KVM" if _has_kvm() else "no KVM"
    date = time.strftime("%Y-%m-%d")
    return f"{date}: {os.cpu_count()} processors, {kvm}, Linux {platform.release()}"


def _has_kvm() -> bool:
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


def _table(section: Section, found: list[Row]) -> str:
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
