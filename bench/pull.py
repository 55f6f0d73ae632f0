"""From a box on a web server to a disk that boots, beside other ways of getting there.

python3 -m bench.pull [-n COUNT] [--only BOX]... [--boxes FOLDER] [--data MB] [--json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import boxes, fetchers, webserver
from bench.measure import Section, rows
from bench.place import Place, install
from bench.report import as_json, machine, table

if TYPE_CHECKING:
    from bench.boxes import Box
    from bench.measure import Row

DATA_MB = 600


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    call = _parser().parse_args(argv)
    measured: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-bench-")))
        prefix = Path(call.prefix) if call.prefix else install(folder)
        place = Place(folder, prefix)
        store = Path(call.boxes) if call.boxes else folder / "boxes"
        made = boxes.make(store, call.data << 20, call.only or list(boxes.KINDS))
        port = stack.enter_context(webserver.serving(store, folder))
        if not call.json:
            print(machine())
        for box in made:
            for section in _sections(place, box, port, call.n):
                found = rows(section)
                measured += found
                if not call.json:
                    print(table(section, found), flush=True)
    if call.json:
        print(as_json(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.pull", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-n", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--only", action="append", choices=boxes.KINDS, help="this kind of box")
    parser.add_argument("--boxes", help="where boxes are kept for the next run")
    parser.add_argument(
        "--data", type=int, default=DATA_MB, metavar="MB", help=f"in a disk ({DATA_MB})"
    )
    parser.add_argument("--prefix", help="where vm-pull is installed already")
    parser.add_argument("--json", action="store_true", help="every figure, as JSON")
    return parser


def _sections(place: Place, box: Box, port: int, n: int) -> list[Section]:
    """Time first; memory and disk apart, since watching them costs time."""
    size = f"box {box.path.stat().st_size / 1e6:.0f} MB"
    return [
        Section(
            key=box.kind,
            title=f"{box.title}, {size}",
            metrics=("wall s", "CPU s"),
            contenders=fetchers.timed(place, box, port),
            n=n,
        ),
        Section(
            key=f"{box.kind}-peak",
            title="what it takes at most, beside the box on the server",
            metrics=("PSS MB", "disk MB"),
            contenders=fetchers.watched(place, box, port),
            n=1,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
