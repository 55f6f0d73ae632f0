"""bhyve's command line: `-s` and `-l`, which each of its versions takes, `-o` where these cannot.

Untested on FreeBSD: written from bhyve(8), its sources and `tests/run/test_bhyve_config.py`'s
records of its own parser. A `%` in the description's texts is escaped for bhyve 13.1 and later.
"""

from __future__ import annotations

from vm_run.argument import argument, words
from vm_run.bhyve.board import whole
from vm_run.bhyve.settings import unwritable
from vm_run.resources import NOMINAL
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.bhyve.board import Whole
    from vm_run.bhyve.settings import Setting
    from vm_run.pci_slots import Placed
    from vm_run.resources import Resources
    from vm_spec.fault import Fault

__all__ = ["argv", "arguments"]


def argv(placed: Placed, resources: Resources = NOMINAL, binary: str = "bhyve") -> list[str]:
    """The whole command line, the program first and the VM's name last.

    Raises:
        VmError: see `arguments`.
    """
    return [binary, *words(arguments(placed, resources))]


def arguments(placed: Placed, resources: Resources = NOMINAL) -> list[Argument]:
    """What follows the program: flags, devices by slot, `-l`, `-k`, `-o`, the user's own, the name.

    The order counts: a later option wins, but `-s` on a slot that has keys is refused, and nothing
    may follow the name. What nobody else may see is in the file of `-k`: `bhyve_config.secret`.

    Raises:
        VmError: bhyve has not what the description asks for.
    """
    told = whole(placed, resources, _kept)
    return [
        *_arguments(told.before),
        *(one for device in told.devices for one in device.slots()),
        *_arguments(told.after),
        *_file(told, resources.directory(placed.machine.name)),
        *(one for device in told.devices for one in device.options()),
        *_arguments(told.last),
    ]


def _arguments(settings: tuple[Setting, ...]) -> Iterator[Argument]:
    return (argument(*one.words, key=one.of) for one in settings if not one.secret)


def _kept(setting: Setting) -> Iterator[Fault]:
    """A command line carries everything, but for what goes into a file."""
    if setting.secret:
        yield from unwritable(setting)


def _file(told: Whole, folder: str) -> Iterator[Argument]:
    of = told.secret_of
    if of:
        yield argument("-k", f"{folder}/secret.conf", key=of)
