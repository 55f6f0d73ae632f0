"""`vm-list` of ten, a thousand and ten thousand descriptions, beside other ways of listing.

python3 -m bench.list [-n COUNT] [--only SECTION]... [--prefix FOLDER] [--json]
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import libvirt, list_ways, program
from bench.fake import Fake
from bench.list_ways import Folder
from bench.measure import Section

if TYPE_CHECKING:
    from bench.measure import Contender
    from bench.place import Place

SECTIONS = ("ten", "thousand", "thousand-kept", "many", "many-kept", "names")
TEN, THOUSAND, MANY = 10, 1000, 10_000


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    parser = program.options("bench.list", __doc__, SECTIONS, n=15)
    program.add_prefix(parser, "vm-list")
    call = parser.parse_args(argv)
    with ExitStack() as stack:
        sections = Sections(program.place(stack, call.prefix), call.n, stack)
        keys = [key for key in SECTIONS if not call.only or key in call.only]
        program.show((sections.made(key) for key in keys), json=call.json)
    return 0


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
