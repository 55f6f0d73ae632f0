"""A placed machine -> a QEMU that runs it.

Its monitor is bound and written to before QEMU exists to read it, so that nothing waits.
"""

from __future__ import annotations

import _socket  # `import socket` costs 2 ms, for names that are not used here
import os

from vm_run import qemu
from vm_run.firmware import own_firmware
from vm_run.host import linux
from vm_run.host.check import look_up
from vm_run.program import Started, listen, program, start
from vm_run.qemu.devices import PASSWORD_FD
from vm_run.qemu.net import FIRST_FD, macvtaps
from vm_run.resources import Resources
from vm_spec.devices import Nic
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.claim import Claim
    from vm_run.options import Options
    from vm_run.pci_slots import Placed
    from vm_run.program import Descriptors
    from vm_spec.machine import Machine

CONTROL_FDS = {"qmp": 7, "supervisor": 8}


def started(placed: Placed, claim: Claim, options: Options, descriptors: Descriptors) -> Started:
    """Starts QEMU.

    Raises:
        VmError: it is not installed or cannot be started (69), or cannot do what the machine asks
            for (65).
    """
    machine = placed.machine
    binary = program(machine)
    resources = Resources(
        accel="kvm" if linux.kvm_works() else "tcg",
        firmware=own_firmware(machine),
        state=claim.directory,
        logged=True,
        attached=not options.detached,
        vhost=_has_tap(machine) and linux.opens("/dev/vhost-net"),
        fds=_descriptors(machine, claim, descriptors),
        pci=look_up(placed),
    )
    argv = [*qemu.argv(placed, resources, binary), *options.extra]
    monitor = _greet(f"{claim.directory}/supervisor.sock", machine)
    return Started(start(argv, descriptors), argv, monitor, _warn_of_tcg(machine, resources))


def _has_tap(machine: Machine) -> bool:
    nics = (device for device in machine.emulations if isinstance(device, Nic))
    return any(nic.backend in ("tap", "macvtap") for nic in nics)


def _warn_of_tcg(machine: Machine, resources: Resources) -> str:
    if machine.qemu.accel or machine.qemu.needs_kvm or resources.accel == "kvm":
        return ""
    return "KVM does not work here, so the guest is emulated (TCG), which is slower"


def _descriptors(machine: Machine, claim: Claim, descriptors: Descriptors) -> dict[str, int]:
    """Opens what QEMU inherits: its monitors, a VNC password, macvtaps; name -> descriptor."""
    fds = dict(CONTROL_FDS)
    for name, theirs in CONTROL_FDS.items():
        listener = listen(f"{claim.directory}/{name}.sock")
        descriptors.add(listener.fileno(), theirs)
        listener.close()
    if machine.graphic and machine.graphic.password:
        fds["vnc-password"] = PASSWORD_FD
        _pass_secret(machine.graphic.password, descriptors)
    for theirs, nic in enumerate(macvtaps(machine), FIRST_FD):
        fds[nic.label] = theirs
        descriptors.open(linux.macvtap_node(nic.name or ""), os.O_RDWR, theirs)
    return fds


def _greet(path: str, machine: Machine) -> int:
    """Connects to a monitor that does not run yet, and writes what it reads first.

    A guest starts only after its supervisor is listening, so no event is ever lost; one that
    waits for a debugger is started by that.
    """
    waits = machine.gdb is not None and machine.gdb.startswith("w")
    monitor = _socket.socket(_socket.AF_UNIX)
    monitor.connect(path)
    monitor.sendall(b'{"execute":"qmp_capabilities"}' + (b"" if waits else b'{"execute":"cont"}'))
    return monitor.detach()


def _pass_secret(secret: str, descriptors: Descriptors) -> None:
    """Hands over a short secret through a pipe: it is on no disk and on no command line."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.write(write, secret.encode())
    os.close(write)
    descriptors.add(read, PASSWORD_FD)
    os.close(read)
