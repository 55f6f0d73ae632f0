"""A port of this host that leads to a guest's ssh, and to no other guest's."""

from __future__ import annotations

import contextlib
import os
import re
import socket

from vm_pull.hardware.hardware import plain
from vm_spec.devices import Nic
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.library import load, names, read
from vm_spec.targets import select
from vm_state.lock import take

if TYPE_CHECKING:
    from collections.abc import Generator

    from vm_spec.machine import Description, Machine

__all__ = ["LOCK", "can_be_bound", "reserved", "taken"]

LOCK = ".ports.lock"
FIRST = 2222  # Vagrant's own
_LAST = 65535
_CANNOT, _NONE_FREE = 74, 69
_FORWARD = re.compile(r"\b([0-9]{1,5}):[0-9]{1,5}(?![0-9.:])", re.ASCII)


@contextlib.contextmanager
def reserved(confdir: str) -> Generator[int]:
    """A port from 2222 up that no description in a folder forwards and that nobody listens on.

    Until the context is left nobody else gets one for this folder, whatever host shares it: put
    the new description there before.

    Args:
        confdir: the folder of descriptions.

    Raises:
        VmError: the folder cannot be written to (74), or no port is free (69).
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        lock = os.open(f"{confdir}/{LOCK}", flags, 0o600)
    except OSError as error:
        raise _unlockable(confdir, error) from None
    try:
        try:
            take(lock, wait=True)
        except OSError as error:
            raise _unlockable(confdir, error) from None
        yield _free(taken(confdir))
    finally:
        os.close(lock)  # the file stays: to remove it would let two hold two files of one name


def taken(confdir: str) -> set[int]:
    """The ports that descriptions in a folder forward, or show a screen on.

    Of one that cannot be read as a description, every text is taken that looks like a forward.
    """
    found: set[int] = set()
    for _, file in names(confdir):
        try:
            found |= _of(load(file))
        except (VmError, OSError):
            found |= _likely(file)
    return found


def _of(description: Description) -> set[int]:
    others = (select(description, target.name) for target in description.targets)
    return _machine(description.machine).union(*map(_machine, others))


def _machine(machine: Machine) -> set[int]:
    cards = (device for device in machine.emulations if isinstance(device, Nic))
    screen = {machine.graphic.port} if machine.graphic else set[int]()
    return screen | {forward.port for card in cards for forward in card.forward}


def _likely(file: str) -> set[int]:
    try:
        return {int(port) for port in _FORWARD.findall(read(file))}
    except (VmError, OSError):
        return set()


def _free(used: set[int]) -> int:
    for port in range(FIRST, _LAST + 1):
        if port not in used and can_be_bound(port):
            return port
    problem = f"no port of 127.0.0.1 from {FIRST} up is free for a guest's ssh"
    raise VmError(Fault(problem=problem, hint="ss -ltn shows who has them"), status=_NONE_FREE)


def can_be_bound(port: int) -> bool:
    """Whether nobody has a port of 127.0.0.1, now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _unlockable(confdir: str, error: OSError) -> VmError:
    problem = f"{plain(confdir)}/{LOCK} cannot be locked: {error.strerror or error}"
    hint = "set VMCONF_DIR to a folder that you can write to"
    return VmError(Fault(problem=problem, hint=hint), status=_CANNOT)
