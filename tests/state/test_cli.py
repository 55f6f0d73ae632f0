"""The frame of every command: what goes wrong becomes a sentence and a status, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vm_spec.fault import Fault, VmError
from vm_state.cli import run_command

HOUSE = Path(__file__).parents[2]


def fails(error: BaseException) -> Callable[[list[str]], int]:
    def act(_: list[str]) -> int:
        raise error

    return act


def test_a_status_is_passed_on_with_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[list[str]] = []

    def act(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    assert run_command("vm-x", act, ["a"]) == 7
    assert seen == [["a"]]
    assert capsys.readouterr() == ("", "")


def test_what_a_user_did_is_said_with_its_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    error = VmError(Fault(problem="is wrong\x1b[31m", hint="do this"), status=66)
    assert run_command("vm-x", fails(error), []) == 66
    assert capsys.readouterr().err == "vm-x: is wrong\\x1b[31m\n  hint: do this\n"


def test_a_bug_of_ours_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("vm-x", fails(RuntimeError("oops")), []) == 70
    err = capsys.readouterr().err
    assert "RuntimeError: oops" in err
    assert "vm-x: this is a bug in vmman" in err


def test_an_interrupt_is_status_130() -> None:
    assert run_command("vm-x", fails(KeyboardInterrupt()), []) == 130


def test_a_reader_that_has_enough_is_no_bug() -> None:
    program = (
        "import sys\nfrom vm_state.cli import run_command\n"
        "def act(argv):\n    for _ in range(100000): print('x' * 80)\n    return 0\n"
        "sys.exit(run_command('vm-x', act, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(80)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert said == b""


def test_a_standard_error_that_is_closed_changes_no_status() -> None:
    program = (
        "import os, sys\nfrom vm_spec.fault import Fault, VmError\n"
        "from vm_state.cli import run_command\n"
        "def act(argv):\n    raise VmError(Fault(problem='x'), status=66)\n"
        "os.close(2)\nos._exit(run_command('vm-x', act, []))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=HOUSE, check=False, timeout=60)
    assert done.returncode == 66
