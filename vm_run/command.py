"""The one door to other programs that do a thing and end."""

from __future__ import annotations

import os
import shlex
import subprocess

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.process import signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["run", "start"]


def run(argv: Sequence[str], *, terminal: bool = False) -> str:
    """Runs a program and returns what it printed.

    Args:
        argv: its words; no shell reads them.
        terminal: whether it may ask the user, as sudo does; then what it prints is shown.

    Raises:
        VmError: it is not there, or fails (69): with the line to copy and what it said last.
    """
    line = shlex.join(argv)
    pipe = None if terminal else subprocess.PIPE
    stdin = None if terminal else subprocess.DEVNULL
    try:
        done = subprocess.run(
            argv, stdin=stdin, stdout=pipe, stderr=pipe, check=False, text=True, errors="replace"
        )
    except OSError as error:
        problem = f"{line}: {error.strerror}"
        hint = (
            f"install {argv[0]}"
            if isinstance(error, FileNotFoundError) or "/" not in argv[0]
            else ""
        )
        raise VmError(Fault(problem=problem, hint=hint), status=69) from None
    if done.returncode:
        said = (done.stderr or "").strip().splitlines()[-1:]
        problem = ": ".join([line, _ended(done.returncode), *said])
        raise VmError(Fault(problem=problem), status=69)
    return done.stdout or ""


def _ended(code: int) -> str:
    return signal_name(-code) if code < 0 else f"exit status {code}"


def start(argv: Sequence[str], environment: Mapping[str, str], log: int) -> subprocess.Popen[bytes]:
    """Starts a program beside us; what it prints goes into a log.

    Raises:
        VmError: it is not there (69).
    """
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
        )
    except OSError as error:
        problem = f"{shlex.join(argv)}: {error.strerror}"
        raise VmError(Fault(problem=problem), status=69) from None
