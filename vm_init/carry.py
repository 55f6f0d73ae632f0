"""Carrying out what was granted, and taking it back: always by the ledger, never by a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_init.log import log
from vm_init.policy import public
from vm_init.request import Macvtap, Node, Pci, Tap, Vm
from vm_init.start import IS_LINUX
from vm_init.verdict import InitError, Refused

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

REFUSED = 77
KINDS = {Tap: "tap", Macvtap: "macvtap", Pci: "pci", Node: "node", Vm: "vm"}


def give(granted: Sequence[Granted], caller: Caller, ledger: Ledger) -> list[str]:
    """Gives everything that was granted, or nothing; what is given already stays as it is.

    Returns:
        A line for each thing, and what an admin should know.

    Raises:
        InitError: something could not be given; what this run gave before it was taken back.
    """
    together = [one.request[0] for one in granted if isinstance(one.request, Pci)]
    new: list[tuple[Granted, Record]] = []
    lines: list[str] = []
    for one in granted:
        known = _known(one, caller, ledger)
        if known is None:
            new.append((one, _intended(one, caller, ledger.vm, together)))
        lines.append(f"{_named(known or new[-1][1])}: {'yours already' if known else 'given'}")
    return lines + (_all(new, caller, ledger) if new else [])


def _known(granted: Granted, caller: Caller, ledger: Ledger) -> Record | None:
    """The record of what is given already; one that does not hold any more is undone."""
    key = (KINDS[type(granted.request)], granted.request[0])
    known = next((record for record in ledger.records if record[:2] == key), None)
    if known is None or _holds(known, caller):
        return known
    left = _undo_all([known], caller.uid, ledger)
    if left:
        raise InitError("\n".join(left), 75)
    return None


def _intended(granted: Granted, caller: Caller, vm: str, together: list[str]) -> Record:
    """What is about to be given; a refusal has the text of any refusal, whatever is here."""
    try:
        return _intend(granted, caller, vm, together)
    except InitError as error:
        why = "; ".join([str(error), *getattr(error, "__notes__", [])])
        log(caller.uid, "refuse", " ".join(granted.request), why)
        if error.status != REFUSED:
            raise
        raise InitError(public(Refused(granted.request, why), caller)) from None


def _all(new: list[tuple[Granted, Record]], caller: Caller, ledger: Ledger) -> list[str]:
    """All of it intended in the ledger, then done, one after the other, and that in the ledger."""
    records = [record for _, record in new]
    ledger.intend(*records)
    made: list[Record] = []
    try:
        for record in records:
            made.append(_act(record, caller))
    except InitError as error:
        log(caller.uid, "give", f"{ledger.vm} {_named(records[len(made)])}", f"failed: {error}")
        left = _undo_all([*made, *records[len(made) :]], caller.uid, ledger)
        raise InitError("\n".join([str(error), *left]), error.status) from None
    ledger.done(*made)
    for (one, _), record in zip(new, made, strict=True):
        log(caller.uid, "give", f"{ledger.vm} {_named(record)}", f"done, by {one.line}")
    return _warnings(made)


def _warnings(made: list[Record]) -> list[str]:
    from vm_init import taps

    told = (taps.warning(record) for record in made if record.kind == "tap" and IS_LINUX)
    return [f"warning: {text}" for text in dict.fromkeys(told) if text]


def release(ledger: Ledger, uid: int) -> list[str]:
    """Takes back what the ledger says, the last first; returns what stays, and why."""
    left = _undo_all(list(ledger.records), uid, ledger)
    if not ledger.records:
        ledger.forget()  # what a kill before the first record was written left
    return left


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
