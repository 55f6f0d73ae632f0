"""What vm-stop asks of the vm-run that supervises a VM, and how that VM ended.

Both are files in the state directory, which is the user's alone; the signal SIGUSR1 says that
there is something to read.
"""

from __future__ import annotations

import json
import os
import signal

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.record import read_file
from vm_state.statedir import replace_file

if TYPE_CHECKING:
    from vm_state.record import Record

__all__ = ["ENDED", "SIGNAL", "SIGNALS", "read_ending", "take", "write", "write_ending"]

SIGNAL = signal.SIGUSR1  # unlike SIGTERM, a second one kills nothing: two vm-stops may ask at once
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, SIGNAL)  # all that stop a guest
ENDED = "ended.json"
_REQUEST = "stop.json"
_LONGEST_S = 86400.0


def write(directory: str, timeout_s: float | None) -> None:
    """Writes how long the guest has to power off; None for the machine's stop_timeout.

    Raises:
        VmError: it cannot be written (74).
    """
    try:
        replace_file(f"{directory}/{_REQUEST}", json.dumps({"timeout": timeout_s}) + "\n")
    except OSError as error:
        problem = f"{directory}: cannot be written to: {error.strerror}"
        raise VmError(Fault(problem=problem), status=os.EX_IOERR) from None


def take(directory: str) -> float | None:
    """Reads and removes what was written: seconds from 0; None for none."""
    path = f"{directory}/{_REQUEST}"
    timeout = read_file(path).get("timeout")
    try:
        os.unlink(path)
    except OSError:
        pass
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        return None
    return min(max(0.0, float(timeout)), _LONGEST_S)


def write_ending(directory: str, ending: Record) -> None:
    """Keeps how a VM ended until its next start; `said` is the sentence about it."""
    record = {"supervisor": os.getpid()} | ending
    try:
        replace_file(f"{directory}/{ENDED}", json.dumps(record) + "\n")
    except OSError:  # a full disk: whoever waits sees only that it has ended
        pass


def read_ending(directory: str, supervisor: int) -> str:
    """How the VM of a vm-run ended, in a sentence; empty when that did not write it."""
    record = read_file(f"{directory}/{ENDED}")
    said = record.get("said")
    return said if isinstance(said, str) and record.get("supervisor") == supervisor else ""
