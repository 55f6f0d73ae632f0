"""The library: what a program of one's own can do with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import vm_run
import vm_spec
from tests.vm import HOUSE, Vm


def test_the_pure_functions_need_no_host() -> None:
    description = vm_spec.loads(
        'mem = "1G"\n[targets.big]\nmem = "4G"', vm_spec.Context(name="web")
    )
    placed = vm_run.place(description, vm_spec.select(description, "big"))
    argv = vm_run.qemu.argv(placed)
    assert argv[argv.index("-m") + 1] == "4096M"
    assert vm_run.bhyve.argv(placed)[-1] == "web"


def test_importing_the_library_alone_loads_no_supervisor() -> None:
    code = "import sys, vm_run; print([m for m in sys.modules if m.startswith('vm_run.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [vm_run, vm_spec])
def test_the_library_shows_its_names_before_they_are_loaded(package: ModuleType) -> None:
    code = f"import {package.__name__} as library; print(*dir(library))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == sorted(package.__all__)


def test_a_name_that_the_library_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(vm_run, "no_such_name")  # noqa: B009  the type checker would find it


@pytest.mark.real
def test_the_example_supervisor_restarts_crashes_and_keeps_a_diary(vm: Vm, guest: Path) -> None:
    vm.direct(guest, "panic")
    diary = vm.folder / "diary"
    done = subprocess.run(
        [sys.executable, HOUSE / "examples" / "supervisor.py", vm.file, diary],
        env=vm.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "would run: /usr/bin/qemu-system-x86_64 -nodefaults" in done.stdout
    assert "vm: triple-fault after 4 starts" in done.stdout
    ends = [line for line in diary.read_text().splitlines() if line.startswith("ended")]
    assert ends == ["ended default: triple-fault"] * 4
