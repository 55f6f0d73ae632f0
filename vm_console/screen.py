"""The way to a running VM's screen, for its user alone.

QEMU is handed one end of a pair of sockets through its monitor, which is in a folder of the
user's own: no port is opened for it, and no password needed. bhyve has only the VNC port of the
description.
"""

from __future__ import annotations

import socket

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, is_table
from vm_state import statedir
from vm_state.qmp import Qmp

if TYPE_CHECKING:
    from vm_state.statedir import Record

__all__ = ["NO_SCREEN", "is_of_bhyve", "missing", "reach"]

NO_SCREEN, _REFUSED = 66, 74
TIMEOUT_S = 5.0
_NAME = "viewer"


def is_of_bhyve(record: Record) -> bool:
    """Whether what runs is bhyve's."""
    return record.get("hypervisor") == "bhyve"


def reach(name: str) -> socket.socket:
    """A new connection to the VNC server of a running VM; it has a timeout of 5 seconds.

    Raises:
        VmError: it has no screen (66), takes no viewer (74), or does not answer (75).
    """
    folder = statedir.folder(name)
    record = statedir.read(folder)
    if is_of_bhyve(record):
        return _over_tcp(name, record)
    qmp = Qmp.connect(f"{folder}/qmp.sock", TIMEOUT_S)
    try:
        return _handed(qmp, name)
    except OSError as error:
        raise _silent(name, error) from None
    finally:
        qmp.close()


def _handed(qmp: Qmp, name: str) -> socket.socket:
    """Our end of a pair whose other end QEMU has taken for a viewer.

    Source: qemu-qmp-ref(7), getfd, add_client.
    """
    try:
        has_vnc = bool(qmp.ask("query-vnc-servers", TIMEOUT_S))
    except VmError:  # a QEMU that was built without VNC
        has_vnc = False
    if not has_vnc:
        raise missing(name)
    ours, theirs = socket.socketpair()
    try:
        qmp.give(theirs.fileno(), _NAME)
        # skipauth: whoever is at this monitor may do more than a viewer's password allows.
        qmp.ask("add_client", TIMEOUT_S, protocol="vnc", fdname=_NAME, skipauth=True)
    except VmError as error:
        ours.close()
        raise VmError(*error.faults, status=_REFUSED) from None
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.settimeout(TIMEOUT_S)
    return ours


def _over_tcp(name: str, record: Record) -> socket.socket:
    outline: object = record.get("outline")
    address = str(outline.get("vnc", "")) if is_table(outline) else ""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise missing(name)
    try:
        return socket.create_connection((_near(host.strip("[]")), int(port)), TIMEOUT_S)
    except OSError as error:
        raise _silent(name, error) from None


def _near(host: str) -> str:
    """Where one connects to what listens on every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared


def missing(name: str) -> VmError:
    """What is said of a VM that has no screen."""
    return VmError(
        Fault(problem=f"{name} has no screen", hint="give it one: [graphic], and start it again"),
        status=NO_SCREEN,
    )


def _silent(name: str, error: OSError) -> VmError:
    problem = f"the screen of {name} does not answer: {error.strerror or error}"
    return VmError(Fault(problem=problem), status=statedir.BUSY)
