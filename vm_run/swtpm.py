"""swtpm: the program that is a guest's TPM, started before its hypervisor and ended with it.

Its socket listens before it runs, so nothing waits for it. QEMU speaks to it through swtpm's
control channel and passes a data channel of its own over that; bhyve connects to the data channel
itself and knows no other. Untested on FreeBSD.

One VM at a time may use a TPM's state, and its swtpm ends before the next begins: swtpm inherits
a lock of flock(2) on the file vm-run.lock beside the state, which other hosts see over NFS.

Source: swtpm(8), --ctrl, --server, --terminate; FreeBSD's usr.sbin/bhyve/tpm_emul_swtpm.c;
flock(2), NFS details (Linux).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal

from vm_run.program import Descriptors, hypervisor, listen
from vm_run.program import start as start_program
from vm_spec.fault import Fault, VmError
from vm_spec.machine import Machine
from vm_state.lock import take_flock
from vm_state.platform import boot_id, which
from vm_state.process import started_at
from vm_state.record import Record, open_process, parse

__all__ = ["LIFELINE_FD", "LINK", "end", "lock_state", "sign", "start"]

LIFELINE_FD = 6  # what a hypervisor holds for as long as it runs
LINK = "swtpm.lock"  # in the state directory: leads to the lock beside the TPM's state

_LOG_FD, _SOCKET_FD, _LIFELINE_FD, _LOCK_FD = 2, 3, 4, 5  # swtpm's descriptors
_ENVIRONMENT = {"LANG": "C.UTF-8"}  # TPM_PATH and TPM_PORT would be obeyed
_TIMEOUT_S = 5  # swtpm writes its state at each command, and so has little to do at its end


def start(machine: Machine, directory: str, descriptors: Descriptors) -> None:
    """Starts a machine's swtpm, which listens at `directory`/swtpm.sock and keeps `tpm.path`.

    Args:
        machine: it has a TPM of type swtpm.
        directory: the state directory.
        descriptors: the hypervisor's. It gets one end of a pipe, and does nothing with it: when
            no process has that end any more, swtpm ends.

    Raises:
        VmError: swtpm is not installed or cannot be started (69), another VM's runs on the same
            state (75), the state's directory cannot be used (65, 74).
    """
    program, home = _find_program(), _name_home(machine)
    own = Descriptors()
    try:
        _open_streams(own, directory)
        write = _start_locked(_argv(program, machine, home), home, directory, own)
        descriptors.add(write, LIFELINE_FD)
        os.close(write)
    finally:
        own.close()
    link = f"{directory}/{LINK}"
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(f"{home}/vm-run.lock", link)


def _start_locked(argv: list[str], home: str, directory: str, own: Descriptors) -> int:
    """Locks the state and starts swtpm; returns the end of a pipe that keeps it alive."""
    opened: list[int] = []
    try:
        if not os.path.isdir(home):
            os.mkdir(home, 0o700)
        lock = lock_state(f"{home}/vm-run.lock", directory)
        opened.append(lock)
        read, write = os.pipe2(os.O_CLOEXEC)
        opened += [read, write]
        own.add(read, _LIFELINE_FD)
        own.add(lock, _LOCK_FD)
        pid = start_program(argv, own, _ENVIRONMENT)
        _tie(pid, read)
        sign(lock, pid, directory)  # when this fails, swtpm ends with its lifeline
        return os.dup(write)
    except OSError as error:
        raise _unusable(home, error) from None
    finally:
        for fd in opened:
            os.close(fd)


def end(directory: str) -> None:
    """Ends the swtpm of a hypervisor that has ended, if it has not ended by itself."""
    try:
        fd = os.open(f"{directory}/{LINK}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _settle(fd, directory)
    except OSError:  # its directory is out of reach; without a hypervisor it ends by itself
        pass
    finally:
        os.close(fd)


def _find_program() -> str:
    path = which("swtpm")
    if path is None:
        hint = "Debian: sudo apt install swtpm; FreeBSD: sudo pkg install swtpm"
        problem = "swtpm, which emulates the guest's TPM, is not installed"
        fault = Fault(path=("tpm",), problem=problem, hint=hint)
        raise VmError(fault, status=os.EX_UNAVAILABLE)
    return path


def _name_home(machine: Machine) -> str:
    """The directory of the TPM's state."""
    home = os.path.abspath((machine.tpm and machine.tpm.path) or f"{machine.name}.tpm")
    if "," in home:  # swtpm takes it in a comma list, and has no escape
        problem = f"{home} has a comma, which swtpm cannot take"
        fault = Fault(path=("tpm", "path"), problem=problem, hint="use another path")
        raise VmError(fault, status=os.EX_DATAERR)
    return home


