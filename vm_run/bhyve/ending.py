"""How a bhyve is asked to end, and how it has ended. Untested on FreeBSD.

Source: bhyve(8), EXIT STATUS and SIGNAL HANDLING; bhyverun.c; amd64/pm.c: until the guest has
enabled ACPI nothing catches SIGTERM, which then ends bhyve at once.
"""

from __future__ import annotations

import os
import signal

from vm_run.bhyve import bhyvectl, traces
from vm_run.host.check import is_leftover
from vm_spec.frozen import TYPE_CHECKING
from vm_state.process import signal_name

if TYPE_CHECKING:
    from vm_run.bhyve.traces import Traces
    from vm_state.process import Process

__all__ = ["judged", "press"]

_BY_STATUS = {0: "reboot", 1: "poweroff", 2: "halt", 3: "triple-fault", 5: "suspend"}
_FAILED = 4
_EARLY = "SIGTERM, before the guest had enabled ACPI"
_SIZE = "Unable to setup memory"
_ANEW = {
    "root": "vm-run --force NAME",
    "handed": "sudo vm-init --release NAME && sudo vm-init NAME",
}
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)


def press(process: Process, folder: str) -> None:
    """Presses the guest's power button.

    In the monitor mode it is the child's: should the parent end by the signal, the kernel would
    remove the VM at once.
    """
    left = traces.read(folder)
    if left is None or left.way != "monitor":
        process.send(signal.SIGTERM)
        return
    for pid in bhyvectl.children(process.pid):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def judged(code: int, folder: str, *, asked: bool) -> tuple[str, str]:
    """The outcome, and what the end of the process says beyond it.

    Args:
        code: its exit status, or minus a signal's number.
        folder: the state folder.
        asked: whether it was we who asked it to end.
    """
    if asked and code == -signal.SIGTERM:
        return "killed", _EARLY
    if code < 0:
        return "killed" if code in _KILLED else "error", signal_name(-code)
    outcome, detail = _BY_STATUS.get(code, "error"), f"exit status {code}"
    left = traces.read(folder)
    if left and code == 1 and (wrong := _no_guest(left, folder)):
        return "error", f"{detail}: {wrong}"
    if left and code == _FAILED:
        return _failure(left, folder, asked=asked)
    return outcome, detail


def _failure(left: Traces, folder: str, *, asked: bool) -> tuple[str, str]:
    """What an exit status of 4 is, beyond an error."""
    detail = f"exit status {_FAILED}"
    if left.way == "monitor":
        return _of_monitor(left, folder, asked=asked)
    if any(line.startswith(_SIZE) for line in left.said(folder)):
        anew = _ANEW[left.way].replace("NAME", left.name)
        detail += f": its VM in the kernel has another size; make it anew: {anew}"
    return "error", detail


def _no_guest(left: Traces, folder: str) -> str:
    """Why an exit status of 1 is no power-off; empty when it is one."""
    if left.dumps:
        return "config.dump shows the configuration and starts no guest"
    said = left.said(folder)
    usage = (n for n, line in enumerate(said) if line.startswith(f"Usage: {left.program} "))
    at = next(usage, None)
    if at is None:
        return ""
    return said[at - 1] if at else "it takes no such command line"


def _of_monitor(left: Traces, folder: str, *, asked: bool) -> tuple[str, str]:
    """What a failure of the monitor mode is.

    It passes on how its child ended, but for a signal. It starts a guest that rebooted itself,
    where the guest before has left things in its way: sockets that exist, a TPM that has ended.
    """
    if asked:
        return "killed", _EARLY
    said = "\n".join(left.said(folder))
    for problem, paths in (
        ("cannot create port", left.sockets),
        ("Failed to init TPM device", (f"{folder}/swtpm.sock",)),
    ):
        if problem in said and any(map(is_leftover, paths)):
            return "reboot", f"bhyve could not do it by itself: {problem}"
    return "error", f"exit status {_FAILED}"
