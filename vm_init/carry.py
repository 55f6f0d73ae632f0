"""Carrying out what was granted, and taking it back: always by the ledger, never by a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_init.log import log
from vm_init.request import Macvtap, Node, Pci, Tap, Vm
from vm_init.start import IS_LINUX
from vm_init.verdict import InitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from vm_init.ledger import Ledger
    from vm_init.record import Record
    from vm_init.verdict import Caller, Granted

    class Way(Protocol):
        """What a module for a kind can do; vm_init.record has the contract."""

        def act(self, record: Record, caller: Caller, /) -> Record:
            """Does it."""
            ...

        def holds(self, record: Record, caller: Caller, /) -> bool:
            """Whether it is as the record says."""
            ...

        def undo(self, record: Record, /) -> str:
            """Takes it back."""
            ...


__all__ = ["give", "release"]

KINDS = {Tap: "tap", Macvtap: "macvtap", Pci: "pci", Node: "node", Vm: "vm"}


def give(granted: Sequence[Granted], caller: Caller, ledger: Ledger) -> list[str]:
    """Gives everything that was granted, or nothing; what is given already stays as it is.

    Returns:
        A line for each thing: what it is, and whether it was there already.

    Raises:
        InitError: something could not be given; what this run gave before it was taken back.
    """
    given: list[Record] = []
    lines: list[str] = []
    together = [one.request[0] for one in granted if isinstance(one.request, Pci)]
    try:
        for one in granted:
            record, is_new = _one(one, caller, ledger, together)
            given += [record] if is_new else []
            lines.append(f"{_named(record)}: {'given' if is_new else 'yours already'}")
    except InitError as error:
        left = _take_back(given, caller, ledger)
        if left:
            raise InitError("\n".join([str(error), *left]), error.status) from None
        raise
    return lines


def _one(
    granted: Granted, caller: Caller, ledger: Ledger, together: list[str]
) -> tuple[Record, bool]:
    """One thing given: intended in the ledger, done, and that in the ledger too."""
    kind = KINDS[type(granted.request)]
    known = next((r for r in ledger.records if r[:2] == (kind, granted.request[0])), None)
    if known and _holds(known, caller):
        return known, False
    if known:
        left = _take_back([known], caller, ledger)
        if left:
            raise InitError("\n".join(left), 75)
    record = _intend(granted, caller, ledger.vm, together)
    ledger.intend(record)
    try:
        record = _act(record, caller)
    except InitError as error:
        log(caller.uid, "give", f"{ledger.vm} {_named(record)}", f"failed: {error}")
        _take_back([record], caller, ledger)
        raise
    ledger.done(record)
    log(caller.uid, "give", f"{ledger.vm} {_named(record)}", f"done, by {granted.line}")
    return record, True


def release(ledger: Ledger, uid: int) -> list[str]:
    """Takes back what the ledger says, the last first; returns what stays, and why."""
    left = _undo_all(list(ledger.records), uid, ledger)
    if not ledger.records:
        ledger.forget()  # what a kill before the first record was written left
    return left


def _take_back(records: list[Record], caller: Caller, ledger: Ledger) -> list[str]:
    return _undo_all(records, caller.uid, ledger)


def _undo_all(records: list[Record], uid: int, ledger: Ledger) -> list[str]:
    left: list[str] = []
    for record in reversed(records):
        why = _undo(record)
        log(uid, "release", f"{ledger.vm} {_named(record)}", why or "done")
        if why:
            left.append(why)
        else:
            ledger.forget(record)
    return left


def _named(record: Record) -> str:
    on = f" on {record.target}" if record.kind in ("tap", "macvtap") and record.target else ""
    return f"{record.kind} {record.name}{on}"


def _intend(granted: Granted, caller: Caller, vm: str, together: list[str]) -> Record:
    from vm_init import bsd, macvtaps, nodes, pci, taps

    kind = KINDS[type(granted.request)]
    if not IS_LINUX and kind in bsd.MODULES:
        return bsd.intend(granted, caller, vm, kind)
    match granted.request:
        case Tap():
            return taps.intend(granted, caller, vm)
        case Macvtap():
            return macvtaps.intend(granted, caller, vm)
        case Pci():
            return pci.intend(granted, caller, vm, together)
        case Node():
            return nodes.intend(granted, caller, vm)
        case Vm():
            raise InitError(f"{granted.request.name}: a VM is made by root on FreeBSD only", 69)


def _way(kind: str) -> Way:
    """The module that gives and takes back things of a kind on this system."""
    from vm_init import bsd, macvtaps, nodes, pci, taps

    if not IS_LINUX and kind in bsd.MODULES:
        return bsd
    ways: dict[str, Way] = {"tap": taps, "macvtap": macvtaps, "pci": pci, "node": nodes, "vm": bsd}
    return ways[kind]


def _act(record: Record, caller: Caller) -> Record:
    return _way(record.kind).act(record, caller)


def _holds(record: Record, caller: Caller) -> bool:
    return record.done and _way(record.kind).holds(record, caller)


def _undo(record: Record) -> str:
    return _way(record.kind).undo(record)
