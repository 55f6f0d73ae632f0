"""What a running VM shows on its screen, as a PNG file."""

from __future__ import annotations

import os
import stat

from vm_console.picture import from_ppm, png
from vm_console.ports import running
from vm_console.screen import is_of_bhyve, missing, reach
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import statedir
from vm_state.qmp import Qmp

if TYPE_CHECKING:
    from vm_console.picture import Picture

__all__ = ["save", "take"]

_FAILED = 69


def take(name: str) -> bytes:
    """A PNG file of what a running VM shows.

    Args:
        name: what vm-run calls the VM.

    Raises:
        VmError: it has no screen or there is no such VM (66), it does not run (69), it runs on
            another host or does not answer (75).
    """
    record = running(name, f"vm-run {name} --screenshot FILE")
    return png(_of_bhyve(name) if is_of_bhyve(record) else _of_qemu(name))


def _of_bhyve(name: str) -> Picture:
    from vm_console.rfb import look

    with reach(name) as server:
        try:
            return look(server)
        except OSError as error:
            raise _failed(f"the screen of {name}", error) from None


def _of_qemu(name: str) -> Picture:
    """Through a file in the state folder, since QEMU writes to nothing but files.

    PPM, since QEMU writes PNG only from 7.1 on and not in every build.

    Source: qemu-qmp-ref(7), screendump.
    """
    folder = statedir.folder(name)
    file = f"{folder}/screen.{os.getpid()}.ppm"
    qmp = Qmp.connect(f"{folder}/qmp.sock")
    try:
        qmp.ask("screendump", filename=file)
        with open(file, "rb") as shot:
            return from_ppm(shot.read())
    except VmError as error:
        raise _refused(name, error) from None
    except (OSError, ValueError) as error:
        raise _failed(f"the screen of {name}", error) from None
    finally:
        qmp.close()
        if os.path.exists(file):
            os.unlink(file)


def _refused(name: str, error: VmError) -> VmError:
    """Why QEMU took no picture; it has one error class for everything."""
    problem = error.faults[0].problem
    if "no console" in problem:
        return missing(name)
    return VmError(Fault(problem=problem), status=_FAILED)


def save(content: bytes, file: str) -> None:
    """Writes a file in one step: whoever reads it sees all of it, or what was there before.

    A file that is there is replaced, and a symbolic link to one followed.

    Raises:
        VmError: it cannot be written, or is no file (69).
    """
    path = os.path.realpath(file)
    try:
        _expect_file(path)
        _replace(path, content)
    except OSError as error:
        raise _failed(file, error) from None


def _expect_file(path: str) -> None:
    """A device or a pipe is not replaced by a file of its name."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise VmError(Fault(problem=f"{path} is there and is no file"), status=_FAILED)


def _replace(path: str, content: bytes) -> None:
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666)  # what the user's umask leaves of it
    try:
        with os.fdopen(fd, "wb") as made:
            made.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _failed(what: str, error: Exception) -> VmError:
    return VmError(
        Fault(problem=f"{what}: {getattr(error, 'strerror', None) or error}"), status=_FAILED
    )
