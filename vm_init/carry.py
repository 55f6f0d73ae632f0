"""Carrying out what was granted, and taking it back: always by the ledger, never by a guess."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from vm_init.ledger import Ledger
from vm_init.record import Record
from vm_init.request import kind
from vm_init.start import IS_LINUX
from vm_init.verdict import Caller, DeniedError, Granted, InitError, Refused, log

LINUX = {"tap": "taps", "macvtap": "macvtaps", "pci": "pci", "node": "nodes"}
FREEBSD = {"tap": "freebsd", "vm": "freebsd", "pci": "freebsd", "node": "nodes"}
REFUSED, LACKS, BUSY = 77, 69, 75


def give(granted: Sequence[Granted], caller: Caller, ledger: Ledger) -> list[str]:
    """Gives everything that was granted, or nothing; what is given already stays as it is.

    Returns:
        A line for each thing, and what an admin should know.

    Raises:
        InitError: something could not be given; what this run gave before it was taken back.
    """
    together = [one.request[0] for one in granted if kind(one.request) == "pci"]
    new: list[tuple[Granted, Record]] = []
    lines: list[str] = []
    for one in granted:
        known = _known(one, caller, ledger)
        if known is None:
            new.append((one, _intended(one, caller, ledger.vm, together)))
        lines.append(f"{_named(known or new[-1][1])}: {'yours already' if known else 'given'}")
    return lines + (_all(new, caller, ledger) if new else [])


def release(ledger: Ledger, *, force: bool = False) -> list[str]:
    """Takes back what the ledger says, the last first; returns what stays, and why.

    Args:
        ledger: of the VM.
        force: also a tap that a program holds.
    """
    left = _undo_all(ledger.records, ledger, force=force)
    if not ledger.records:
        ledger.forget()  # what a kill before the first record was written left
    return left


def _known(granted: Granted, caller: Caller, ledger: Ledger) -> Record | None:
    """The record of what is given already; one that does not hold any more is undone."""
    key = (kind(granted.request), granted.request[0])
    known = next((record for record in ledger.records if record[:2] == key), None)
    if known is None:
        return None
    if _is_same(known, granted) and known.done and _way(known.kind).holds(known, caller):
        return known
    if left := _undo_all([known], ledger):
        raise InitError("\n".join(left), BUSY)
    return None


def _is_same(known: Record, granted: Granted) -> bool:
    """Whether what is given is what is asked for, also after description or policy changed."""
    wanted = (granted.target, granted.port, getattr(granted.request, "mac", ""))
    return not known.is_link or (known.target, known.port, known.mac) == wanted


def _intended(granted: Granted, caller: Caller, vm: str, together: list[str]) -> Record:
    """What is about to be given; a refusal has the text of any refusal, whatever is here."""
    try:
        record: Record = _way(kind(granted.request)).intend(granted, caller, vm, together)
    except InitError as error:
        from vm_init.policy import public  # to release takes no policy

        why = "; ".join([str(error), *getattr(error, "__notes__", [])])
        log(caller.uid, "refuse", " ".join(granted.request), why)
        if error.status != REFUSED:
            raise
        raise DeniedError(public(Refused(granted.request, why), caller)) from None
    return record


def _way(sort: str) -> Any:
    """The module that gives and takes back things of a kind on this system."""
    module = (LINUX if IS_LINUX else FREEBSD).get(sort)
    if module is None:
        raise InitError(f"a {sort} is made by root on the other system only", LACKS)
    return import_module(f"vm_init.{module}")


def _all(new: list[tuple[Granted, Record]], caller: Caller, ledger: Ledger) -> list[str]:
    """All of it intended in the ledger, then done, and that in the ledger."""
    records = [record for _, record in new]
    ledger.intend(*records)
    try:
        ledger.done(*_acted(records, caller))
    except (InitError, OSError) as error:
        log(caller.uid, "give", ledger.vm, f"failed: {error}")
        left = _undo_all(records, ledger)
        raise InitError("\n".join([str(error), *left]), getattr(error, "status", LACKS)) from None
    for one, record in new:
        log(caller.uid, "give", f"{ledger.vm} {_named(record)}", f"done, by {one.line}")
    bridges = sorted({record.target for record in _taps(records)})
    warnings = (_way("tap").warning(bridge) for bridge in bridges)
    return [f"warning: {text}" for text in warnings if text]


def _acted(records: list[Record], caller: Caller) -> list[Record]:
    """What was given: the taps first and together."""
    taps = _taps(records)
    made: list[Record] = _way("tap").make(taps, caller) if taps else []
    return made + [_way(each.kind).act(each, caller) for each in records if each not in taps]


def _taps(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.kind == "tap" and IS_LINUX]


def _undo_all(records: Sequence[Record], ledger: Ledger, *, force: bool = False) -> list[str]:
    """Why things stay; they are taken back the last first, and the taps last and together."""
    taps = _taps(records)
    others = [record for record in reversed(records) if record not in taps]
    whys = {record: str(_way(record.kind).undo(record)) for record in others}
    if taps:
        whys |= zip(taps, _way("tap").remove(taps, force=force), strict=True)
    for record, why in whys.items():
        log(ledger.uid, "release", f"{ledger.vm} {_named(record)}", why or "done")
    if gone := [record for record, why in whys.items() if not why]:
        ledger.forget(*gone)
    return list(filter(None, whys.values()))


def _named(record: Record) -> str:
    on = f" on {record.target}" if record.is_link and record.target else ""
    return f"{record.kind} {record.name}{on}"
