"""QEMU: from a placed machine to its command line, and its start."""

from vm_run.qemu.line import arguments, argv

__all__ = ["arguments", "argv"]
