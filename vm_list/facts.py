"""What a description says of its VM, or its first fault: a file -> some fields of its row."""

from __future__ import annotations

import json
import os

from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Facts", "each", "of"]

Facts = dict[str, "Any"]
_A_PROCESS = 500  # descriptions that are worth a process: it costs as much as fifty of them


def of(file: str) -> Facts:
    """Fields of a Row, of types that JSON has: those of a VM that does not run, or its fault."""
    from vm_spec.library import load
    from vm_spec.targets import select
    from vm_state.record import summarize  # here, for where all is kept nothing is decoded

    try:
        description = load(file)
        said = summarize(select(description))
    except VmError as error:
        fault = error.faults[0]
        return {"fault": str(fault), "hint": fault.hint}
    except OSError as error:
        return {"fault": f"{file}: cannot be read: {error.strerror}"}
    return said | {"targets": [str(target.name) for target in description.targets]}


def each(files: list[str]) -> list[Facts]:
    """The facts of many files, in their order; of very many by all processors at once."""
    count = min(_processors(), len(files) // _A_PROCESS)
    if count < 2:
        return list(map(of, files))
    size = -(-len(files) // count)
    mine, *others = (files[at : at + size] for at in range(0, len(files), size))
    helpers = [(piece, *_helper(piece)) for piece in others]
    found = list(map(of, mine))
    for piece, pid, answer in helpers:
        found += _answered(pid, answer) or list(map(of, piece))
    return found


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _helper(files: list[str]) -> tuple[int, int]:
    """A process that reads descriptions: its number, and a descriptor to read its answer from."""
    answer, end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(end)
        return pid, answer
    try:  # nothing of what we are in the middle of may go on here as well
        os.close(answer)
        with open(end, "wb") as file:
            file.write(json.dumps(list(map(of, files))).encode())
    finally:
        os._exit(0)


def _answered(pid: int, answer: int) -> list[Facts]:
    """What a helper has found; nothing if it could not."""
    with open(answer, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    try:
        found: list[Facts] = json.loads(text)
    except ValueError:
        return []
    return found
