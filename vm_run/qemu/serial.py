"""Serial ports of QEMU, and the host's ends of them."""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.qemu.board import plug
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.board import Board
    from vm_spec.machine import Com, Machine

__all__ = ["control", "serial"]

CONTROLS = ("qmp", "supervisor")


def serial(board: Board) -> Iterator[Argument]:
    """The serial ports com1 to com4, then those in QEMU's own words."""
    for number, com in board.machine.coms:
        key = f"com{number}"
        yield argument("-chardev", _end(number, com, board), key=key)
        yield plug({"driver": "isa-serial", "index": number - 1, "chardev": key}, key=key)
    for text in board.machine.qemu.serial:
        yield argument("-serial", text, key="qemu.serial")


def _end(number: int, com: Com, board: Board) -> str:
    """The host's end of a port, as -chardev takes it."""
    name = f"com{number}"
    log = f"{board.folder}/{'console' if number == 1 else name}.log"
    logging = {"logfile": log, "logappend": True} if board.wiring.logged else {}
    if com == "stdio" and board.wiring.attached:
        return options("stdio", id=name, signal=False, mux=False, **logging)
    if com in ("stdio", "socket"):
        path = f"{board.folder}/{name}.sock"
        return options("socket", id=name, path=path, server=True, wait=False, **logging)
    return options("serial", id=name, path=com, **logging)


def control(board: Board) -> Iterator[Argument]:
    """The control sockets that are open already; a guest with one waits until it is told to go."""
    fds = board.wiring.fds
    for name in CONTROLS:
        if name in fds:
            end = options("socket", id=name, fd=fds[name], server=True, wait=False)
            yield argument("-chardev", end)
            yield argument("-mon", options("", chardev=name, mode="control"))
    if "qmp" in fds and _has_unseen_screen(board.machine):
        # A server of VNC that listens nowhere: a viewer comes through the control socket.
        yield argument("-vnc", "none", key="qemu.vga")
    gdb = board.machine.gdb
    if gdb:
        yield argument("-gdb", f"tcp:{_debugger(gdb)}", key="gdb")
    if any(name in fds for name in CONTROLS):
        yield argument("-S")
    elif gdb and gdb.startswith("w"):
        yield argument("-S", key="gdb")


def _has_unseen_screen(machine: Machine) -> bool:
    return not machine.graphic and machine.qemu.vga not in ("", "none")


def _debugger(gdb: str) -> str:
    address, _, port = gdb.removeprefix("w").rpartition(":")
    return f"{address or '127.0.0.1'}:{port}"
