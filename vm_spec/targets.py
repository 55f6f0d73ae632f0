"""Which machine a target is: always the base with one target's differences, never more."""

from __future__ import annotations

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_spec.reader import nearest

if TYPE_CHECKING:
    from vm_spec.devices import Emulation
    from vm_spec.machine import Description, Machine, Target

__all__ = ["DEFAULT", "select"]

DEFAULT = "default"


def select(description: Description, target: str = DEFAULT) -> Machine:
    """The machine that a target is; "default" is the base, unless there is a target of that name.

    Raises:
        VmError: there is no such target.
    """
    for one in description.targets:
        if one.name == target:
            return _merged(description.machine, one)
    if target == DEFAULT:
        return description.machine
    names = [DEFAULT, *(one.name for one in description.targets)]
    close = nearest(target, names)
    hint = f"did you mean {close}?" if close else f"targets are: {', '.join(names)}"
    raise VmError(Fault(file=description.file, problem=f"there is no target {target}", hint=hint))


def _merged(base: Machine, target: Target) -> Machine:
    """The base's devices, less the removed, with replacements in place; then what is new."""
    own = {device.label: device for device in target.emulations}
    kept: list[Emulation] = [
        own.pop(device.label, device)
        for device in base.emulations
        if device.label not in target.remove or device.label in own
    ]
    changes = dict(target.changes) | {"emulations": (*kept, *own.values())}
    return replace(base, **changes)
