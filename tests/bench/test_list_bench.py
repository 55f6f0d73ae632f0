"""The benchmark of vm-list still runs, and leaves no contender out of its tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # it installs vm-list

CHECKOUT = Path(__file__).parents[2]
CONTENDERS = {
    "ten": {"vm-list, each parsed afresh", "python3 -IS -c pass"},
    "thousand": {
        "vm-list, each parsed afresh",
        "limit: tomli, each parsed",
        "virsh list --all, 1000 domains",
    },
    "thousand-kept": {
        "vm-list, what it kept",
        "limit: tomli, each parsed",
        "virsh list --all, 1000 domains",
    },
}


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], dict[str, object]]:
    """The rows of the smaller sections, by section and contender."""
    if not ((CHECKOUT / ".venv" / "wheels").is_dir() and shutil.which("make")):
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking("needs make and the wheels that ./test.sh keeps")
    only = [word for section in CONTENDERS for word in ("--only", section)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.list", "-n", "1", *only, "--json"],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["rows"]
    return {(row["section"], row["contender"]): row for row in rows}


def test_each_contender_has_its_row(measured: dict[tuple[str, str], object]) -> None:
    assert measured.keys() == {(key, each) for key, names in CONTENDERS.items() for each in names}


def test_all_has_figures_but_virsh_where_it_is_not(
    measured: dict[tuple[str, str], dict[str, object]],
) -> None:
    without = {contender for (_, contender), row in measured.items() if not row["figures"]}
    assert without <= {"virsh list --all, 1000 domains"}
    assert all(measured[key]["absent"] for key in measured if key[1] in without)
