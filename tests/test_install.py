"""`make install` and `make uninstall`, for real, into a folder of the test's own."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # installed once

CHECKOUT = Path(__file__).parent.parent
WHEELS = CHECKOUT / ".venv" / "wheels"
PYTHON = "/usr/bin/python3"
COMMANDS: dict[str, str] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"][
    "scripts"
]


def make(copy: Path, target: str, prefix: Path) -> None:
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}
    made = subprocess.run(
        ["make", target, f"PREFIX={prefix}", f"PYTHON={PYTHON}"],
        cwd=copy,
        env=os.environ | wheels,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the installation reads: building writes beside it."""
    if not (WHEELS.is_dir() and shutil.which("make") and Path(PYTHON).exists()):
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking("needs make and the wheels that ./test.sh keeps")
    folder = tmp_path_factory.mktemp("copy")
    for source in CHECKOUT.iterdir():
        if source.is_dir() and (source.name == "man" or source.name.startswith("vm_")):
            shutil.copytree(source, folder / source.name)
        elif source.name in {"Makefile", "pyproject.toml", "README.md", "LICENSE"}:
            shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def prefix(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "pre fix"
    make(copy, "install", folder)
    return folder


def test_each_command_is_installed_and_there_is_no_other(prefix: Path) -> None:
    assert {path.name for path in (prefix / "bin").iterdir()} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_installed_command_starts_without_the_checkout(prefix: Path, command: str) -> None:
    started = subprocess.run(
        [prefix / "bin" / command, "--help"],
        cwd=prefix,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in started.stderr, started.stderr
    assert started.returncode == 0


def test_what_is_installed_is_compiled(prefix: Path) -> None:
    library = prefix / "lib" / "vmman"
    sources = sorted(path.stem for path in library.glob("vm_*/*.py"))
    compiled = sorted(path.name.partition(".")[0] for path in library.glob("vm_*/__pycache__/*"))
    assert sources
    assert compiled == sources


def test_uninstall_takes_away_exactly_what_install_brought(
    copy: Path, tmp_path: Path, prefix: Path
) -> None:
    assert prefix.exists()
    mine = tmp_path / "bin" / "vm-mine"
    mine.parent.mkdir()
    mine.touch()
    make(copy, "install", tmp_path)
    make(copy, "uninstall", tmp_path)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [mine]
