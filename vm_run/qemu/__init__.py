"""QEMU: from a placed machine to its command line, and its start."""

from vm_run.qemu.argv import arguments, argv, needs

__all__ = ["arguments", "argv", "needs"]
