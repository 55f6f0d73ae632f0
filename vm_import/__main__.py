"""vm-import: prints a description of another tool's file, or of a bhyve command line."""

from __future__ import annotations

import sys

from vm_state.cli import run_command

__all__ = ["entry", "main"]


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-import", _import, argv)


def _import(argv: list[str]) -> int:
    from vm_import.asked import imported
    from vm_state.parser import Parser

    parser = Parser(
        "vm-import", "vm-import FILE | -- bhyve ARGS...", __doc__ or "", "see vm-run(1), IMPORT"
    )
    parser.add_version()
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="- is standard input")
    at = argv.index("--") if "--" in argv else len(argv)
    file = parser.parse_args(argv[:at]).file
    if bool(file) == bool(argv[at + 1 :]):
        parser.error("give a FILE, or -- and the arguments of a bhyve command line")
    print(imported(file, argv[at + 1 :]))
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
