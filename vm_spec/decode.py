"""Text -> description, or every fault at once."""

from __future__ import annotations

from vm_spec import emulations, vmman
from vm_spec.check import check
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value, is_list, is_table, replace
from vm_spec.machine import BASE_ONLY, TABLES, Description, Machine, Target, Tpm
from vm_spec.reader import Reader
from vm_spec.syntax import Context, parsed
from vm_spec.types import FilePath, Label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vm_spec.fault import Path
    from vm_spec.reader import Raw

__all__ = ["Context", "loads"]

_ELSEWHERE = {"emulations", "targets", *emulations.SHORTCUTS}


def loads(text: str, context: Context | None = None) -> Description:
    """The description that a text is.

    Raises:
        VmError: with every fault found, each with file, line and the key's path.
    """
    context = context or Context()
    reader = Reader(context.folder, context.home)
    try:
        description = _described(parsed(text, context), context, reader)
    except RecursionError:
        raise VmError(Fault(problem="is nested too deeply", file=context.file)) from None
    if description is not None and not reader.faults:
        reader.faults += check(description, reader.places)
    if description is None or reader.faults:
        raise VmError(*_placed(reader.faults, text, context))
    return description


def _described(raw: Raw, context: Context, reader: Reader) -> Description | None:
    notes: list[str] = []
    if vmman.is_vmman(raw):  # it had no variables, so its percent signs mean themselves
        raw, items, notes = vmman.translate(raw, reader)
    else:
        raw = _expanded(raw, context, reader)
        items = emulations.listed(raw, (), reader)
    machine = _machine(raw, items, context, reader)
    targets = _targets(raw, machine, reader)
    if machine is None:
        return None
    return Description(
        machine=_complete(machine, context),
        targets=tuple(_complete_target(target, machine, context) for target in targets),
        file=context.file,
        folder=context.folder,
        user=context.user,
        notes=tuple(notes),
    )


def _expanded(raw: Raw, context: Context, reader: Reader) -> Raw:
    if "vars" not in raw and not _has_percent(raw):
        return raw
    name = raw.get("name", context.name)
    built_in = {
        "name": name if isinstance(name, str) else "",
        "user": context.user,
        "home": context.home,
        "confdir": context.confdir,
    }
    from vm_spec.variables import expand

    return expand(raw, built_in, reader)


def _has_percent(raw: object) -> bool:
    if is_table(raw):
        return any(map(_has_percent, raw.values()))
    if is_list(raw):
        return any(map(_has_percent, raw))
    return isinstance(raw, str) and "%" in raw


def _machine(
    raw: Raw, items: list[tuple[Path, Raw]], context: Context, reader: Reader
) -> Machine | None:
    own = {key: item for key, item in raw.items() if key not in _ELSEWHERE}
    if context.name and "name" not in own:
        own["name"] = context.name
    devices = emulations.devices(items, reader)
    graphic = emulations.graphic(own.pop("graphic"), ("graphic",), reader) if _shows(own) else None
    return reader.record(Machine, own, (), emulations=devices, graphic=graphic)


def _shows(own: Raw) -> bool:
    """Whether a screen is described; `graphic = false` takes it away."""
    if own.get("graphic") is False:
        del own["graphic"]
    return "graphic" in own


def _targets(raw: Raw, base: Machine | None, reader: Reader) -> list[Target]:
    tables = raw.get("targets", {})
    if not is_table(tables):
        reader.note(("targets",), "must be named: [targets.NAME]")
        return []
    found: list[Target] = []
    for name, table in tables.items():
        target = _target(name, table, base, reader)
        found += [target] if target else []
    return found


def _target(name: str, table: object, base: Machine | None, reader: Reader) -> Target | None:
    path = ("targets", name)
    if not is_table(table):
        reader.note(path, "must be a table of keys and values")
        return None
    raw = dict(table)
    before = len(reader.faults)
    devices = emulations.devices(emulations.listed(raw, path, reader), reader, name)
    remove = _removed(raw.pop("remove", []), path, reader)
    changes = _changes(raw, base, path, reader)
    if len(reader.faults) > before:
        return None
    try:
        return Target(
            name=Label(name), changes=tuple(changes.items()), emulations=devices, remove=remove
        )
    except ValueError as error:
        reader.note(path, str(error))
        return None


def _removed(raw: object, path: Path, reader: Reader) -> tuple[Label, ...]:
    try:
        if is_list(raw):
            return tuple(map(Label, raw))
    except ValueError:
        pass
    reader.note((*path, "remove"), "must be a list of labels")
    return ()


def _changes(raw: Raw, base: Machine | None, path: Path, reader: Reader) -> dict[str, object]:
    """The fields of the machine that a target replaces; its own tables complete the base's."""
    own = {key: item for key, item in raw.items() if key not in _ELSEWHERE}
    changes: dict[str, object] = {}
    if "graphic" in own and not _shows(own):
        changes["graphic"] = None
    for key in [key for key in own if key.replace("-", "_") in TABLES]:
        field, mine = key.replace("-", "_"), own[key]
        bases = getattr(base, field, None)
        if is_table(mine) and isinstance(bases, Value) and field not in changes:
            del own[key]
            given = reader.fields(type(bases), mine, (*path, key), ("label",))
            changes[field] = replace(bases, **given)
    if "graphic" in own:
        changes["graphic"] = emulations.graphic(own.pop("graphic"), (*path, "graphic"), reader)
    for key in [key for key in own if key.replace("-", "_") in BASE_ONLY]:
        reader.note((*path, key), "is for the base only, not for a target")
        del own[key]
    return changes | reader.fields(Machine, own, path, (*BASE_ONLY, *changes, "emulations"))


def _complete(machine: Machine, context: Context) -> Machine:
    """The machine with what was left out filled in."""
    varfile = machine.varfile
    if machine.bootrom == "uefi" and varfile is None:
        varfile = _beside(machine, context, "vars.fd")
    devices = emulations.complete(machine.emulations, machine.name, context.user, context.uid)
    tpm = _with_path(machine.tpm, machine, context)
    return replace(machine, emulations=devices, varfile=varfile, tpm=tpm)


def _beside(machine: Machine, context: Context, ending: str) -> FilePath:
    return FilePath(f"{context.folder or '.'}/{machine.name}.{ending}")


def _with_path(tpm: Tpm | None, machine: Machine, context: Context) -> Tpm | None:
    """A Trusted Platform Module that says where it is."""
    if tpm is None or tpm.path:
        return tpm
    swtpm = tpm.type == "swtpm"
    return replace(tpm, path=_beside(machine, context, "tpm") if swtpm else FilePath("/dev/tpm0"))


def _complete_target(target: Target, machine: Machine, context: Context) -> Target:
    changes = dict(target.changes)
    if changes.get("bootrom") == "uefi" and "varfile" not in changes and machine.varfile is None:
        changes["varfile"] = _beside(machine, context, "vars.fd")
    if isinstance(tpm := changes.get("tpm"), Tpm):
        changes["tpm"] = _with_path(tpm, machine, context)
    devices = emulations.complete(target.emulations, machine.name, context.user, context.uid)
    ordered = tuple((field, changes[field]) for field in Machine.fields if field in changes)
    return replace(target, emulations=devices, changes=ordered)


def _placed(faults: Iterable[Fault], text: str, context: Context) -> list[Fault]:
    """The faults with their file and line."""
    from vm_spec import lines

    find: Callable[[str], dict[Path, int]] = getattr(lines, context.syntax)
    known = find(text)
    return [
        replace(fault, file=context.file, line=lines.find(known, fault.path) or 0)
        for fault in faults
    ]
