"""Giving what was granted, and taking it back: always by the ledger, never by a guess.

A module for each kind of thing has the same four functions:

    check(granted, caller) -> Record          looks, changes nothing, or raises InitError
    give(records, caller)                     does it, or raises
    holds(record, caller) -> bool             whether the thing is still as the record says
    take(records, uid, force) -> [str]        takes it back; for each empty, or why it stays

The records are in the ledger, synced, before `give`: what a kill leaves, `take`
undoes. So `take` is right for a record of which nothing was done yet, and a second time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from vm_init.caller import Caller
from vm_init.errors import InitError, log
from vm_init.hardening import IS_LINUX
from vm_init.ledger import Ledger, Record
from vm_init.policy import Granted

# In the order in which they are given.
LINUX = {"tap": "links", "macvtap": "links", "pci": "pci", "node": "nodes"}
FREEBSD = {"tap": "freebsd", "vm": "freebsd", "pci": "freebsd", "node": "nodes"}
KINDS = LINUX if IS_LINUX else FREEBSD


def give(granted: Sequence[Granted], caller: Caller, ledger: Ledger) -> list[str]:
    """Gives everything that was granted, or nothing; what is given already stays as it is.

    Returns:
        A line for each thing.

    Raises:
        InitError: something cannot be given, and why; what this run gave was taken back.
    """
    new: list[tuple[Record, Granted]] = []
    lines: list[str] = []
    for one in granted:
        known = _find_known(one, caller, ledger)
        record = known or check(one, caller, granted)
        lines.append(f"{show(record)}: {'yours already' if known else 'given'}")
        if known is None:
            new.append((record, one))
    if new:
        _give_all(new, caller, ledger)
    return lines


def check(one: Granted, caller: Caller, granted: Sequence[Granted]) -> Record:
    """A record of what is about to be given.

    Raises:
        InitError: the host's reason why it cannot be; the policy has granted it already.
    """
    kind = one.request.kind
    together = [each.request.name for each in granted if each.request.kind == "pci"]
    arguments = (one, caller, together) if kind == "pci" else (one, caller)
    try:
        record: Record = _module(kind).check(*arguments)
    except InitError as error:
        log(caller.uid, "refuse", one.request.line, str(error))
        raise
    return record


def release(ledger: Ledger, *, force: bool = False) -> list[str]:
    """Takes back what the ledger says, the last first; returns what stays, and why.

    Args:
        ledger: of the VM.
        force: also a tap that a program holds.
    """
    left = _take_all(ledger.records, ledger, force=force)
    if not ledger.records:
        ledger.write([])  # what a kill before the first record left
    return left


def _find_known(one: Granted, caller: Caller, ledger: Ledger) -> Record | None:
    """The record of what is given already; one that does not hold any more is undone."""
    key = (one.request.kind, one.request.name)
    known = next((record for record in ledger.records if record[:2] == key), None)
    if known is None:
        return None
    module = _module(known.kind)
    # Description or policy may have changed.
    is_same = not known.tag or (known.target, known.mac, known.port) == (
        one.target, one.request.mac, module.get_port(one),
    )  # fmt: skip
    if is_same and module.holds(known, caller):
        return known
    if left := _take_all([known], ledger):
        raise InitError("\n".join(left), os.EX_TEMPFAIL)
    return None


def _give_all(new: Sequence[tuple[Record, Granted]], caller: Caller, ledger: Ledger) -> None:
    """All of it recorded, then done; undone on every failure."""
    records = [record for record, _ in new]
    ledger.write([*ledger.records, *records])
    try:
        for module, group in _group(records):
            module.give(group, caller)
    except Exception as error:
        log(caller.uid, "give", ledger.vm, f"failed: {error}")
        left = _take_all(records, ledger)
        status = getattr(error, "status", os.EX_UNAVAILABLE)
        raise InitError("\n".join([str(error), *left]), status) from error
    for record, one in new:
        log(caller.uid, "give", f"{ledger.vm} {show(record)}", f"done, by {one.rule}")


def _take_all(records: Sequence[Record], ledger: Ledger, *, force: bool = False) -> list[str]:
    """Why things stay; they are taken back in the reverse order."""
    gone: list[Record] = []
    left: list[str] = []
    for module, group in reversed(_group(records)):
        for record, why in zip(group, module.take(group, ledger.uid, force=force), strict=True):
            log(ledger.uid, "release", f"{ledger.vm} {show(record)}", why or "done")
            if why:
                left.append(why)
            else:
                gone.append(record)
    if gone:
        ledger.write([record for record in ledger.records if record not in gone])
    return left


def _group(records: Sequence[Record]) -> list[tuple[Any, list[Record]]]:
    """The modules, each with its records: the kernel waits once for all of a module."""
    modules = dict.fromkeys(KINDS.values())
    grouped = [(name, [one for one in records if KINDS.get(one.kind) == name]) for name in modules]
    return [(import_module(f"vm_init.{name}"), group) for name, group in grouped if group]


def _module(kind: str) -> Any:
    """The module that gives and takes things of a kind on this system."""
    if kind not in KINDS:
        raise InitError(f"only the other system's root makes a {kind}", os.EX_UNAVAILABLE)
    return import_module(f"vm_init.{KINDS[kind]}")


def show(record: Record) -> str:
    """A record in a few words."""
    return f"{record.kind} {record.name}" + (f" on {record.target}" if record.tag and record.target
                                            else "")  # fmt: skip
