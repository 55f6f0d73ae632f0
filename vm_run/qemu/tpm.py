"""The Trusted Platform Module of QEMU, and what answers for it."""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.qemu.board import plug
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.board import Board
    from vm_spec.machine import Tpm

__all__ = ["tpm"]


def tpm(tpm: Tpm, board: Board) -> Iterator[Argument]:
    """The machine's TPM: who answers, and what the guest sees.

    Linux cannot cancel a command of a TPM 2.0: QEMU finds no file to do so with, and refuses to
    start unless it is told of one (Linux's Documentation/ABI/stable/sysfs-class-tpm).
    """
    if tpm.type == "swtpm":
        path = f"{board.folder}/swtpm.sock"
        yield argument("-chardev", options("socket", id="tpm", path=path), key="tpm")
        backend = options("emulator", id="tpm", chardev="tpm")
    else:
        path = tpm.path or "/dev/tpm0"
        backend = options("passthrough", id="tpm", path=path, cancel_path="/dev/null")
    yield argument("-tpmdev", backend, key="tpm")
    yield plug({"driver": f"tpm-{tpm.interface}", "tpmdev": "tpm"}, key="tpm")
