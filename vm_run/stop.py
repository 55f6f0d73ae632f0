"""Asking a running VM to power off."""

import sys
from typing import NoReturn

NOT_BUILT = 70


def main(argv: list[str]) -> int:
    """Say that vm-stop is not built yet; returns the exit status."""
    del argv
    print("vm-stop: not built yet", file=sys.stderr)
    return NOT_BUILT


def entry() -> NoReturn:
    """Run vm-stop with this process's arguments and exit."""
    sys.exit(main(sys.argv[1:]))