def _unusable(home: str, error: OSError) -> VmError:
    problem = f"{error.filename or home}: {error.strerror}"
    hint = "the TPM's state is kept there: create the directory, or set tpm.path"
    return VmError(Fault(path=("tpm", "path"), problem=problem, hint=hint), status=os.EX_IOERR)


def _argv(program: str, machine: Machine, home: str) -> list[str]:
    if hypervisor(machine) == "qemu":
        channel = ["--ctrl", f"type=unixio,fd={_SOCKET_FD}"]
    else:  # bhyve does not tell it to begin, so it begins by itself
        channel = ["--server", f"type=unixio,fd={_SOCKET_FD}"]
        channel += ["--flags", "not-need-init,startup-clear"]
    return [
        program, "socket", "--tpm2",
        "--tpmstate", f"dir={home},mode=0600",
        *channel,
        "--terminate",
    ]  # fmt: skip


def _open_streams(own: Descriptors, directory: str) -> None:
    """Opens the standard streams, and a socket that listens already."""
    own.open(os.devnull, os.O_RDWR, 0)
    log = f"{directory}/hypervisor.log"
    for theirs in (1, _LOG_FD):
        own.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, theirs)
    listener = listen(f"{directory}/swtpm.sock")
    own.add(listener.fileno(), _SOCKET_FD)
    listener.close()


def _tie(pid: int, read: int) -> None:
    """Has the kernel send a process SIGTERM when a pipe's other end is closed.

    --terminate does not see the end of a QEMU that stopped before it had connected. FreeBSD has
    no F_SETSIG; there it is `end` that ends such a one.
    """
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        return
    fcntl.fcntl(read, fcntl.F_SETOWN, pid)
    fcntl.fcntl(read, set_signal, signal.SIGTERM)
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)


def lock_state(path: str, directory: str) -> int:
    """Locks a TPM's state and returns the lock, which lasts as long as any process has it.

    Args:
        path: the lock's file, which is created.
        directory: the state directory of the VM. Its own former swtpm is ended.

    Raises:
        VmError: another VM has the lock (75).
        OSError: the file cannot be created, or its file system has no locks.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _settle(fd, directory)
        if take_flock(fd):
            return fd
        other = os.path.basename(str(parse(os.pread(fd, 4096, 0)).get("folder", "another VM")))
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    problem = f"{os.path.dirname(path)} is the TPM of {other}, which is running"
    hint = "stop that VM, or set another path for this one"
    raise VmError(Fault(path=("tpm", "path"), problem=problem, hint=hint), status=os.EX_TEMPFAIL)


def sign(fd: int, pid: int, directory: str) -> None:
    """Writes the owner into a lock: a swtpm that we started for the VM of a state directory."""
    text = json.dumps(_identify(directory) | {"pid": pid, "started_at": started_at(pid)})
    os.ftruncate(fd, os.pwrite(fd, text.encode() + b"\n", 0))


def _settle(fd: int, directory: str) -> None:
    """Ends the swtpm that has a lock, if it is that of this state directory."""
    owner = parse(os.pread(fd, 4096, 0))
    if not owner.items() >= _identify(directory).items():
        return
    process = open_process(owner)
    if process:
        process.send(signal.SIGTERM)
        if not select.select([process.fd], [], [], _TIMEOUT_S)[0]:
            process.kill()
        process.close()
        os.ftruncate(fd, 0)
    try:
        os.waitpid(owner["pid"], os.WNOHANG)  # or a child of ours would stay behind as a zombie
    except (LookupError, TypeError, OSError):
        pass


def _identify(directory: str) -> Record:
    return {"folder": directory, "host": os.uname().nodename, "boot_id": boot_id()}
