"""From `vm-run NAME` to the hypervisor and to the guest, beside other ways of getting there.

python3 -m bench.start [-n COUNT] [--only SECTION]... [--prefix FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import contenders, guest, libvirt
from bench.fake import Fake
from bench.measure import rows
from bench.place import Place, install
from bench.report import as_json, machine, table

if TYPE_CHECKING:
    from bench.measure import Row, Section

SECTIONS = ("start", "memory", "userspace", "sector")
MEMORY_TURNS = 3  # it hardly varies


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
            print(machine())
        for key in wanted:
            section = _section(key, place, call.n, stack)
            found = rows(section)
            measured += found
            if not call.json:
                print(table(section, found), flush=True)
    if call.json:
        print(as_json(measured))
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
