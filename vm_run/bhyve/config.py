"""The same machine as the flat lines of bhyve_config(5), for `bhyve -k FILE`.

Untested on FreeBSD. The file's parser trims nothing, so the lines are exact. A file that only its
user can read keeps a VNC password off the command line.
"""

from __future__ import annotations

from vm_run.argument import words
from vm_run.bhyve.board import whole
from vm_run.bhyve.settings import unwritable
from vm_run.resources import NOMINAL
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vm_run.bhyve.board import Whole
    from vm_run.pci_slots import Placed
    from vm_run.resources import Resources

__all__ = ["beside", "config", "flat", "secret"]


def config(placed: Placed, resources: Resources = NOMINAL) -> list[tuple[str, str]]:
    """Keys and values, in order; of a key given twice the later counts, as in bhyve.

    What has no key is left out: see `beside`.

    Raises:
        VmError: bhyve has not what the description asks for, or a value has a line break.
    """
    return list(_keys(whole(placed, resources, unwritable)))


def beside(placed: Placed, resources: Resources = NOMINAL) -> list[str]:
    """The arguments that must follow `-k FILE`, for they have no key: unknown devices, own words.

    Raises:
        VmError: see `config`.
    """
    return _beside(whole(placed, resources, unwritable))


def secret(placed: Placed, resources: Resources = NOMINAL) -> str:
    """The text of `secret.conf`, which a command line names by `-k`; empty when it names none.

    Raises:
        VmError: see `config`.
    """
    told = whole(placed, resources, lambda setting: unwritable(setting) if setting.secret else ())
    return _text(told.secrets())


def flat(placed: Placed, resources: Resources = NOMINAL, extra: Sequence[str] = ()) -> str:
    """The text of the file; comments name what is not in it, and what is secret in it.

    Args:
        placed: the machine.
        resources: the host's resources.
        extra: further arguments of the command line.

    Raises:
        VmError: see `config`.
    """
    told = whole(placed, resources, unwritable)
    comments = ""
    if also := [*_beside(told), *extra]:
        import shlex  # rarely needed, and not cheap

        line = printable(shlex.join(["bhyve", "-k", "FILE", *also]))
        comments += f"# not in this file: {line}\n"
    if told.secret_of:
        comments += "# A password is in this file: let nobody else read it (chmod 600).\n"
    return comments + _text(_keys(told))


def _text(keys: Iterator[tuple[str, str]]) -> str:
    return "".join(f"{key}={text}\n" for key, text in keys)


def _keys(told: Whole) -> Iterator[tuple[str, str]]:
    for setting in told.before:
        yield from setting.keys
    for device in told.devices:
        for key, text in device.keys:
            yield device.node + key, text
    for setting in (*told.after, *told.last):
        yield from setting.keys


def _beside(told: Whole) -> list[str]:
    unknown = (device for device in told.devices if not device.keys)
    raw = (one for device in unknown for one in (*device.slots(), *device.options()))
    own = (word for setting in told.last if not setting.keys for word in setting.words)
    return [*words(raw), *own]
