"""Fetching a Vagrant box as a command."""

import sys
from typing import NoReturn

NOT_BUILT = 70


def main(argv: list[str]) -> int:
    """Say that vm-pull is not built yet; returns the exit status."""
    del argv
    print("vm-pull: not built yet", file=sys.stderr)
    return NOT_BUILT


def entry() -> NoReturn:
    """Run vm-pull with this process's arguments and exit."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
