"""The benchmark of vm-list still runs, and leaves no contender out of its tables."""

import pytest

from tests.bench.ran import Row, demand_an_installation, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # it installs vm-list

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
def measured() -> dict[tuple[str, str], Row]:
    """The rows of the smaller sections, by section and contender."""
    demand_an_installation()
    return {(str(row["section"]), str(row["contender"])): row for row in rows("list", *CONTENDERS)}


def test_each_contender_has_its_row(measured: dict[tuple[str, str], object]) -> None:
    assert measured.keys() == {(key, each) for key, names in CONTENDERS.items() for each in names}


def test_all_has_figures_but_virsh_where_it_is_not(
    measured: dict[tuple[str, str], Row],
) -> None:
    without = {contender for (_, contender), row in measured.items() if not row["figures"]}
    assert without <= {"virsh list --all, 1000 domains"}
    assert all(measured[key]["absent"] for key in measured if key[1] in without)
