"""A placed machine -> a hypervisor that runs it.

Everything is opened and bound before the hypervisor exists and handed to it as descriptors, so
that there is nothing to wait for: its monitor can be written to before it is there to read.
"""

from __future__ import annotations

import _socket  # `import socket` costs 2 ms, for names that nobody here uses
import fcntl
import os

from vm_run import host
from vm_run.process import spawn
from vm_run.wiring import Wiring
from vm_spec.devices import Nic, Passthru
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.options import Options
    from vm_run.room import Room
    from vm_run.slots import Placed
    from vm_spec.machine import Machine

__all__ = ["Started", "hypervisor", "launch", "program"]

LOCK_FD, QMP_FD, SUPERVISOR_FD, PASSWORD_FD, MACVTAP_FD = 5, 7, 8, 9, 10
_ABOVE = 128  # our own descriptors are moved out of the way of the numbers given to the child


class Started:
    """A hypervisor that has just been started.

    Attributes:
        pid: its process id.
        argv: its command line.
        monitor: descriptor of our end of its QMP socket; None for bhyve.
        note: what the user should know of how it runs; empty for nothing.
    """

    def __init__(self, pid: int, argv: list[str], monitor: int | None, note: str = "") -> None:
        self.pid = pid
        self.argv = argv
        self.monitor = monitor
        self.note = note


class Descriptors:
    """What is opened for one start; all of it is closed again on our side."""

    def __init__(self) -> None:
        self.given: dict[int, int] = {}

    def give(self, ours: int, theirs: int) -> None:
        """Moves a descriptor of ours out of the way; the child gets it as `theirs`."""
        self.given[theirs] = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _ABOVE)

    def open(self, path: str, flags: int, theirs: int) -> None:
        """Opens a file for the child.

        Raises:
            VmError: it cannot be opened (69).
        """
        try:
            ours = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError as error:
            raise VmError(Fault(problem=f"{path}: {error.strerror}"), status=69) from None
        self.give(ours, theirs)
        os.close(ours)

    def close(self) -> None:
        """Closes our side."""
        for fd in self.given.values():
            os.close(fd)


def hypervisor(machine: Machine) -> str:
    """Which hypervisor runs a machine: what it says, else bhyve on FreeBSD and QEMU elsewhere."""
    return machine.hypervisor or ("bhyve" if host.is_bsd() else "qemu")


def launch(placed: Placed, room: Room, options: Options) -> Started:
    """Starts the hypervisor of a placed machine.

    Raises:
        VmError: the hypervisor is not installed or cannot be started (69), or cannot do what the
            machine asks for (65), or what cloud-init reads cannot be made (69, 74).
    """
    descriptors = Descriptors()
    try:
        _streams(placed.machine, room, options, descriptors)
        note = _seed(placed.machine, room)
        start = _bhyve if hypervisor(placed.machine) == "bhyve" else _qemu
        started = start(placed, room, options, descriptors)
        started.note = "; ".join(filter(None, (started.note, note)))
        return started
    finally:
        descriptors.close()


def _seed(machine: Machine, room: Room) -> str:
    """The disk that cloud-init reads is made anew; what to say of it."""
    if machine.cloud_init is None:
        return ""
    from vm_run.seed import make

    return make(machine, room.folder)


def _streams(machine: Machine, room: Room, options: Options, descriptors: Descriptors) -> None:
    """Standard streams: the terminal for a console on it, else nothing; faults into the log."""
    attached = not options.detached and _wants_terminal(machine)
    if attached and not options.terminal:
        descriptors.give(0, 0)
    else:
        descriptors.open(options.terminal if attached else os.devnull, os.O_RDWR, 0)
    if options.detached:
        descriptors.open(os.devnull, os.O_WRONLY, 1)
    else:
        descriptors.give(1, 1)
    log = f"{room.folder}/hypervisor.log"
    descriptors.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2)
    if room.lock:
        descriptors.give(room.lock.fd, LOCK_FD)


def _wants_terminal(machine: Machine) -> bool:
    return any(com == "stdio" for _, com in machine.coms) or bool(
        machine.qemu.serial or machine.qemu.args
    )


def _start(argv: list[str], descriptors: Descriptors) -> int:
    try:
        return spawn(argv, descriptors.given, os.environ)
    except OSError as error:
        problem = f"{argv[0]} cannot be started: {error.strerror}"
        raise VmError(Fault(problem=problem), status=69) from None


