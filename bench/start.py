"""From `vm-run NAME` to the hypervisor and to the guest, beside other ways of getting there.

python3 -m bench.start [-n COUNT] [--only SECTION]... [--prefix FOLDER] [--json]
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import contenders, guest, libvirt, program
from bench.fake import Fake

if TYPE_CHECKING:
    from bench.measure import Section
    from bench.place import Place

SECTIONS = ("start", "memory", "userspace", "sector")
MEMORY_TURNS = 3  # it hardly varies


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    parser = program.options("bench.start", __doc__, SECTIONS, n=15)
    program.add_prefix(parser, "vm-run")
    call = parser.parse_args(argv)
    with ExitStack() as stack:
        place = program.place(stack, call.prefix)
        keys: list[str] = call.only or list(SECTIONS)
        program.show((_section(key, place, call.n, stack) for key in keys), json=call.json)
    return 0


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
