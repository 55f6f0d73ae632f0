"""bhyveload(8) and grub-bhyve: what puts a kernel into a VM without firmware.

Untested on FreeBSD. Source: bhyveload(8); the README of grub2-bhyve.
"""

from __future__ import annotations

import os
import select
import signal

from vm_run.bhyve import traces
from vm_run.program import Descriptors, start
from vm_run.resources import null_modem
from vm_spec.devices import AhciCd, Disk
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_state import statedir
from vm_state.platform import which
from vm_state.process import Process, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.pci_slots import Placed
    from vm_spec.machine import Machine

__all__ = ["Loading", "argv", "device_map", "load"]

UNAVAILABLE, INTERRUPTED = 69, 130
_ROOT = "hd0,msdos1"
_ENDS_S = 5.0  # a loader that does not end by SIGTERM for so long is killed
_HINTS = {
    "bhyveload": "FreeBSD's base system has it",
    "grub-bhyve": "sudo pkg install grub2-bhyve",
}


class Loading(Value):
    """What a loader works on.

    Attributes:
        placed: the machine.
        folder: its state folder.
        wired: whether its memory is wired: the loader and bhyve must agree on it.
        attached: whether "stdio" is this terminal.
    """

    placed: Placed
    folder: str
    wired: bool
    attached: bool

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.placed.machine

    @property
    def shown(self) -> bool:
        """Whether the loader has the terminal."""
        return self.attached and dict(self.machine.coms).get(1) == "stdio"


def argv(loading: Loading, program: str) -> list[str]:
    """The loader's command line, the program first and the VM's name last.

    Raises:
        VmError: there is no disk to load from (65).
    """
    machine = loading.machine
    bhyve = machine.bhyve
    words = _grub(loading) if bhyve.loader == "grub-bhyve" else _bhyveload(loading)
    return [program, *words, *bhyve.loader_args, machine.name]


def _bhyveload(loading: Loading) -> Iterator[str]:
    yield from ("-m", str(loading.machine.mem))
    yield from ("-d", _disks(loading.placed)[0][1])
    yield from ("-c", _console(loading) or "stdio")
    if loading.wired:
        yield "-S"


def _grub(loading: Loading) -> Iterator[str]:
    bhyve = loading.machine.bhyve
    yield from ("-m", f"{loading.folder}/device.map")
    yield from ("-M", str(loading.machine.mem))
    if loading.wired:
        yield "-S"
    if bhyve.grub_root or not bhyve.grub_commands:
        first = _disks(loading.placed)[0][0]
        yield from ("-r", bhyve.grub_root or (_ROOT if first == "hd0" else first))
    console = _console(loading)
    if console and not bhyve.grub_commands:  # they come from where a console would be
        yield from ("-c", console)


def _console(loading: Loading) -> str:
    """The device that is the first serial port's other end; empty for standard streams."""
    com = dict(loading.machine.coms).get(1, "stdio")
    if com in ("socket", "nmdm") or (com == "stdio" and 1 in dict(loading.machine.coms)):
        return "" if loading.shown else null_modem(loading.machine.name, 1, "A")
    return "" if com == "stdio" else str(com)


def device_map(placed: Placed) -> str:
    """What grub-bhyve calls each disk: the text of its device.map."""
    return "".join(f"({name}) {path}\n" for name, path in _disks(placed))


