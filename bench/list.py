"""`vm-list` of ten, a thousand and ten thousand descriptions, beside other ways of listing.

python3 -m bench.list [-n COUNT] [--only SECTION]... [--prefix FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import libvirt, list_ways
from bench.fake import Fake
from bench.list_ways import Folder
from bench.measure import Section, rows
from bench.place import Place, install
from bench.report import as_json, machine, table

if TYPE_CHECKING:
    from bench.measure import Contender, Row

SECTIONS = ("ten", "thousand", "thousand-kept", "many", "many-kept", "names")
TEN, THOUSAND, MANY = 10, 1000, 10_000


def main(argv: list[str]) -> int:
    """Runs the sections and prints their tables; returns an exit status."""
    call = _parser().parse_args(argv)
    wanted = [section for section in SECTIONS if not call.only or section in call.only]
    measured: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-bench-")))
        place = Place(folder, Path(call.prefix) if call.prefix else install(folder))
        if not call.json:
            print(machine())
        sections = Sections(place, call.n, stack)
        for key in wanted:
            section = sections.made(key)
            found = rows(section)
            measured += found
            if not call.json:
                print(table(section, found), flush=True)
    if call.json:
        print(as_json(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.list", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-n", type=int, default=15, help="how often each is measured (15)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure this section")
    parser.add_argument("--prefix", help="where vm-list is installed already")
    parser.add_argument("--json", action="store_true", help="every figure, as JSON")
    return parser


class Sections:
    """What is measured; folders are made when they are first needed, and used again."""

    def __init__(self, place: Place, n: int, stack: ExitStack) -> None:
        self.place = place
        self.n = n
        self.stack = stack
        self.folders: dict[int, Folder] = {}
        self.virsh: Contender | None = None

    def made(self, key: str) -> Section:
        """The section of a name."""
        place = self.place
        if key == "ten":
            ten = self._folder(TEN)
            ways = [list_ways.ours(place, ten, ms=45), list_ways.bare(place)]
            return self._section(key, f"{TEN} descriptions", ways)
        if key.startswith("thousand"):
            ways = self._thousand(kept=key.endswith("kept"))
            return self._section(key, f"{THOUSAND} descriptions", ways)
        many = self._folder(MANY)
        if key == "many":
            ways = [list_ways.ours(place, many, ms=700), list_ways.parsing(place, many)]
        elif key == "many-kept":
            ways = [list_ways.ours(place, many, kept=True, ms=250), list_ways.parsing(place, many)]
        else:
            ways = [
                list_ways.ours(place, many, "--names"),
                list_ways.names_of_python(place, many, ms=1.5),
                list_ways.names_of_ls(place, many),
            ]
        return self._section(key, f"{MANY} descriptions", ways)

    def _thousand(self, *, kept: bool) -> list[Contender]:
        folder = self._folder(THOUSAND)
        if self.virsh is None:
            daemon = libvirt.running(self.place, Fake(self.place.folder))
            self.virsh = list_ways.virsh(self.stack.enter_context(daemon), ms=0.5)
        first = list_ways.ours(self.place, folder, kept=kept, ms=130)
        return [first, list_ways.parsing(self.place, folder), self.virsh]

    def _folder(self, count: int) -> Folder:
        if count not in self.folders:
            self.folders[count] = Folder(self.place, count)
        return self.folders[count]

    def _section(self, key: str, title: str, ways: list[Contender]) -> Section:
        return Section(key=key, title=title, metrics=("ms",), contenders=ways, n=self.n)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