def program(machine: Machine) -> str:
    """The path of the program that runs a machine: $QEMU_BIN, $BHYVE_BIN, or the usual one.

    Raises:
        VmError: it is not installed (69).
    """
    if hypervisor(machine) == "bhyve":
        variable, default, hint = "BHYVE_BIN", "bhyve", "FreeBSD's base system has it"
    else:
        variable, default = "QEMU_BIN", "/usr/bin/qemu-system-x86_64"
        hint = "Debian: sudo apt install qemu-system-x86"
    name = os.environ.get(variable) or default
    path = host.program(name)
    if path is None:
        hint = f"install it ({hint}), or set {variable}"
        there = "is no program that you may run" if os.path.exists(name) else "is not there"
        raise VmError(Fault(problem=f"{name} {there}", hint=hint), status=69)
    return path


def _bhyve(placed: Placed, room: Room, options: Options, descriptors: Descriptors) -> Started:
    """Untested on FreeBSD."""
    from vm_run import bhyve, bhyvectl

    binary = program(placed.machine)
    if options.force:
        bhyvectl.destroy(placed.machine.name)
    _firmware(placed.machine)
    wiring = Wiring(state=room.folder, attached=not options.detached, pci=_looked_up(placed))
    *argv, name = bhyve.argv(placed, wiring, binary)
    argv += [*options.extra, name]
    return Started(_start(argv, descriptors), argv, None)


def _qemu(placed: Placed, room: Room, options: Options, descriptors: Descriptors) -> Started:
    from vm_run import qemu

    binary = program(placed.machine)
    wiring = Wiring(
        accel=host.accelerators(),
        firmware=_firmware(placed.machine),
        state=room.folder,
        logged=True,
        attached=not options.detached,
        vhost=os.access("/dev/vhost-net", os.R_OK | os.W_OK),
        fds=_descriptors(placed.machine, room, descriptors),
        pci=_looked_up(placed),
    )
    argv = [*qemu.argv(placed, wiring, binary), *options.extra]
    monitor = _greeted(f"{room.folder}/supervisor.sock", placed.machine)
    return Started(_start(argv, descriptors), argv, monitor, _accelerated(placed.machine, wiring))


def _accelerated(machine: Machine, wiring: Wiring) -> str:
    """What to say when the guest runs without the processor's help."""
    if machine.qemu.accel or wiring.accel == ("kvm",):
        return ""
    return "KVM does not work here, so the guest is emulated (TCG), which is slower"


def _firmware(machine: Machine) -> str:
    """The host's firmware, if it is asked for; the VM's own variables are made when missing."""
    if machine.bootrom != "uefi":
        return ""
    from vm_run import firmware

    code, template = firmware.find()
    if machine.varfile and not os.path.exists(machine.varfile):
        firmware.make_variables(template, machine.varfile)
    return code


def _looked_up(placed: Placed) -> dict[str, str]:
    return {
        device.label: host.pci_address((device.lookup.vendor, device.lookup.device))
        for device in placed.machine.emulations
        if isinstance(device, Passthru) and device.lookup
    }


def _descriptors(machine: Machine, room: Room, descriptors: Descriptors) -> dict[str, int]:
    """What QEMU is given open: its monitors, a VNC password, macvtaps."""
    fds = {"qmp": QMP_FD, "supervisor": SUPERVISOR_FD}
    for name, theirs in fds.items():
        listener = _listening(f"{room.folder}/{name}.sock")
        descriptors.give(listener.fileno(), theirs)
        listener.close()
    if machine.graphic and machine.graphic.password:
        fds["vnc-password"] = PASSWORD_FD
        _give_secret(machine.graphic.password, descriptors)
    macvtaps = (d for d in machine.emulations if isinstance(d, Nic) and d.backend == "macvtap")
    for theirs, card in enumerate(macvtaps, MACVTAP_FD):
        fds[card.label] = theirs
        descriptors.open(host.macvtap_node(card.name or ""), os.O_RDWR, theirs)
    return fds


def _listening(path: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX)
    if os.path.lexists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen(8)
    return listener


def _greeted(path: str, machine: Machine) -> int:
    """A connection to a monitor that does not run yet; what it reads first is there already.

    A guest starts only after its supervisor is listening, so no event is ever lost; one that
    waits for a debugger is started by that.
    """
    waits = machine.gdb is not None and machine.gdb.startswith("w")
    monitor = _socket.socket(_socket.AF_UNIX)
    monitor.connect(path)
    monitor.sendall(b'{"execute":"qmp_capabilities"}' + (b"" if waits else b'{"execute":"cont"}'))
    return monitor.detach()


def _give_secret(secret: str, descriptors: Descriptors) -> None:
    """Hands over a short secret through a pipe: it is on no disk and on no command line."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.write(write, secret.encode())
    os.close(write)
    descriptors.give(read, PASSWORD_FD)
    os.close(read)
