"""What was given to whom: a record, how each kind of thing is handled, and the ledger's file.

A module for each kind (`taps`, `macvtaps`, `nodes`, `pci`) has the same four functions, in the
order in which `vm_init.carry` calls them:

    intend(granted, caller, vm, together) -> Record    looks, changes nothing, or raises InitError
    act(record, caller) -> Record            does it; returns the record with what was found out
    holds(record, caller) -> bool            whether the thing is still as this record says
    undo(record) -> str                      takes it back; empty, or why it stays

`together` is every PCI address of the run. Of taps, `make` and `remove` do all of a run at once.

`intend`'s record is in the ledger, synced, before `act`; `act`'s record replaces it after. So
whatever a kill at any moment leaves can be undone by what the ledger says. `undo` must be right for
a record of any of the two, also when nothing of it was done yet, and also a second time.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple, cast

from vm_init.request import ADDRESS, MAC, NAME, PATH, PORT, VM
from vm_init.verdict import InitError


class Record(NamedTuple):
    """One thing that was given, or is about to be.

    Attributes:
        kind: tap, macvtap, node, pci or vm.
        name: the interface, the node's path, or the PCI address.
        done: whether `act` has ended.
        nonce: 16 hex digits made for this record; part of an interface's alias.
        number: the interface's index, or the node's device number; 0 while unknown.
        target: the bridge or interface that it is joined to; empty for none.
        former: what was there before: a node's `uid:gid:mode`, a PCI device's driver.
        mac: a macvtap's Ethernet address.
        tag: an interface's alias, as `alias` makes it: its mark in the kernel.
        port: of a tap in a bridge, the words of `netlink.PORT` that are true of its port.
    """

    kind: str
    name: str
    done: bool = False
    nonce: str = ""
    number: int = 0
    target: str = ""
    former: str = ""
    mac: str = ""
    tag: str = ""
    port: str = ""

    @property
    def is_link(self) -> bool:
        """Whether it is an interface."""
        return self.kind in ("tap", "macvtap")


def alias(nonce: str, uid: int, vm: str) -> str:
    """The tag by which an interface is known to be a record's, and no later one of its name."""
    return f"vmman:{uid}:{vm}:{nonce}"


BOOT = "/proc/sys/kernel/random/boot_id"
MOST_BYTES = 1 << 18

UID = r"[1-9][0-9]{0,9}"
_OWNER = r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9}):[0-7]{1,4}"
_DRIVER = rf"[A-Za-z0-9_-]{{1,64}}( {_OWNER})?"
_NONCE = r"[0-9a-f]{16}"
# Of each kind: name, nonce, target, former, mac, port.
_FORMS = {
    "tap": (NAME, _NONCE, rf"({NAME})?", "", "", PORT),
    "macvtap": (NAME, _NONCE, NAME, "", MAC, ""),
    "node": (PATH, rf"({_NONCE})?", UID, _OWNER, "", ""),
    "pci": (ADDRESS, rf"({_NONCE})?", UID, _DRIVER, "", ""),
    "vm": (VM, rf"({_NONCE})?", UID, "", "", ""),
}
_FILE = {"version": int, "uid": int, "vm": str, "boot": str, "job": str, "records": list}
_TYPES: dict[str, type] = {field: type(value) for field, value in Record("", "")._asdict().items()}


def render(uid: int, vm: str, job: str, records: tuple[Record, ...]) -> bytes:
    """The file of a ledger."""
    given = [record._asdict() for record in records]
    head = {"version": 1, "uid": uid, "vm": vm, "boot": _boot(), "job": job}
    return json.dumps({**head, "records": given}, separators=(",\n", ": ")).encode("ascii")


def parse(data: bytes, uid: int, vm: str) -> tuple[str, tuple[Record, ...]]:
    """The job and the records of a ledger, read as strictly as if a user had written it.

    Returns:
        Nothing for a ledger of another boot.

    Raises:
        InitError: it is not what `render` makes for this VM of this user (78).
    """
    wrong = InitError(f"ledger {uid}/{vm}.json: is not as vm-init writes it", os.EX_CONFIG)
    try:
        content: Any = json.loads(data.decode("ascii")) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        raise wrong from None
    if _types(content) != _FILE or content != content | {"version": 1, "uid": uid, "vm": vm}:
        raise wrong
    if not re.fullmatch(rf"({VM})?", content["job"]):
        raise wrong
    if content["boot"] != _boot():
        return "", ()
    if not all(_is_record(each, uid, vm) for each in content["records"]):
        raise wrong
    records = tuple(Record(**each) for each in content["records"])
    if len({record[:2] for record in records}) != len(records):
        raise wrong
    return content["job"], records


def _types(given: object) -> dict[str, type] | None:
    """The exact type of each value of an object, or None for anything else."""
    if not isinstance(given, dict):
        return None
    return {key: type(value) for key, value in cast("dict[str, object]", given).items()}


def _is_record(given: Any, uid: int, vm: str) -> bool:
    if _types(given) != _TYPES or given["kind"] not in _FORMS:
        return False
    record = Record(**given)
    texts = (record.name, record.nonce, record.target, record.former, record.mac, record.port)
    return (
        all(map(re.fullmatch, _FORMS[record.kind], texts))
        and record.tag == (alias(record.nonce, uid, vm) if record.is_link else "")
        and 0 <= record.number < 1 << (31 if record.is_link else 63)
        and (record.is_link or record.target == str(uid))
    )


def _boot() -> str:
    """Which boot this is; empty on FreeBSD, where /var/run is emptied at each."""
    try:
        with open(BOOT, encoding="ascii") as told:
            return told.read().strip()
    except FileNotFoundError:
        return ""
