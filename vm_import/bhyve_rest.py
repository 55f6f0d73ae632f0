"""Where the keys of a configuration go for which there is no word: `[bhyve] config`, or `args`."""

from __future__ import annotations

import re

from vm_import.bhyve_model import DEFAULTS
from vm_run.bhyve import argv
from vm_run.bhyve.settings import escaped
from vm_run.pci_slots import place
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_spec.machine import Description

if TYPE_CHECKING:
    from vm_import.bhyve_config import Tree
    from vm_spec.machine import Machine

__all__ = ["settled"]

Keys = tuple[tuple[str, str], ...]

MOST_GROUPS = 64  # that are judged one by one

# what is judged together: a device, the TPM, all domains
GROUP = re.compile(r"pci\.[0-9]+\.[0-9]+\.[0-9]+|[^.]+", re.ASCII)


def settled(machine: Machine, left: Tree, notes: list[str]) -> Machine:
    """The machine with what is left, as bhyve has it; `%` means itself there, too.

    vm-run lets nothing through as a key that it knows bhyve to refuse, to cut off or to ignore.
    Such a command line ran all the same, so these go behind it, where nobody judges them.

    Args:
        machine: what our words say.
        left: what they do not say.
        notes: sentences for the user.
    """
    rest = {key: escaped(text) for key, text in left.items() if DEFAULTS.get(key) != text}
    kept = tuple(rest.items())
    if kept and not _runs(_with(machine, kept)):
        kept, groups = (), _groups(rest)
        for group in groups if len(groups) < MOST_GROUPS else ():
            kept += group if _runs(_with(machine, (*kept, *group))) else ()
    beside = {key: text for key, text in rest.items() if key not in dict(kept)}
    if beside:
        notes.append(f"In [bhyve] args, for vm-run would refuse it elsewhere: {', '.join(beside)}")
    passwords = [key for key in beside if key.endswith(".password")]
    notes += [f"Everybody who uses ps(1) on this host sees the {key}" for key in passwords]
    words = tuple(word for key, text in beside.items() for word in ("-o", f"{key}={text}"))
    return _with(machine, kept, words)


def _with(machine: Machine, config: Keys, words: tuple[str, ...] = ()) -> Machine:
    own = machine.bhyve
    return replace(machine, bhyve=replace(own, config=config, args=(*own.args, *words)))


def _groups(rest: Tree) -> list[Keys]:
    found: dict[str, Keys] = {}
    for key, text in rest.items():
        name = GROUP.match(key)
        at = name[0] if name else key
        found[at] = (*found.get(at, ()), (key, text))
    return [*found.values()]


def _runs(machine: Machine) -> bool:
    from vm_spec.decode import loads
    from vm_spec.encode import toml

    try:
        read = loads(toml(Description(machine=machine)))
        argv(place(read, read.machine))
    except VmError:
        return False
    return True
