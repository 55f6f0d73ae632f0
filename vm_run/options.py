"""What a session is asked for beyond the description, and what it answers."""

from __future__ import annotations

from vm_run.reboot import Policy
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from vm_spec.machine import Outcome

__all__ = ["Ending", "Options"]


class Options(Value):
    """How a session is run.

    Attributes:
        handle: what the VM is called by vm-list and vm-stop; its own name when empty.
        target: what boots first.
        policy: restarts.
        force: a leftover hypervisor of this VM is ended first, a lock of another host taken over.
        recover: a guest whose supervisor is gone is taken over.
        check: whether the host is looked at before the start.
        fix: known repairs are applied.
        detached: whether "stdio" is a socket instead of this terminal.
        terminal: a terminal to use instead of standard input; empty for that.
        pid_file: where the hypervisor's process id is written; empty for nowhere.
        supervisor_pid_file: where our own is written.
        panic_on_failed_cleanup: whether a leftover that cannot be removed is an error.
        extra: further arguments of the hypervisor, put last.
    """

    handle: str = ""
    target: str = "default"
    policy: Policy = Policy()
    force: bool = False
    recover: bool = False
    check: bool = True
    fix: bool = False
    detached: bool = False
    terminal: str = ""
    pid_file: str = ""
    supervisor_pid_file: str = ""
    panic_on_failed_cleanup: bool = False
    extra: tuple[str, ...] = ()


class Ending(Value):
    """How a session ended.

    Attributes:
        outcome: how its last guest ended.
        target: what that guest was.
        asked: whether it was asked to end.
        forced: whether it had to be forced.
        detail: what the hypervisor's exit says beyond the outcome.
        why: why it was not started again.
        starts: how often it was started.
        seconds: how long the last guest ran.
        log: the last lines of the hypervisor's log, where it failed.
    """

    outcome: Outcome
    target: str
    asked: bool
    forced: bool
    detail: str
    why: str
    starts: int
    seconds: float
    log: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status: 0 for an orderly end, 3 for a crash, 4 for the hypervisor's error."""
        if self.outcome == "triple-fault":
            return 3
        if self.outcome == "error" or (self.outcome == "killed" and not self.asked):
            return 4
        return 0
