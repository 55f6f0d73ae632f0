"""The names of descriptions, as vm-run finds them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_spec import library, names

STEMS = st.sampled_from(["a", "b", "a.b", ".a", "", "B", "a-1", "a.toml", "\udcff"])
ENDINGS = st.sampled_from(["", ".toml", ".json", ".ucl", ".conf", ".TOML", ".txt", ".toml~"])


@given(entries=st.lists(st.tuples(STEMS, ENDINGS).map("".join), unique=True))
def test_each_name_is_there_once_with_the_first_of_its_endings(entries: list[str]) -> None:
    found = names.listed("/vm", entries)
    assert [stem for stem, _ in found] == sorted({stem for stem, _ in found})
    for stem, file in found:
        there = [f"{stem}{ending}" for ending in names.SYNTAXES if f"{stem}{ending}" in entries]
        assert file == f"/vm/{there[0]}"
    meant = {f"{stem}{ending}" for stem, _ in found for ending in names.SYNTAXES}
    left = [entry for entry in entries if entry not in meant]
    assert all(e.startswith(".") or os.path.splitext(e)[1] not in names.SYNTAXES for e in left)


def test_the_library_finds_by_the_same_names() -> None:
    assert library.names is names.names
    assert library.confdir is names.confdir


@pytest.mark.parametrize(
    ("value", "place"), [("", "/home/x/vm"), ("/elsewhere", "/elsewhere"), ("here", "here")]
)
def test_they_are_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, value: str, place: str
) -> None:
    monkeypatch.setenv("VMCONF_DIR", value)
    monkeypatch.setenv("HOME", "/home/x")
    assert names.confdir() == place


def test_of_what_is_no_folder_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert names.names(str(tmp_path / "file")) == names.names(str(tmp_path / "none")) == []


def test_to_list_names_loads_no_decoder() -> None:
    program = "import sys, vm_list.__main__ as m; m.main(['--names']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    assert "vm_spec.names" in loaded
    assert {"vm_spec.library", "vm_spec.decode", "tomli"}.isdisjoint(loaded)
