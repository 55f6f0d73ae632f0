"""The linters as tests: a missing one is skipped at home and an error in CI."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lacking import lacking, need

CHECKOUT = Path(__file__).parent.parent
SCRIPTS = ["*.sh", "tests/guest/*.sh", ".ci/run"]


def passes(*argv: str) -> None:
    """Run a linter over the checkout and show what it found."""
    linted = subprocess.run(
        argv,
        cwd=CHECKOUT,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, f"{' '.join(argv)}\n{linted.stdout}{linted.stderr}"


def module(name: str) -> list[str]:
    if importlib.util.find_spec(name) is None:
        lacking(f"{name} is missing")
    return [sys.executable, "-m", name]


def files(*patterns: str) -> list[str]:
    return sorted(
        str(path.relative_to(CHECKOUT)) for pattern in patterns for path in CHECKOUT.glob(pattern)
    )


def test_ruff_finds_nothing() -> None:
    passes(*module("ruff"), "check", ".")


def test_the_tree_is_formatted() -> None:
    passes(*module("ruff"), "format", "--check", ".")


def test_mypy_finds_nothing() -> None:
    passes(*module("mypy"), ".")


def test_pyright_finds_nothing() -> None:
    passes(*module("pyright"), "--pythonpath", sys.executable)


@pytest.mark.parametrize("script", files(*SCRIPTS))
def test_shellcheck_finds_nothing_in(script: str) -> None:
    passes(need("shellcheck"), script)


@pytest.mark.parametrize("page", files("man/*.[1-8]") or [pytest.param("", marks=pytest.mark.skip)])
def test_mandoc_finds_nothing_in(page: str) -> None:
    passes(need("mandoc"), "-T", "lint", "-W", "warning", page)
