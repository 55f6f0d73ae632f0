"""A program of `bench/`, run as people run it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lacking import lacking

CHECKOUT = Path(__file__).parents[2]

Row = dict[str, object]


def rows(program: str, *only: str) -> list[Row]:
    """The rows of a program's figures, each measured once.

    Args:
        program: its module in `bench`.
        only: its sections; all of them when none is named.
    """
    chosen = [word for section in only for word in ("--only", section)]
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{program}", "-n", "1", *chosen, "--json"],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Row] = json.loads(done.stdout)["rows"]
    return found


def demand_an_installation() -> None:
    """Skips the test, or fails it in CI, where `make install` has nothing to work with."""
    if not ((CHECKOUT / ".venv" / "wheels").is_dir() and shutil.which("make")):
        lacking("needs make and the wheels that ./test.sh keeps")
