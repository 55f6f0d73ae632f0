"""vm-import: prints a description of another tool's file, or of a bhyve command line."""

from __future__ import annotations

import sys

from vm_spec.fault import VmError
from vm_spec.frozen import replace
from vm_state.cli import run_command
from vm_state.parser import Parser

__all__ = ["entry", "main", "parser"]

EXAMPLES = """\
examples:
  vm-import web.xml >~/vm/web.toml
  vm-import -- bhyve -c 2 -m 1G -s 0,hostbridge -s 3,virtio-blk,web.img web

exit status: 0 printed, 64 wrong command line, 65 of no known kind, or wrong for its kind,
66 the file cannot be read, 70 a bug in vmman
"""
_MAX_BYTES = 1 << 20


def parser() -> Parser:
    """The parser; vm-import(1) documents the same options."""
    made = Parser(
        "vm-import",
        "vm-import FILE\n       vm-import -- bhyve ARGS...",
        "Print a description of another tool's file, or of a command line of bhyve.",
        EXAMPLES,
    )
    made.add_version()
    made.add_argument("file", metavar="FILE", nargs="?", default="", help="- is standard input")
    return made


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-import", _import, argv)


def _import(argv: list[str]) -> int:
    at = argv.index("--") if "--" in argv else len(argv)
    made, bhyve_argv = parser(), argv[at + 1 :]
    file = made.parse_args(argv[:at]).file
    if bool(file) == bool(bhyve_argv):
        made.error("give a FILE, or -- and the arguments of a bhyve command line")
    if file:
        text = _translate(file)
    else:
        from vm_import import bhyve

        text = bhyve.imported(bhyve_argv)
    print(text.rstrip("\n"))
    return 0


def _translate(file: str) -> str:
    """The description that a file makes; one in TOML already stays as it is."""
    from vm_import import detect
    from vm_spec.library import content

    data = content(file, _MAX_BYTES)
    try:
        is_native = detect.is_native(data, file)
        return data.decode("utf-8-sig") if is_native else detect.imported(data, file)
    except VmError as error:
        faults = [replace(fault, file=fault.file or file) for fault in error.faults]
        raise VmError(*faults, status=error.status) from None


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
