"""What VMs there are, and what each is doing: the library and the running state -> rows."""

from __future__ import annotations

import os

from vm_list import shelf, traces
from vm_list.judge import is_same, judge
from vm_list.row import Row
from vm_list.traces import Trace, text
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.names import names

if TYPE_CHECKING:
    from collections.abc import Collection

    from vm_list.facts import Facts

__all__ = ["Row", "survey"]

_UNREADABLE = 66
_LISTS = ("targets", "network", "consoles")


def survey(folder: str, wanted: Collection[str] | None = None) -> list[Row]:
    """Every VM of a folder of descriptions, and every other one that runs here, by name.

    Args:
        folder: the folder.
        wanted: the names of those that are looked at; None for all.

    Raises:
        VmError: the folder is there and cannot be read (66).
    """
    folder = os.path.abspath(folder)
    _require_readable(folder)
    files = [(n, file) for n, file in names(folder) if wanted is None or n in wanted]
    said = shelf.read(folder, [file for _, file in files])
    found = traces.traces()  # the slow part is done: what follows is of one moment
    handles, locks = _by_entry(found), _locks(folder)
    rows: list[Row] = []
    for (name, file), facts in zip(files, said, strict=True):
        if "fault" in facts and not os.path.lexists(file):
            continue  # it was removed while we looked
        trace = _taken(found, handles, name, file) if found else None
        if trace is None and f".{name}.lock" not in locks:
            rows.append(_row(name, file, facts, "broken" if "fault" in facts else "stopped"))
        else:
            rows.append(judge(_row(name, file, facts), traces.of(file, trace)))
    rows += [_outside(trace) for trace in found.values() if _is_wanted(trace, wanted)]
    return sorted(rows, key=lambda row: (row.name, row.file))


def _require_readable(folder: str) -> None:
    """Refuses a folder that is there and cannot be read; one that is not there holds nothing."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        hint = "descriptions are kept in $VMCONF_DIR, else in ~/vm"
        raise VmError(Fault(file=folder, problem=problem, hint=hint), status=_UNREADABLE) from None


def _locks(folder: str) -> set[str]:
    """The locks in a folder of descriptions, and what else is hidden there."""
    try:
        return {entry for entry in os.listdir(folder) if entry.startswith(".")}
    except OSError:
        return set()


def _by_entry(found: dict[str, Trace]) -> dict[str, list[str]]:
    """The handles by their description's name in its folder, or by themselves."""
    handles: dict[str, list[str]] = {}
    for handle, trace in sorted(found.items()):
        entry = os.path.basename(text(trace.record, "file")) or handle
        handles.setdefault(entry, []).append(handle)
    return handles


def _taken(
    found: dict[str, Trace], handles: dict[str, list[str]], name: str, file: str
) -> Trace | None:
    """The trace of a VM of the library, taken out of what was found."""
    likely = [*handles.get(os.path.basename(file), ()), *handles.get(name, ())]
    for handle in sorted(likely, key=lambda handle: handle != name):
        recorded = text(found[handle].record, "file") if handle in found else "-"
        if is_same(recorded, file) if recorded else handle == name:
            return found.pop(handle)
    return None


def _row(name: str, file: str, facts: Facts, state: str = "stopped") -> Row:
    fields: Facts = {key: tuple(facts[key]) for key in _LISTS if key in facts}
    return Row(name=name, file=file, state=state, **(facts | fields))


def _is_wanted(trace: Trace, wanted: Collection[str] | None) -> bool:
    """Whether a state folder without a description in the library is a row: if something lives."""
    return (trace.lives or trace.supervised) and (wanted is None or trace.handle in wanted)


def _outside(trace: Trace) -> Row:
    """A VM that runs from a file elsewhere, or from none."""
    return judge(Row(name=trace.handle, file=text(trace.record, "file")), trace)
