"""Root's half as a command: who asks, what, and may he."""

import sys
from typing import NoReturn

NOT_BUILT = 70


def main(argv: list[str]) -> int:
    """Say that vm-init is not built yet; returns the exit status."""
    del argv
    print("vm-init: not built yet", file=sys.stderr)
    return NOT_BUILT


def entry() -> NoReturn:
    """Run vm-init with this process's arguments and exit."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
