"""The rules of the house that no linter keeps."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
MODULES = sorted(CHECKOUT.glob("vm_*/**/*.py"))
BUILT = re.compile(r"\.(?!ci$).*|__pycache__|build|.*\.egg-info")
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E)\b")

# which room may import which; of root's half only the child that has left root behind
SEES = {
    "vm_spec": set[str](),
    "vm_state": {"vm_spec"},
    "vm_run": {"vm_spec", "vm_state", "vm_import"},
    "vm_stop": {"vm_spec", "vm_state"},
    "vm_console": {"vm_spec", "vm_state"},
    "vm_import": {"vm_spec", "vm_state", "vm_run"},
    "vm_pull": {"vm_spec", "vm_state"},
    "vm_list": {"vm_spec", "vm_state"},
    "vm_init": set[str](),
    "vm_init/description.py": {"vm_spec", "vm_state"},
}

FOREIGN = """
import sys
sys.path.insert(0, sys.argv[1])
import vm_init.__main__
tops = {name.partition(".")[0] for name in sys.modules}
print(*sorted(tops - sys.stdlib_module_names - {"vm_init", "__main__"}))
"""


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def texts() -> Iterator[Path]:
    """Every file that people wrote: no build, no cache, no environment."""
    for folder, folders, files in os.walk(CHECKOUT):
        folders[:] = [each for each in folders if not BUILT.fullmatch(each)]
        yield from (Path(folder, each) for each in files if not each.endswith(".pyc"))


def test_nothing_is_left_for_later_in_a_comment() -> None:
    found = [
        f"{name(path)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def sleeps(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                yield node.lineno
            case ast.ImportFrom(module="time", names=names):
                yield from (node.lineno for alias in names if alias.name == "sleep")
            case _:
                pass


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_sleeps(path: Path) -> None:
    found = [f"{name(path)}:{line}" for line in sleeps(ast.parse(path.read_text()))]
    assert found == [], "wait for the event instead"


def imported(tree: ast.AST) -> Iterator[str]:
    """The packages that a module imports, wherever in it."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case _:
                pass


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = name(path).partition("/")[0]
    above = SEES.keys() - {room} - SEES.get(name(path), SEES[room])
    found = above & set(imported(ast.parse(path.read_text())))
    assert not found, f"{name(path)} imports {', '.join(sorted(found))}"


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[([^]]+)\]", changelog, re.MULTILINE)
    assert newest is not None
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert newest[1] == project["version"]


def test_roots_half_starts_with_the_standard_library_only() -> None:
    foreign = subprocess.run(
        [sys.executable, "-ISB", "-c", FOREIGN, CHECKOUT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert foreign.stdout.split() == []
