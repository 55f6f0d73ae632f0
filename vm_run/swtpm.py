"""swtpm: the program that is a guest's TPM, started before its hypervisor and ended with it.

Its socket listens before it runs, so nobody waits for it. QEMU speaks to it through swtpm's
control channel and passes a data channel of its own over that; bhyve connects to the data channel
itself and knows no other. Untested on FreeBSD.

Source: swtpm(8), --ctrl, --server, --terminate; FreeBSD's usr.sbin/bhyve/tpm_emul_swtpm.c.
"""

from __future__ import annotations

import fcntl
import os
import signal

from vm_run import starting, swtpm_lock
from vm_run.program import hypervisor
from vm_run.starting import Descriptors
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_spec.machine import Machine

__all__ = ["LIFELINE_FD", "LINK", "end", "start"]

LIFELINE_FD = 6  # what a hypervisor holds for as long as it runs
LINK = "swtpm.lock"  # in the state folder: leads to the lock in the TPM's own folder

_LOG_FD, _SOCKET_FD, _LIFELINE_FD, _LOCK_FD = 2, 3, 4, 5  # where swtpm has what is open for it
_ENVIRONMENT = {"LANG": "C.UTF-8"}  # TPM_PATH and TPM_PORT would be obeyed
_WRONG, _LACKING, _CANNOT_WRITE = 65, 69, 74


def start(machine: Machine, folder: str, descriptors: Descriptors) -> None:
    """Starts a machine's swtpm, which listens at `folder`/swtpm.sock and keeps `tpm.path`.

    Args:
        machine: it has a TPM of type swtpm.
        folder: the state folder.
        descriptors: the hypervisor's. It is given one end of a pipe, and does nothing with it:
            when nobody has that end any more, swtpm ends.

    Raises:
        VmError: swtpm is not installed or cannot be started (69), another VM's runs on the same
            state (75), the state's folder cannot be used (65, 74).
    """
    program, home = _program(), _home(machine)
    lock = _locked(f"{home}/vm-run.lock", folder)
    read, write = os.pipe2(os.O_CLOEXEC)
    given = Descriptors()
    try:
        _open(given, folder)
        given.give(read, _LIFELINE_FD)
        given.give(lock, _LOCK_FD)
        pid = starting.start(_argv(program, machine, home), given, _ENVIRONMENT)
        _tie(pid, read)
        _sign(lock, pid, home, folder)
        descriptors.give(write, LIFELINE_FD)
    finally:
        given.close()
        for fd in (lock, read, write):
            os.close(fd)
    _link(f"{home}/vm-run.lock", f"{folder}/{LINK}")


def end(folder: str) -> None:
    """Ends the swtpm of a hypervisor that has ended, if it has not yet ended by itself."""
    try:
        fd = os.open(f"{folder}/{LINK}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        swtpm_lock.settle(fd, folder)
    except OSError:  # its folder is out of reach; without a hypervisor it ends by itself
        pass
    finally:
        os.close(fd)


def _program() -> str:
    path = which("swtpm")
    if path is None:
        hint = "Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
        problem = "swtpm is not there, which is to be the guest's TPM"
        raise VmError(Fault(path=("tpm",), problem=problem, hint=hint), status=_LACKING)
    return path


def _home(machine: Machine) -> str:
    """The folder of the TPM's state, made when it is missing."""
    given = machine.tpm.path if machine.tpm else None
    home = os.path.abspath(given or f"{machine.name}.tpm")
    if "," in home:  # swtpm takes it in a comma list, and has no escape
        fault = Fault(
            path=("tpm", "path"),
            problem=f"{home} has a comma, and swtpm takes none",
            hint="give it another path",
        )
        raise VmError(fault, status=_WRONG)
    try:
        os.mkdir(home, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(home, error) from None
    return home


def _locked(path: str, folder: str) -> int:
    try:
        return swtpm_lock.take(path, folder)
    except OSError as error:
        raise _unusable(path, error) from None


def _sign(lock: int, pid: int, home: str, folder: str) -> None:
    try:
        swtpm_lock.sign(lock, pid, folder)
    except OSError as error:  # swtpm ends with its lifeline
        raise _unusable(home, error) from None


def _unusable(path: str, error: OSError) -> VmError:
    problem = f"{path}: {error.strerror}"
    hint = "the TPM's state is kept there: make the folder, or set tpm.path"
    return VmError(Fault(path=("tpm", "path"), problem=problem, hint=hint), status=_CANNOT_WRITE)


def _argv(program: str, machine: Machine, home: str) -> list[str]:
    if hypervisor(machine) == "qemu":
        channel = ["--ctrl", f"type=unixio,fd={_SOCKET_FD}"]
    else:  # nobody tells it to begin, so it begins by itself
        channel = ["--server", f"type=unixio,fd={_SOCKET_FD}"]
        channel += ["--flags", "not-need-init,startup-clear"]
    return [
        program, "socket", "--tpm2",
        "--tpmstate", f"dir={home},mode=0600",
        *channel,
        "--terminate",
    ]  # fmt: skip


def _open(given: Descriptors, folder: str) -> None:
    """Standard streams, and a socket that listens already."""
    given.open(os.devnull, os.O_RDWR, 0)
    log = f"{folder}/hypervisor.log"
    for theirs in (1, _LOG_FD):
        given.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, theirs)
    listener = starting.listening(f"{folder}/swtpm.sock")
    given.give(listener.fileno(), _SOCKET_FD)
    listener.close()


def _tie(pid: int, read: int) -> None:
    """A process is sent SIGTERM when the last who has the other end of a pipe is gone.

    --terminate does not see the end of a QEMU that stopped before it had connected. FreeBSD has
    no F_SETSIG; there it is `end` that ends such a one.
    """
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        return
    fcntl.fcntl(read, fcntl.F_SETOWN, pid)
    fcntl.fcntl(read, set_signal, signal.SIGTERM)
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)


def _link(target: str, path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)
