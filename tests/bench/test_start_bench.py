"""The benchmark of the start still runs, and leaves no contender out of its table."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # it installs vm-run

CHECKOUT = Path(__file__).parents[2]
CONTENDERS = {
    "vm-run, installed",
    "vm-run, virtual environment",
    "python3 -c pass, to its end",
    "limit: python3 -IS, posix_spawn",
    "limit and tomli",
    "bash script like quickemu",
    "virsh start",
}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, object]]:
    """The rows of the first section, by contender: the cheap one, without a guest."""
    if not ((CHECKOUT / ".venv" / "wheels").is_dir() and shutil.which("make")):
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking("needs make and the wheels that ./test.sh keeps")
    done = subprocess.run(
        [sys.executable, "-m", "bench.start", "-n", "1", "--only", "start", "--json"],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["contender"]: row for row in json.loads(done.stdout)["rows"]}


def test_each_contender_has_its_row(measured: dict[str, dict[str, object]]) -> None:
    assert measured.keys() == CONTENDERS


def test_a_contender_has_figures_or_a_reason(measured: dict[str, dict[str, object]]) -> None:
    assert [
        name for name, row in measured.items() if bool(row["figures"]) == bool(row["absent"])
    ] == []


def test_what_needs_nothing_installed_is_measured(measured: dict[str, dict[str, object]]) -> None:
    assert measured["vm-run, installed"]["figures"]
    assert measured["bash script like quickemu"]["ratio"]
