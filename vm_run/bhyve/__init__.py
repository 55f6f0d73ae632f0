"""bhyve: from a placed machine to its command line, and its life on FreeBSD."""

from vm_run.bhyve.line import arguments, argv

__all__ = ["arguments", "argv"]
