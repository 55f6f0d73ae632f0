"""The frame of every command: faults on standard error become an exit status."""

from __future__ import annotations

import os
import sys

from vm_spec.fault import VmError, report
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guarded"]

_BUG, _INTERRUPTED, _NOBODY_READS = 70, 130, 141  # the last two as a shell counts signals


def guarded(command: str, act: Callable[[list[str]], int], argv: list[str]) -> int:
    """The exit status of a command.

    Args:
        command: what it is called, before what is said on standard error.
        act: what it does; its status is returned.
        argv: what was typed behind the command.
    """
    try:
        return act(argv)
    except VmError as error:
        _say(f"{command}: {report(error.faults)}")
        return error.status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has enough
        return _NOBODY_READS
    except Exception:  # noqa: BLE001  a bug of ours: says so
        import traceback

        traceback.print_exc()
        _say(f"{command}: this is a bug of vmman, not a mistake of yours: please report it")
        return _BUG


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody hears it: the status tells
        pass
