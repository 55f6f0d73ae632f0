"""The main wrapper of every command: it prints faults and returns the exit status."""

from __future__ import annotations

import os
import sys

from vm_spec.fault import VmError, report
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["argv_of", "run_command"]

_INTERRUPTED, _BROKEN_PIPE = 130, 141  # as a shell counts signals


def run_command(command: str, act: Callable[[list[str]], int], argv: list[str]) -> int:
    """Runs a command and returns its exit status.

    Args:
        command: its name, which begins each message on standard error.
        act: its main function, which returns an exit status.
        argv: its arguments.
    """
    try:
        return act(argv)
    except VmError as error:
        _print_error(f"{command}: {report(error.faults)}")
        return error.status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing at exit fails again
        return _BROKEN_PIPE
    except Exception:  # noqa: BLE001  any other is a bug of ours
        import traceback

        traceback.print_exc()
        _print_error(f"{command}: this is a bug in vmman, please report it")
        return os.EX_SOFTWARE


def _print_error(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # standard error is gone; the exit status remains
        pass


def argv_of(command: str) -> list[str]:
    """The command line of another command of this installation, whatever PATH has.

    It is the program beside ours; where we were started otherwise, Python runs its module.
    """
    ours = os.path.abspath(sys.argv[0])
    beside = os.path.join(os.path.dirname(ours), command)
    if os.path.basename(ours).startswith("vm-") and os.access(beside, os.X_OK):
        return [beside]
    module = f"{command.replace('-', '_')}.__main__"
    program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import entry; entry()"
    return [sys.executable, "-ISB", "-c", program]
