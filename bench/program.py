"""What the programs here have in common: their options, a place, and the tables they print."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import rows
from bench.place import Place, install
from bench.report import as_json, machine, table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack

    from bench.measure import Row, Section


def options(name: str, doc: str | None, only: Iterable[str], n: int) -> argparse.ArgumentParser:
    """The options that each program has.

    Args:
        name: the module's.
        doc: its docstring, of which the first line is shown.
        only: what `--only` takes.
        n: how often each is measured unless one says otherwise.
    """
    parser = argparse.ArgumentParser(prog=name, description=(doc or "").split("\n")[0])
    parser.add_argument("-n", type=int, default=n, help=f"how often each is measured ({n})")
    parser.add_argument("--only", action="append", choices=tuple(only), help="measure this only")
    parser.add_argument("--json", action="store_true", help="every figure, as JSON")
    return parser


def add_prefix(parser: argparse.ArgumentParser, command: str) -> None:
    """The option of a program that measures an installed command."""
    parser.add_argument("--prefix", help=f"where {command} is installed already")


def place(stack: ExitStack, prefix: str | None) -> Place:
    """A temporary folder, and the commands in it unless they are installed at a prefix."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-bench-")))
    return Place(folder, Path(prefix) if prefix else install(folder))


def show(sections: Iterable[Section], *, json: bool) -> None:
    """Measures each section and prints its table; or all figures at the end, as JSON."""
    measured: list[Row] = []
    if not json:
        print(machine())
    for section in sections:
        found = rows(section)
        measured += found
        if not json:
            print(table(section, found), flush=True)
    if json:
        print(as_json(measured))
