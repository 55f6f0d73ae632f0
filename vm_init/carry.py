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
    from typing import Any

    from vm_init.ledger import Ledger
    from vm_init.record import Record
    from vm_init.verdict import Caller, Granted


__all__ = ["give", "release"]

MODULES = {
    "tap": "vm_init.taps",
    "macvtap": "vm_init.macvtaps",
    "pci": "vm_init.pci",
    "node": "vm_init.nodes",
}
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
    if known is None or (_is_same(known, granted) and _holds(known, caller)):
        return known
    left = _undo_all([known], caller.uid, ledger)
    if left:
        raise InitError("\n".join(left), 75)
    return None


def _is_same(known: Record, granted: Granted) -> bool:
    """Whether what is given is what is asked for, also after the description has changed."""
    match granted.request:
        case Tap():
            return known.target == granted.target
        case Macvtap(mac=mac):
            return (known.target, known.mac) == (granted.target, mac)
        case _:
            return True


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
        ledger.done(*made)
    except (InitError, OSError) as error:
        log(caller.uid, "give", f"{ledger.vm} after {len(made)} things", f"failed: {error}")
        left = _undo_all([*made, *records[len(made) :]], caller.uid, ledger)
        raise InitError("\n".join([str(error), *left]), getattr(error, "status", 69)) from None
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
    kind = KINDS[type(granted.request)]
    if kind == "vm" and IS_LINUX:
        raise InitError(f"{granted.request[0]}: a VM is made by root on FreeBSD only", 69)
    if kind == "macvtap" and not IS_LINUX:
        raise InitError(f"{granted.request[0]}: macvtaps are Linux's", 69)
    if not IS_LINUX and kind in ("tap", "pci", "vm"):
        from vm_init import bsd

        return bsd.intend(granted, caller, vm, kind)
    if kind == "pci":
        from vm_init import pci

        return pci.intend(granted, caller, vm, together)
    record: Record = _way(kind).intend(granted, caller, vm)
    return record


def _way(kind: str) -> Any:
    """The module that gives and takes back things of a kind on this system."""
    from importlib import import_module

    bsd = kind == "vm" or (not IS_LINUX and kind in ("tap", "pci"))
    return import_module("vm_init.bsd" if bsd else MODULES[kind])


def _act(record: Record, caller: Caller) -> Record:
    made: Record = _way(record.kind).act(record, caller)
    return made


def _holds(record: Record, caller: Caller) -> bool:
    return record.done and bool(_way(record.kind).holds(record, caller))


def _undo(record: Record) -> str:
    return str(_way(record.kind).undo(record))
