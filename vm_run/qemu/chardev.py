"""Character devices of QEMU: serial ports, the control sockets, the TPM's connection."""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.qemu.bus import plug
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.bus import Bus
    from vm_spec.machine import Com, Machine, Tpm

CONTROLS = ("qmp", "supervisor")


def serial(bus: Bus) -> Iterator[Argument]:
    """The serial ports com1 to com4, then those of `[qemu] serial`."""
    for number, com in bus.machine.coms:
        key = f"com{number}"
        yield argument("-chardev", _backend(number, com, bus), key=key)
        port = plug({"driver": "isa-serial", "index": number - 1, "chardev": key})
        yield argument(*port, key=key)
    for value in bus.machine.qemu.serial:
        yield argument("-serial", value, key="qemu.serial")


def _backend(number: int, com: Com, bus: Bus) -> str:
    """The host's end of a port, as -chardev takes it."""
    name = f"com{number}"
    log = f"{bus.directory}/{'console' if number == 1 else name}.log"
    logging = {"logfile": log, "logappend": True} if bus.resources.logged else {}
    if com == "stdio" and bus.resources.attached:
        return options("stdio", id=name, signal=False, mux=False, **logging)
    if com in ("stdio", "socket"):
        path = f"{bus.directory}/{name}.sock"
        return options("socket", id=name, path=path, server=True, wait=False, **logging)
    return options("serial", id=name, path=com, **logging)


def tpm(tpm: Tpm, bus: Bus) -> Iterator[Argument]:
    """The machine's TPM: its backend, and what the guest sees.

    Linux cannot cancel a command of a TPM 2.0: QEMU finds no file to do so with, and refuses to
    start without a cancel-path (Linux's Documentation/ABI/stable/sysfs-class-tpm).
    """
    if tpm.type == "swtpm":
        path = f"{bus.directory}/swtpm.sock"
        yield argument("-chardev", options("socket", id="tpm", path=path), key="tpm")
        backend = options("emulator", id="tpm", chardev="tpm")
    else:
        path = tpm.path or "/dev/tpm0"
        backend = options("passthrough", id="tpm", path=path, cancel_path="/dev/null")
    yield argument("-tpmdev", backend, key="tpm")
    yield argument(*plug({"driver": f"tpm-{tpm.interface}", "tpmdev": "tpm"}), key="tpm")


def control(bus: Bus) -> Iterator[Argument]:
    """The control sockets that are open already; a guest with one waits for `cont`."""
    fds = bus.resources.fds
    for name in CONTROLS:
        if name in fds:
            backend = options("socket", id=name, fd=fds[name], server=True, wait=False)
            yield argument("-chardev", backend)
            yield argument("-mon", options("", chardev=name, mode="control"))
    if "qmp" in fds and _has_unseen_screen(bus.machine):
        # A server of VNC that listens nowhere: a viewer comes through the control socket.
        yield argument("-vnc", "none", key="qemu.vga")
    gdb = bus.machine.gdb
    if gdb:
        address, _, port = gdb.removeprefix("w").rpartition(":")
        yield argument("-gdb", f"tcp:{address or '127.0.0.1'}:{port}", key="gdb")
    if any(name in fds for name in CONTROLS):
        yield argument("-S")
    elif gdb and gdb.startswith("w"):
        yield argument("-S", key="gdb")


def _has_unseen_screen(machine: Machine) -> bool:
    return not machine.graphic and machine.qemu.vga not in ("", "none")
