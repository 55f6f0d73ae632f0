"""What vm-stop asks of the vm-run that watches a VM, and how that VM ended.

Both are files in the state folder, which is the user's alone; the signal SIGUSR1 says that there
is something to read.
"""

from __future__ import annotations

import json
import os
import signal

from vm_spec.frozen import TYPE_CHECKING
from vm_state import statedir

if TYPE_CHECKING:
    from vm_run.options import Ending
    from vm_state.statedir import Record

__all__ = ["ENDED", "SIGNAL", "ended", "leave", "take", "write_ended"]

SIGNAL = signal.SIGUSR1  # unlike SIGTERM, a second one forces nothing: two may ask at once
ENDED = "ended.json"
_ASKED = "stop.json"
_LONGEST_S = 86400.0


def leave(folder: str, timeout_s: float | None) -> None:
    """Leaves word how long the guest has to power off; None for its own stop_timeout."""
    statedir.replace_file(f"{folder}/{_ASKED}", json.dumps({"timeout": timeout_s}) + "\n")


def take(folder: str) -> float | None:
    """Takes the word that was left: seconds from 0; None for none."""
    path = f"{folder}/{_ASKED}"
    timeout = _table(path).get("timeout")
    try:
        os.unlink(path)
    except OSError:
        pass
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        return None
    return min(max(0.0, float(timeout)), _LONGEST_S)


def write_ended(folder: str, ending: Ending, said: str) -> None:
    """Keeps how a VM ended, until it is started again."""
    record = {
        "supervisor": os.getpid(), "outcome": ending.outcome, "target": ending.target,
        "forced": ending.forced, "status": ending.status, "said": said,
    }  # fmt: skip
    try:
        statedir.replace_file(f"{folder}/{ENDED}", json.dumps(record) + "\n")
    except OSError:  # a full disk: whoever waits sees only that it has ended
        pass


def ended(folder: str, supervisor: int) -> str:
    """How the VM that a vm-run watched has ended, in its words; empty when it did not say."""
    record = _table(f"{folder}/{ENDED}")
    said = record.get("said")
    return said if isinstance(said, str) and record.get("supervisor") == supervisor else ""


def _table(path: str) -> Record:
    try:
        with open(path, "rb") as file:
            table: object = json.loads(file.read(1 << 16))
    except (OSError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}  # pyright: ignore[reportUnknownVariableType]
