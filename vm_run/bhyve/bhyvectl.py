"""What is asked of a VM in FreeBSD's kernel, by bhyvectl(8) and pgrep(1). Untested on FreeBSD."""

from __future__ import annotations

import os
import subprocess

from vm_run.bhyve import vmm

__all__ = ["children", "destroy", "exists", "force_poweroff", "runner"]

_PATIENCE_S = 10  # a kernel that does not answer for so long has not done it


def exists(name: str) -> bool:
    """Whether the kernel has a VM of this name."""
    return os.path.exists(f"{vmm.NODES}/{name}")


def force_poweroff(name: str) -> bool:
    """Takes a VM's power away; whether that could be done."""
    return _ask(name, "--force-poweroff")


def destroy(name: str) -> bool:
    """Removes a VM from the kernel, which keeps it after most ends of bhyve; whether none is left.

    Source: bhyve(8), -D and -M: without them /dev/vmm/NAME stays after an end of bhyve.
    """
    return not exists(name) or _ask(name, "--destroy")


def runner(name: str) -> int:
    """The process in which a VM runs, whoever has started it; 0 for none that can be seen.

    Source: bhyverun.c, setproctitle(3): bhyve shows itself as `bhyve: NAME`.
    """
    if not exists(name):
        return 0
    pattern = f"bhyve: {name.replace('.', '[.]')}( \\(bhyve\\))?"
    return next(iter(_found("-fx", pattern)), 0)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return _found("-P", str(pid))


def _found(*words: str) -> list[int]:
    return [int(line) for line in (_run(["pgrep", *words]) or b"").split()]


def _ask(name: str, what: str) -> bool:
    return _run(["bhyvectl", f"--vm={name}", what]) is not None


def _run(argv: list[str]) -> bytes | None:
    """What a program printed; None when it is not there, fails, or does not end."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
