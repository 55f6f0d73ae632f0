"""Every test that the list of known holes names exists, and is of the row that it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docs" / "cve-map.md").read_text()
AUDIT = (CHECKOUT / "docs" / "audit.md").read_text()
TEST = re.compile(r"`((?:test|inner)_\w+)`")
CVE = re.compile(r"CVE-\d{4}-\d{4,}")


def functions(folder: Path) -> set[str]:
    return {
        node.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def rows(title: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    _, _, text = TEXT.partition(f"\n## {title}\n")
    lines = text.partition("\n## ")[0].splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in cells[2:]]


def test_every_test_that_is_named_exists() -> None:
    named = {*TEST.findall(TEXT), *TEST.findall(AUDIT)}
    assert named
    assert named - functions(CHECKOUT / "tests") == set()


@pytest.mark.parametrize("row", rows("With a test"), ids=lambda row: row[0])
def test_a_hole_has_a_test_of_its_row(row: list[str]) -> None:
    holes, _, _, number, tests = row
    assert CVE.findall(holes)
    assert TEST.findall(tests)
    for name in TEST.findall(tests):
        assert f"_threat_{int(number):02}_" in name


def test_a_hole_is_in_one_place() -> None:
    listed = [hole for title in ("With a test", "Without a test of our own")
              for row in rows(title) for hole in CVE.findall(row[0])]  # fmt: skip
    assert sorted(listed) == sorted(set(CVE.findall(TEXT)))


def test_the_functions_that_the_audit_names_exist() -> None:
    named = re.findall(r"`(\w+)\.py:([\w.]+)`", TEXT + AUDIT)
    assert len(named) > 20
    for module, function in named:
        tree = ast.parse((CHECKOUT / "vm_init" / f"{module}.py").read_text())
        known = {each.name for each in ast.walk(tree)
                 if isinstance(each, ast.FunctionDef | ast.ClassDef)}  # fmt: skip
        assert function.rpartition(".")[2] in known, f"{module}.py:{function}"
