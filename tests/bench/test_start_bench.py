"""The benchmark of the start still runs, and leaves no contender out of its table."""

import pytest

from tests.bench.ran import Row, demand_an_installation, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # it installs vm-run

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
def measured() -> dict[str, Row]:
    """The rows of the first section, by contender: the cheap one, without a guest."""
    demand_an_installation()
    return {str(row["contender"]): row for row in rows("start", "start")}


def test_each_contender_has_its_row(measured: dict[str, Row]) -> None:
    assert measured.keys() == CONTENDERS


def test_a_contender_has_figures_or_a_reason(measured: dict[str, Row]) -> None:
    assert [
        name for name, row in measured.items() if bool(row["figures"]) == bool(row["absent"])
    ] == []


def test_what_needs_nothing_installed_is_measured(measured: dict[str, Row]) -> None:
    assert measured["vm-run, installed"]["figures"]
    assert measured["bash script like quickemu"]["ratio"]