def _disks(placed: Placed) -> list[tuple[str, str]]:
    """GRUB's name and the path of each disk, the one that is loaded from first.

    Raises:
        VmError: there is none (65).
    """
    machine = placed.machine
    by_label = {str(device.label): device for device in machine.emulations}
    ordered = [by_label[label] for label in placed.boot if label in by_label]
    ordered += [device for device in machine.emulations if device not in ordered]
    found = [
        ("cd" if isinstance(device, AhciCd) else "hd", os.path.abspath(device.path))
        for device in ordered
        if isinstance(device, Disk | AhciCd)
    ]
    if machine.bhyve.loader_disk:
        chosen = os.path.abspath(machine.bhyve.loader_disk)
        kind = next((kind for kind, path in found if path == chosen), "hd")
        found = [(kind, chosen), *(one for one in found if one[1] != chosen)]
    if not found:
        hint = 'loader_disk = "web.img"'
        problem = f"{machine.bhyve.loader} has no disk to load from"
        raise VmError(Fault(problem=problem, hint=hint, path=("bhyve", "loader")))
    count = {"hd": 0, "cd": 0}
    named: list[tuple[str, str]] = []
    for kind, path in found:
        named.append((f"{kind}{count[kind]}", path))
        count[kind] += 1
    return named


def load(loading: Loading, given: Descriptors) -> None:
    """Runs the loader to its end.

    Args:
        loading: what it works on.
        given: what is open for bhyve: the terminal, and its log.

    Raises:
        VmError: it is not installed or fails (69), or a signal came meanwhile (130).
    """
    name = str(loading.machine.bhyve.loader)
    words = argv(loading, _program(name))
    if name == "grub-bhyve":
        statedir.replace_file(f"{loading.folder}/device.map", device_map(loading.placed))
    descriptors = Descriptors()
    try:
        _open(descriptors, loading, given)
        process = Process(start(words, descriptors), is_child=True)
    finally:
        descriptors.close()
    by = _watched(process)
    code = process.wait()
    process.close()
    if by:
        problem = f"{by}: {name} was stopped, before the guest ran"
        raise VmError(Fault(problem=problem), status=INTERRUPTED)
    if code:
        raise VmError(_failure(name, code, loading.folder), status=UNAVAILABLE)


def _program(name: str) -> str:
    path = which(name)
    if path is None:
        problem = f"{name} is not there, which [bhyve] loader names"
        raise VmError(Fault(problem=problem, hint=_HINTS[name]), status=UNAVAILABLE)
    return path


def _open(made: Descriptors, loading: Loading, given: Descriptors) -> None:
    """The terminal or nothing, or GRUB's commands; faults into the hypervisor's log."""
    commands = loading.machine.bhyve.grub_commands
    if loading.machine.bhyve.loader == "grub-bhyve" and commands:
        path = f"{loading.folder}/grub.in"
        statedir.replace_file(path, "".join(f"{line}\n" for line in commands))
        made.open(path, os.O_RDONLY, 0)
    elif loading.shown:
        made.add(given.fds[0], 0)
    else:
        made.open(os.devnull, os.O_RDONLY, 0)
    if loading.shown:
        made.add(given.fds[1], 1)
    else:
        made.open(os.devnull, os.O_WRONLY, 1)
    made.add(given.fds[2], 2)


def _watched(process: Process) -> str:
    """Waits until a loader has ended; the signal that ended it before its time, or nothing."""
    from vm_run.supervisor import Signals
    from vm_state.stop_request import SIGNALS

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signals = Signals()
    by: list[str] = []
    try:
        poll = select.poll()
        for fd in (process.fd, signals.fd):
            poll.register(fd, select.POLLIN)
        while not by and process.fd not in {fd for fd, _ in poll.poll()}:
            by = signals.take()
        if by:
            _end(process)
    finally:  # what comes from here on is for whoever listens next
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        by += signals.take()
        signals.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return next(iter(by), "")


def _end(process: Process) -> None:
    process.send(signal.SIGTERM)
    if not select.select([process.fd], [], [], _ENDS_S)[0]:
        process.send(signal.SIGKILL)
        select.select([process.fd], [], [])


def _failure(name: str, code: int, folder: str) -> Fault:
    start = traces.read(folder)
    lines = start.said(folder) if start else []
    said = next((line for line in reversed(lines) if line.strip()), "")
    ended = signal_name(-code) if code < 0 else f"exit status {code}"
    problem = ": ".join(filter(None, (name, ended, said)))
    return Fault(problem=problem, hint=f"read what it said: less {folder}/hypervisor.log")
