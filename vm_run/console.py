"""The terminal on a running VM's console."""

import sys
from typing import NoReturn

NOT_BUILT = 70


def main(argv: list[str]) -> int:
    """Say that vm-console is not built yet; returns the exit status."""
    del argv
    print("vm-console: not built yet", file=sys.stderr)
    return NOT_BUILT


def entry() -> NoReturn:
    """Run vm-console with this process's arguments and exit."""
    sys.exit(main(sys.argv[1:]))
