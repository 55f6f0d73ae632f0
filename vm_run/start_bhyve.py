"""A placed machine -> a bhyve that runs it. Untested on FreeBSD."""

from __future__ import annotations

from vm_run import bhyve, bhyvectl
from vm_run.host_ends import looked_up, own_firmware
from vm_run.program import program
from vm_run.starting import Started, start
from vm_run.wiring import Wiring
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.options import Options
    from vm_run.room import Room
    from vm_run.slots import Placed
    from vm_run.starting import Descriptors

__all__ = ["started"]


def started(placed: Placed, room: Room, options: Options, descriptors: Descriptors) -> Started:
    """Starts bhyve.

    Raises:
        VmError: it is not installed or cannot be started (69), or cannot do what the machine asks
            for (65).
    """
    binary = program(placed.machine)
    if options.force:
        bhyvectl.destroy(placed.machine.name)
    own_firmware(placed.machine)
    wiring = Wiring(state=room.folder, attached=not options.detached, pci=looked_up(placed))
    *argv, name = bhyve.argv(placed, wiring, binary)
    argv += [*options.extra, name]
    return Started(start(argv, descriptors), argv, None)
