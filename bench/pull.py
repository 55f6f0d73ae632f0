"""From a box on a web server to a disk that boots, beside other ways of getting there.

python3 -m bench.pull [-n COUNT] [--only BOX]... [--boxes FOLDER] [--data MB] [--json]
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import boxes, fetchers, program, webserver
from bench.measure import Section

if TYPE_CHECKING:
    import argparse

    from bench.boxes import Box
    from bench.place import Place

DATA_MB = 600


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    call = _parser().parse_args(argv)
    with ExitStack() as stack:
        place = program.place(stack, call.prefix)
        store = Path(call.boxes) if call.boxes else place.folder / "boxes"
        made = boxes.make(store, call.data << 20, call.only or list(boxes.KINDS))
        port = stack.enter_context(webserver.serving(store, place.folder))
        sections = (one for box in made for one in _sections(place, box, port, call.n))
        program.show(sections, json=call.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = program.options("bench.pull", __doc__, boxes.KINDS, n=5)
    program.add_prefix(parser, "vm-pull")
    parser.add_argument("--boxes", help="where boxes are kept for the next run")
    parser.add_argument(
        "--data", type=int, default=DATA_MB, metavar="MB", help=f"in a disk ({DATA_MB})"
    )
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
