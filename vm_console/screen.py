"""The screen of a running VM: a viewer's connection to it, and a screenshot of it.

QEMU takes a viewer's socket through its monitor, which is in the user's own state directory: no
port is opened for it and no password is needed. bhyve has only the VNC port of the description.
"""

from __future__ import annotations

import os
import socket
import stat

from vm_console.consoles import running
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import is_table
from vm_state import statedir
from vm_state.qmp import Qmp
from vm_state.record import Record

_VIEWER = "viewer"


def vnc_address(record: Record) -> str:
    """The HOST:PORT where bhyve's VNC server listens; empty for QEMU, and without a screen."""
    summary: object = record.get("outline")
    if record.get("hypervisor") != "bhyve" or not is_table(summary):
        return ""
    host, _, port = str(summary.get("vnc", "")).rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  compared
    return f"{host}:{port}" if port.isdecimal() else ""


def check_screen(name: str, record: Record) -> None:
    """Refuses a VM without a screen.

    Raises:
        VmError: it has no screen (66), or the monitor does not answer (75).
    """
    if record.get("hypervisor") == "bhyve":
        if not vnc_address(record):
            raise _no_screen(name)
        return
    qmp = Qmp.connect(_monitor(name))
    try:
        has_screen = bool(qmp.execute("query-vnc-servers"))
    except VmError:  # QEMU was built without VNC
        has_screen = False
    finally:
        qmp.close()
    if not has_screen:
        raise _no_screen(name)


def _monitor(name: str) -> str:
    return f"{statedir.directory(name)}/qmp.sock"


def _no_screen(name: str) -> VmError:
    hint = "add [graphic] to its description, and start it again"
    return VmError(Fault(problem=f"{name} has no screen", hint=hint), status=os.EX_NOINPUT)


def hand_to_qemu(name: str, viewer: socket.socket) -> None:
    """Makes a connected socket a VNC viewer of QEMU's; a QEMU that refuses closes it.

    Source: qemu-qmp-ref(7), getfd, add_client.
    """
    try:
        qmp = Qmp.connect(_monitor(name))
    except VmError:  # the guest is being started again: the viewer reconnects
        return
    try:
        qmp.send_fd(viewer.fileno(), _VIEWER)
        # skipauth: the monitor's user may do more than a viewer's password allows
        qmp.execute("add_client", protocol="vnc", fdname=_VIEWER, skipauth=True)
    except (OSError, VmError):
        return
    finally:
        qmp.close()


def take_screenshot(name: str) -> bytes:
    """A PNG image of the screen of a running VM.

    Source: qemu-qmp-ref(7), screendump; its `format` is new in QEMU 7.1.

    Args:
        name: the VM's name.

    Raises:
        VmError: no such VM or no screen (66), it does not run, or there is no image (69), it
            runs on another host or does not answer (75).
    """
    record = running(name, f"vm-run {name} --screenshot FILE")
    if record.get("hypervisor") == "bhyve":
        check_screen(name, record)
        hint = f"connect a VNC viewer: {vnc_address(record)}"
        raise _failed("bhyve takes no screenshots", hint)
    file = f"{statedir.directory(name)}/screen.{os.getpid()}.png"
    qmp = Qmp.connect(_monitor(name))
    try:
        qmp.execute("screendump", filename=file, format="png")
        with open(file, "rb") as image:
            return image.read()
    except VmError as error:
        problem = error.faults[0].problem
        raise _no_screen(name) if "no console" in problem else _failed(problem) from None
    except OSError as error:
        raise _failed(f"the screen of {name}: {error.strerror or error}") from None
    finally:
        qmp.close()
        if os.path.exists(file):
            os.unlink(file)


def save(content: bytes, file: str) -> None:
    """Writes a file in one step: a reader sees all of it, or the former file.

    It replaces an existing file, and follows a symbolic link to one.

    Raises:
        VmError: it cannot be written, or is not a regular file (69).
    """
    path = os.path.realpath(file)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise _failed(f"{path} exists and is not a regular file")
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    try:
        with open(temporary, "xb") as created:
            created.write(content)
            created.flush()
            os.fsync(created.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _failed(f"{file}: {error.strerror}") from None
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _failed(problem: str, hint: str = "") -> VmError:
    return VmError(Fault(problem=problem, hint=hint), status=os.EX_UNAVAILABLE)
