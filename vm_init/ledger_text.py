"""What the file of a ledger may say: read as strictly as if a user had written it."""

from __future__ import annotations

import json
import os
import re
from typing import Any, NoReturn, cast

from vm_init.record import Record, alias
from vm_init.request import ADDRESS, MAC, NAME, PATH, PORT, VM
from vm_init.verdict import InitError

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
_FILE = {
    "version": int,
    "uid": int,
    "vm": str,
    "boot": str,
    "job": str,
    "records": list,
}
_TYPES: dict[str, type] = {field: type(value) for field, value in Record("", "")._asdict().items()}


def render(uid: int, vm: str, job: str, records: tuple[Record, ...]) -> bytes:
    """The file of a ledger."""
    content = {
        "version": 1,
        "uid": uid,
        "vm": vm,
        "boot": _boot(),
        "job": job,
        "records": [record._asdict() for record in records],
    }
    return json.dumps(content, separators=(",\n", ": ")).encode("ascii")


def parse(data: bytes, uid: int, vm: str) -> tuple[str, tuple[Record, ...]]:
    """The job and the records of a ledger; none of another boot's.

    Raises:
        InitError: it is not what `render` makes for this VM of this user (78).
    """
    try:
        content: Any = json.loads(data.decode("ascii")) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if _types(content) != _FILE or (content["version"], content["uid"], content["vm"]) != (
        1,
        uid,
        vm,
    ):
        _bad(uid, vm)
    job: str = content["job"]
    given: list[object] = content["records"]
    if not re.fullmatch(rf"({VM})?", job):
        _bad(uid, vm)
    if content["boot"] != _boot():
        return "", ()
    records = tuple(_record(each, uid, vm) for each in given)
    if len({record[:2] for record in records}) != len(records):
        _bad(uid, vm)
    return job, records


def _types(given: object) -> dict[str, type] | None:
    """The exact type of each value of an object, or None for anything else."""
    if not isinstance(given, dict):
        return None
    return {key: type(value) for key, value in cast("dict[str, object]", given).items()}


def _record(given: Any, uid: int, vm: str) -> Record:
    if _types(given) != _TYPES:
        _bad(uid, vm)
    record = Record(**given)
    forms = _FORMS.get(record.kind)
    texts = (record.name, record.nonce, record.target, record.former, record.mac, record.port)
    if forms is None or not all(map(re.fullmatch, forms, texts)):
        _bad(uid, vm)
    marked = record.kind in ("tap", "macvtap")
    tag = alias(record.nonce, uid, vm) if marked else ""
    most = (1 << 31) - 1 if marked else (1 << 63) - 1
    if record.tag != tag or not 0 <= record.number <= most:
        _bad(uid, vm)
    if record.kind in ("node", "pci", "vm") and record.target != str(uid):
        _bad(uid, vm)
    return record


def _bad(uid: int, vm: str) -> NoReturn:
    raise InitError(f"ledger {uid}/{vm}.json: is not as vm-init writes it", os.EX_CONFIG)


def _boot() -> str:
    """Which boot this is; empty on FreeBSD, where /var/run is emptied at each."""
    try:
        with open(BOOT, encoding="ascii") as told:
            return told.read().strip()
    except FileNotFoundError:
        return ""
