"""vm-pull(1) says what vm-pull has: no more and no less."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from vm_pull.cli import parse, parser

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "man" / "vm-pull.1").read_text()


def part(title: str) -> str:
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_its_options_are_those_of_the_program() -> None:
    explained = re.findall(r"^\.It (Fl .*)$", PAGE, re.MULTILINE)
    names = {f"-{name}" for line in explained for name in re.findall(r"Fl (\S+)", line)}
    actions = parser()._actions  # pyright: ignore[reportPrivateUsage]
    assert names == {string for action in actions for string in action.option_strings}


def statuses() -> set[int]:
    """Every status that a module of vm-pull gives a VmError, where it stands there as a number."""
    found: set[int] = set()
    for source in (HOUSE / "vm_pull").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "status":
                found |= {int(text) for text in re.findall(r"\b(\d+)\b", ast.unparse(node.value))}
            if isinstance(node, ast.Assign):
                name = ast.unparse(node.targets[0])
                numbers = re.findall(r"\b\d+\b", ast.unparse(node.value))
                if name.isupper() and "LENGTH" not in name:
                    found |= {int(text) for text in numbers if 64 <= int(text) <= 78}
    return found


def test_every_exit_status_is_in_it() -> None:
    told = set(map(int, re.findall(r"^\.It (\d+)$", part("EXIT STATUS"), re.MULTILINE)))
    assert told >= statuses() | {0, 70, 130}
    assert {69, 73, 75, 77} <= statuses()


@pytest.mark.parametrize("line", re.findall(r"^\.It Li (vm-pull .*)$", PAGE, re.MULTILINE))
def test_each_of_its_examples_is_understood(line: str) -> None:
    assert parse(shlex.split(line)[1:]).words


def test_each_example_of_the_help_is_understood() -> None:
    lines = re.findall(r"^  vm-pull (.*?)(?:   .*)?$", parser().epilog or "", re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        assert parse(shlex.split(line)).words


def test_every_variable_that_is_looked_at_is_in_it() -> None:
    sources = [source.read_text() for source in (HOUSE / "vm_pull").rglob("*.py")]
    named = {
        name for text in sources for name in re.findall(r'"((?:VAGRANT|ATLAS)_[A-Z_]+)"', text)
    }
    assert len(named) >= 4
    assert [name for name in named if f"Ev {name}" not in PAGE and f" {name}" not in PAGE] == []
