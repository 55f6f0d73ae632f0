"""bhyve's command line, in the `-s` and `-l` form that each of its versions takes.

Untested on FreeBSD: written from bhyve(8), its sources and `tests/run/test_bhyve_config.py`'s
records of its own parser. A `%` in the description's texts is escaped for bhyve 13.1 and later.
"""

from __future__ import annotations

from vm_run.argument import argument, words
from vm_run.bhyve_board import whole
from vm_run.bhyve_settings import split_by_commas
from vm_run.wiring import NOMINAL
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.bhyve_devices import Emulated
    from vm_run.slots import Placed
    from vm_run.wiring import Wiring

__all__ = ["argv", "arguments", "keys_alone", "slot"]


def argv(placed: Placed, wiring: Wiring = NOMINAL, binary: str = "bhyve") -> list[str]:
    """The whole command line, the program first and the VM's name last.

    Raises:
        VmError: see `arguments`.
    """
    return [binary, *words(arguments(placed, wiring))]


def arguments(placed: Placed, wiring: Wiring = NOMINAL) -> list[Argument]:
    """What follows the program: flags, devices by slot, `-l`, `-o`, the user's own, the name.

    The order counts: a later option wins, but `-s` on a slot that `-o` has named is refused, and
    nothing may follow the name.

    Raises:
        VmError: bhyve has not what the description asks for, or a value has a comma.
    """
    told = whole(placed, wiring, split_by_commas)
    return [
        *(argument(*one.words, key=one.of) for one in told.before),
        *(slot(device) for device in told.devices),
        *(argument(*one.words, key=one.of) for one in told.after),
        *(one for device in told.devices for one in keys_alone(device)),
        *(argument(*one.words, key=one.of) for one in told.last),
    ]


def slot(device: Emulated) -> Argument:
    """A device's `-s`."""
    said = (word for setting in device.settings for word in setting.words)
    return argument("-s", ",".join((str(device.slot), device.name, *said)), key=device.of)


def keys_alone(device: Emulated) -> Iterator[Argument]:
    """A device's keys that `-s` cannot say: `-o`, of which bhyve knows from 13.1 on."""
    for setting in device.settings:
        if not setting.words:
            for key, text in setting.keys:
                yield argument("-o", f"{device.node}{key}={text}", key=device.of)
