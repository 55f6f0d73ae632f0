"""How long a VM runs: through its guest's restarts, and through the end of its vm-run."""

from __future__ import annotations

from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import stop_request
from vm_state.lock import find_supervisor
from vm_state.record import open_process, read_record

if TYPE_CHECKING:
    from vm_state.process import Process


class Lifetime:
    """What must end before a VM has ended: its vm-run, else the hypervisor without one.

    Attributes:
        process: the process to wait for; None when the VM has ended.
        message: how the VM ended, in vm-run's words; empty when unknown.
    """

    def __init__(self, name: str, directory: str) -> None:
        self.name = name
        self.directory = directory
        self.message = ""
        self.process = self._find()

    def _find(self) -> Process | None:
        try:
            process = find_supervisor(self.directory, self.name)
        except VmError:  # the lock's owner is unknown: the hypervisor can be waited for
            process = None
        return process or open_process(read_record(self.directory))

    def goes_on(self) -> bool:
        """Whether the VM still runs; call it when the process has ended."""
        if self.process:
            self.message = stop_request.read_ending(self.directory, self.process.pid)
        self.close()
        self.process = self._find()
        return self.process is not None

    def close(self) -> None:
        """Closes the process's descriptor."""
        if self.process:
            self.process.close()
            self.process = None
