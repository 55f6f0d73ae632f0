"""How long a VM lives: through its guest's restarts, and through its vm-run's end."""

from __future__ import annotations

from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import statedir, stop_request
from vm_state.lock_owner import supervisor

if TYPE_CHECKING:
    from vm_state.process import Process

__all__ = ["Life"]


class Life:
    """What must end before a VM has ended: its vm-run, else the hypervisor that is left.

    Attributes:
        process: the one that is waited for at the moment; None when the VM has ended.
        said: how it ended, in vm-run's words; empty when it did not say.
    """

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.folder = folder
        self.said = ""
        self.process: Process | None = None
        self._find()

    def _find(self) -> None:
        try:
            self.process = supervisor(self.folder, self.name)
        except VmError:  # whoever it is, the hypervisor can be waited for
            self.process = None
        if self.process is None:
            self.process = self._hypervisor()

    def _hypervisor(self) -> Process | None:
        from vm_state.process import Process

        record = statedir.read(self.folder)
        if not statedir.lives(record):
            return None
        try:
            process = Process(int(record["pid"]), is_child=False)
        except ProcessLookupError:
            return None
        if statedir.lives(record):  # asked again: the number may be another's since
            return process
        process.close()
        return None

    def goes_on(self) -> bool:
        """Whether the VM still lives, asked when the process has ended."""
        if self.process:
            self.said = stop_request.ended(self.folder, self.process.pid)
            self.close()
        self._find()
        return self.process is not None

    def close(self) -> None:
        """Lets the process go."""
        if self.process:
            self.process.close()
            self.process = None
