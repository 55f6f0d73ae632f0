"""The benchmark of vm-init still runs, and leaves no contender out of its tables."""

import pytest

from tests.bench.ran import Row, rows

pytestmark = [pytest.mark.root, pytest.mark.slow]

GIVE, RELEASE = "give ms", "release ms"
ALWAYS = {"vm-init", "sudo vm-init", "ip, 3 commands a tap", "ip -batch"}
VMMAN = {
    "one": "vmman's way, with its sleeps",
    "ten": "vmman's way, computed",
    "hundred": "vmman's way, computed",
}


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str, str], Row]:
    """The rows, by section, contender and metric."""
    found = rows("init")
    return {(str(row["section"]), str(row["contender"]), str(row["metric"])): row for row in found}


def test_each_contender_has_its_rows(measured: dict[tuple[str, str, str], object]) -> None:
    assert measured.keys() == {
        (section, contender, metric)
        for section, vmman in VMMAN.items()
        for contender in {*ALWAYS, vmman}
        for metric in (GIVE, RELEASE)
    }


def test_all_is_measured_but_what_vmman_cannot_do(
    measured: dict[tuple[str, str, str], Row],
) -> None:
    lacking = {key for key, row in measured.items() if not row["figures"]}
    assert lacking == {(section, vmman, RELEASE) for section, vmman in VMMAN.items()}


def test_the_aims_are_judged(measured: dict[tuple[str, str, str], Row]) -> None:
    judged = {key for key, row in measured.items() if isinstance(row["met"], bool)}
    assert judged == {
        *((section, "vm-init", GIVE) for section in VMMAN),
        ("one", VMMAN["one"], GIVE),
        ("hundred", "ip, 3 commands a tap", GIVE),
    }
