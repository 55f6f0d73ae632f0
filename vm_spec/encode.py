"""Description -> text: the way back, for `vm-run --debug` and for who writes descriptions."""

from __future__ import annotations

from typing import cast

from vm_spec.devices import ConsolePort, Device
from vm_spec.frozen import TYPE_CHECKING, Value, items
from vm_spec.machine import TABLES, Machine
from vm_spec.types import Cpu, FilePath

if TYPE_CHECKING:
    from vm_spec.devices import Emulation, Properties
    from vm_spec.machine import Description, Target

__all__ = ["json", "plain", "tables", "toml"]

Table = dict[str, object]


def tables(description: Description) -> Table:
    """The native tables of a description; decoded in the same context, they give an equal one.

    What is as it is by default is left out; Ethernet addresses and interface names that were made
    up are written, since they are what was decided. Notes are not: they are about another text.
    """
    machine, folder = description.machine, description.folder
    written = _record(machine, type(machine).defaults, folder, ("emulations",))
    if machine.emulations:
        written["emulations"] = [_device(device, folder) for device in machine.emulations]
    if description.targets:
        written["targets"] = {
            str(target.name): _target(target, machine, folder) for target in description.targets
        }
    return written


def toml(description: Description) -> str:
    """The native tables as TOML."""
    import tomli_w  # only for who asks

    return tomli_w.dumps(tables(description))


def json(description: Description) -> str:
    """The native tables as JSON."""
    import json  # only for who asks

    return json.dumps(tables(description), indent=2, ensure_ascii=False) + "\n"


def plain(value: object, kind: str, folder: str = "") -> object:
    """One field's value as TOML and JSON have it.

    Args:
        value: the field's value.
        kind: the field's annotation.
        folder: where relative paths start.
    """
    match value:
        case FilePath():
            return _escaped(_path(value, folder))
        case str():
            return _escaped(value)
        case Cpu(sockets=1, threads=1):
            return value.cores
        case tuple():
            return _sequence(cast("tuple[object, ...]", value), kind, folder)
        case Value():
            return str(value) if hasattr(value, "parse") else _inner(value, folder)
        case _:
            return value


def _record(value: Value, known: Table, folder: str, skip: tuple[str, ...] = ()) -> Table:
    """The fields of a value that differ from what is known of them."""
    kinds = type(value).fields
    return {
        field: plain(found, kinds[field], folder)
        for field, found in items(value).items()
        if field not in skip and not (field in known and known[field] == found)
    }


def _inner(value: Value, folder: str) -> Table:
    skip = ("label",) if isinstance(value, Device) else ()
    return _record(value, type(value).defaults, folder, skip)


def _device(device: Emulation, folder: str) -> Table:
    return {"device": device.kind} | _record(device, type(device).defaults, folder)


def _target(target: Target, base: Machine, folder: str) -> Table:
    written: Table = {}
    for field, value in target.changes:
        written[field] = _change(field, value, getattr(base, field), folder)
    if target.remove:
        written["remove"] = [str(label) for label in target.remove]
    if target.emulations:
        written["emulations"] = [_device(device, folder) for device in target.emulations]
    return written


def _change(field: str, value: object, base: object, folder: str) -> object:
    """What a target says of one field; of a table, what differs from the base's table."""
    if field in ("graphic", "cloud_init", "tpm") and value is None:
        return False
    if field in TABLES and isinstance(value, Value):
        known = items(base) if isinstance(base, Value) else type(value).defaults
        return _record(value, known, folder, ("label",))
    return plain(value, Machine.fields[field], folder)


def _sequence(value: tuple[object, ...], kind: str, folder: str) -> object:
    if kind == "Properties":
        properties = cast("Properties", value)
        return {key: plain(item, "Scalar") for key, item in properties}
    ports = [port for port in value if isinstance(port, ConsolePort)]
    if ports:
        return {str(port.name): plain(port.path, "FilePath", folder) for port in ports}
    return [plain(item, "", folder) for item in value]


def _escaped(text: str) -> str:
    return str(text).replace("%", "%%")


def _path(path: FilePath, folder: str) -> str:
    """A path as the description has it: relative ones start at its folder."""
    inside = f"{folder or '.'}/"
    if path.startswith("/") or not path.startswith(inside):
        return path
    return f"./{path.removeprefix(inside)}"
