"""A placed machine -> a QEMU that runs it.

Its monitor is bound and written to before it is there to read, so that there is nothing to wait
for.
"""

from __future__ import annotations

import _socket  # `import socket` costs 2 ms, for names that nobody here uses
import os

from vm_run import qemu
from vm_run.host import linux
from vm_run.host.resolve import looked_up, own_firmware
from vm_run.program import Started, listen, program, start
from vm_run.wiring import Wiring
from vm_spec.devices import Nic
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.claim import Claim
    from vm_run.options import Options
    from vm_run.pci_slots import Placed
    from vm_run.program import Descriptors
    from vm_spec.machine import Machine

__all__ = ["started"]

QMP_FD, SUPERVISOR_FD, PASSWORD_FD, MACVTAP_FD = 7, 8, 9, 10


def started(placed: Placed, claim: Claim, options: Options, descriptors: Descriptors) -> Started:
    """Starts QEMU.

    Raises:
        VmError: it is not installed or cannot be started (69), or cannot do what the machine asks
            for (65).
    """
    binary = program(placed.machine)
    wiring = Wiring(
        accel=linux.accelerator(),
        firmware=own_firmware(placed.machine),
        state=claim.directory,
        logged=True,
        attached=not options.detached,
        vhost=_has_tap(placed.machine) and linux.opens("/dev/vhost-net"),
        fds=_descriptors(placed.machine, claim, descriptors),
        pci=looked_up(placed),
    )
    argv = [*qemu.argv(placed, wiring, binary), *options.extra]
    monitor = _greeted(f"{claim.directory}/supervisor.sock", placed.machine)
    return Started(start(argv, descriptors), argv, monitor, _accelerated(placed.machine, wiring))


def _has_tap(machine: Machine) -> bool:
    nics = (device for device in machine.emulations if isinstance(device, Nic))
    return any(nic.backend in ("tap", "macvtap") for nic in nics)


def _accelerated(machine: Machine, wiring: Wiring) -> str:
    """What to say when the guest runs without the processor's help."""
    if machine.qemu.accel or machine.qemu.needs_kvm or wiring.accel == "kvm":
        return ""
    return "KVM does not work here, so the guest is emulated (TCG), which is slower"


def _descriptors(machine: Machine, claim: Claim, descriptors: Descriptors) -> dict[str, int]:
    """What QEMU is given open: its monitors, a VNC password, macvtaps."""
    fds = {"qmp": QMP_FD, "supervisor": SUPERVISOR_FD}
    for name, theirs in fds.items():
        listener = listen(f"{claim.directory}/{name}.sock")
        descriptors.add(listener.fileno(), theirs)
        listener.close()
    if machine.graphic and machine.graphic.password:
        fds["vnc-password"] = PASSWORD_FD
        _give_secret(machine.graphic.password, descriptors)
    macvtaps = (d for d in machine.emulations if isinstance(d, Nic) and d.backend == "macvtap")
    for theirs, card in enumerate(macvtaps, MACVTAP_FD):
        fds[card.label] = theirs
        descriptors.open(linux.macvtap_node(card.name or ""), os.O_RDWR, theirs)
    return fds


def _greeted(path: str, machine: Machine) -> int:
    """A connection to a monitor that does not run yet; what it reads first is there already.

    A guest starts only after its supervisor is listen, so no event is ever lost; one that
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
    descriptors.add(read, PASSWORD_FD)
    os.close(read)
