"""The one door to other programs, and the names of what ended them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from vm_run import program
from vm_spec.fault import VmError
from vm_state.process import Process, signal_name, spawn, started_at


def refusal(*argv: str) -> str:
    with pytest.raises(VmError) as caught:
        program.run(argv)
    assert caught.value.status == 69
    return str(caught.value)


def test_a_program_gives_what_it_printed() -> None:
    assert program.run(["printf", "%s|", "a b", "$HOME", "*"]) == "a b|$HOME|*|"
    assert program.run(["cat"]) == ""  # nobody types into it


def test_a_failure_is_the_line_to_copy_the_status_and_its_last_words() -> None:
    assert refusal("sh", "-c", "echo first >&2; echo 'last words' >&2; exit 3") == (
        "sh -c 'echo first >&2; echo '\"'\"'last words'\"'\"' >&2; exit 3': "
        "exit status 3: last words"
    )
    assert refusal("false") == "false: exit status 1"


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (40, "signal 40")])
def test_a_program_that_a_signal_ended_is_told_by_its_name(number: int, name: str) -> None:
    assert refusal("sh", "-c", f"kill -{number} $$").endswith(f"$$': {name}")
    assert signal_name(number) == name


def test_a_program_that_is_missing_is_to_be_installed() -> None:
    said = refusal("no-such-program", "-x")  # "denied" where a folder of PATH cannot be read
    assert said.startswith("no-such-program -x: ")
    assert said.endswith("\n  hint: install no-such-program")


def test_a_program_that_may_not_be_run_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "plain").touch(mode=0o644)
    assert refusal(str(tmp_path / "plain")) == f"{tmp_path}/plain: Permission denied"


def test_output_that_is_no_text_is_still_output() -> None:
    assert program.run(["printf", r"\377"]) == "\N{REPLACEMENT CHARACTER}"


def test_a_spawned_program_has_the_descriptors_that_it_is_given_and_no_other() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, False)
    pid = spawn(["/bin/sh", "-c", "ls /proc/$$/fd >&7"], {7: write, 0: 0, 1: 1, 2: 2}, os.environ)
    os.close(write)
    process = Process(pid, is_child=True)
    assert process.wait() == 0
    process.close()
    with os.fdopen(read) as listed:
        assert set(listed.read().split()) <= {"0", "1", "2", "7", "10"}  # 10: dash's own


def test_when_a_process_started_is_known_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    assert started_at(child.pid) > 0
    process = Process(child.pid, is_child=False)
    child.kill()
    child.wait()
    assert started_at(child.pid) == 0
    assert process.wait() is None
    process.send(signal.SIGKILL)  # one that has ended is no error
    process.close()
    with pytest.raises(ProcessLookupError):
        Process(child.pid, is_child=False)
