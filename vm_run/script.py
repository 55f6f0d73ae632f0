"""The program that a description has started beside its guest."""

from __future__ import annotations

from vm_run import command
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from subprocess import Popen

__all__ = ["ended", "started"]


def started(argv: Sequence[str], environment: Mapping[str, str], log: str) -> Popen[bytes]:
    """The program, running; what it prints is appended to a log.

    Raises:
        VmError: it is not there (69).
    """
    with open(log, "ab") as file:
        return command.start(argv, environment, file.fileno())


def ended(script: Popen[bytes]) -> str:
    """Ends it with the guest it was for; what there is to say about how it ended itself."""
    said = ""
    if script.poll() is None:
        script.terminate()
    elif script.returncode:
        said = f"post_start_script: exit status {script.returncode}"
    script.wait()
    return said
