"""Whether the ports and paths that a hypervisor is to listen at are free."""

from __future__ import annotations

import os
import shlex
import socket
import stat

from vm_run.host.requirements import fault
from vm_spec.frozen import TYPE_CHECKING
from vm_state.statedir import longest_socket

if TYPE_CHECKING:
    from vm_run.host.requirements import FreeSocket, Port
    from vm_spec.fault import Fault

__all__ = ["is_leftover", "port", "unix"]


def port(need: Port) -> Fault | None:
    """What is in the way of a port; None when it is free."""
    kind = socket.SOCK_STREAM if need.protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in need.address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((need.address, need.port))
        except (OSError, UnicodeError) as error:  # idna refuses some words with the second
            why = getattr(error, "strerror", None) or "is no address"
            problem = f"{need.protocol} port {need.port} of {need.address}: {why}"
            return fault(need, problem, "choose another port")
    return None


def unix(need: FreeSocket, vm: str) -> Fault | None:
    """What is in the way of a socket at a path; None when one can be made there."""
    folder = os.path.dirname(need.path) or "."
    if not os.path.isdir(folder):
        return fault(need, f"{folder}: no folder")
    if len(os.fsencode(need.path)) > longest_socket():
        return fault(need, f"{need.path} is too long a path for a socket", "choose a shorter one")
    if not os.path.lexists(need.path):
        writable = os.access(folder, os.W_OK | os.X_OK)
        return None if writable else fault(need, f"{folder} is not yours to write to")
    if not stat.S_ISSOCK(os.lstat(need.path).st_mode):
        return fault(need, f"{need.path} is there and is no socket", "choose another path")
    if _answers(need.path):
        return fault(need, f"somebody listens at {need.path}", "choose another path")
    hint = f"rm {shlex.quote(need.path)}; or vm-run --fix {vm}"
    return fault(need, f"{need.path} is left over", hint)


def is_leftover(path: str) -> bool:
    """Whether a path is a socket that nobody listens at."""
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode) and not _answers(path)
    except OSError:
        return False


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)  # a listener that is busy makes others wait
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # another's, or of another kind: that is no leftover of ours
            return True
    return True
