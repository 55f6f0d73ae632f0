"""What a session is asked for beyond the description."""

from __future__ import annotations

from vm_run.reboot import Policy
from vm_spec.frozen import Value

__all__ = ["Options"]


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
