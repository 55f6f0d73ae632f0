"""What a bhyve's exit status and its last words mean. Untested on FreeBSD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.home import leftover, listening
from vm_run.bhyve import traces
from vm_run.bhyve.ending import judged
from vm_run.bhyve.traces import Traces


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def said(folder: Path, text: str, **changes: object) -> None:
    """What stands in the log of a bhyve in the monitor mode."""
    (folder / "hypervisor.log").write_text(text)
    given: dict[str, Any] = {"name": "vm", "way": "monitor", "reusable": True} | changes
    traces.write(str(folder), Traces(**given))


TPM = "Failed to init TPM device\n"


def test_a_tpm_that_ended_with_the_guest_before_is_a_reboot_of_the_monitor_mode(
    folder: Path,
) -> None:
    said(folder, TPM)
    leftover(folder / "swtpm.sock")
    outcome, detail = judged(4, str(folder), asked=False)
    assert (outcome, detail) == (
        "reboot",
        "bhyve could not do it by itself: Failed to init TPM device",
    )


def test_a_tpm_that_still_answers_and_one_of_root_s_bhyve_are_errors(folder: Path) -> None:
    said(folder, TPM)
    listener = listening(folder / "swtpm.sock")
    assert judged(4, str(folder), asked=False) == ("error", "exit status 4")
    listener.close()
    said(folder, TPM, way="root")
    assert judged(4, str(folder), asked=False) == ("error", "exit status 4")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 1}', '{"sockets": 7}', "\xff"])
def test_traces_that_cannot_be_read_are_none(folder: Path, text: str) -> None:
    (folder / traces.FILE).write_text(text, encoding="latin-1")
    assert traces.read(str(folder)) is None
    assert judged(1, str(folder), asked=False) == ("poweroff", "exit status 1")


def test_traces_are_read_as_they_were_written(folder: Path) -> None:
    made = Traces(name="vm", way="root", reusable=False, sockets=("/a", "/b"), log_from=7)
    traces.write(str(folder), made)
    assert traces.read(str(folder)) == made


def test_a_start_has_said_what_follows_its_beginning(folder: Path) -> None:
    said(folder, "before\nUsage: bhyve [-A]\n", log_from=7)
    assert judged(1, str(folder), asked=False)[0] == "error"
    said(folder, "Usage: bhyve [-A]\nnow\n", log_from=18)
    assert judged(1, str(folder), asked=False)[0] == "poweroff"
    (folder / "hypervisor.log").unlink()
    assert judged(1, str(folder), asked=False)[0] == "poweroff"


def test_of_a_start_that_has_said_much_the_end_counts(folder: Path) -> None:
    said(folder, "wrmsr to register 0x10\n" * 10_000 + TPM)
    leftover(folder / "swtpm.sock")
    assert judged(4, str(folder), asked=False)[0] == "reboot"
