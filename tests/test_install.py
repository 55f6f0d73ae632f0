"""`make install` and `make uninstall`, for real, into a folder of the test's own."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.copied import copied
from tests.lacking import lacking

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]  # installed once

CHECKOUT = Path(__file__).parent.parent
WHEELS = CHECKOUT / ".venv" / "wheels"
PYTHON = "/usr/bin/python3"
FOLDERS = ("man", "etc", "completions")
BASH, FISH = "share/bash-completion/completions", "share/fish/vendor_completions.d"
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
        lacking("needs make and the wheels that ./test.sh keeps")
    folder = tmp_path_factory.mktemp("copy")
    for source in CHECKOUT.iterdir():
        if source.is_dir() and (source.name in FOLDERS or source.name.startswith("vm_")):
            copied(source, folder / source.name)
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
    sources = sorted(path.stem for path in library.glob("vm_*/**/*.py"))
    compiled = sorted(path.name.partition(".")[0] for path in library.glob("vm_*/**/__pycache__/*"))
    assert sources
    assert compiled == sources


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_completions_where_shells_look(prefix: Path, command: str) -> None:
    sources = CHECKOUT / "completions"
    bash, fish = prefix / BASH / command, prefix / FISH / f"{command}.fish"
    assert bash.read_text() == (sources / "vmman.bash").read_text()
    assert fish.read_text() == (sources / "vmman.fish").read_text()
    zsh = (prefix / "share" / "zsh" / "site-functions" / "_vmman").read_text()
    assert command in zsh.partition("\n")[0].split()


@pytest.mark.parametrize("unit", ["vm-run@.service", "vm-autostart.service"])
def test_the_units_start_what_was_installed(prefix: Path, unit: str) -> None:
    text = (prefix / "lib" / "systemd" / "user" / unit).read_text()
    programs = re.findall(r'"(/[^"]*)"', text)
    assert f"{prefix}/bin/vm-run" in programs
    assert [program for program in programs if not os.access(program, os.X_OK)] == []


@pytest.mark.parametrize(
    "prefix", ["local", "/a'b", '/a"b', "/a|b", "/a&b", "/a%b", "/a$$b", "/a`b"]
)
def test_a_prefix_that_would_mean_something_else_is_refused(copy: Path, prefix: str) -> None:
    argv = ["make", "paths", f"PREFIX={prefix}"]
    refused = subprocess.run(argv, cwd=copy, capture_output=True, text=True, check=False)
    assert refused.returncode != 0


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
