"""One VM, as it was found."""

from __future__ import annotations

from vm_spec.frozen import Value

__all__ = ["Row", "Table"]

Table = dict[str, str]


class Row(Value):
    """One VM, as it was found.

    Attributes:
        name: what vm-run calls it.
        file: its description, an absolute path; empty for one that came from standard input.
        state: running; starting (supervised, with no guest at the moment); stopping (supervised,
            and the guest has been asked to end); orphaned (the guest goes on without a
            supervisor); crashed (something is left over and nothing lives); elsewhere (another
            host has it); broken (the description has faults); stopped.
        target: what was booted last; empty when nothing runs.
        targets: those that the description has beside its base; None for a broken one.
        hypervisor: qemu or bhyve; empty when it is not known, as all that follows.
        cpus: how many processors the guest sees; of a running VM, as it was started, as all that
            is described.
        memory: bytes.
        pid: the hypervisor's; 0 when none is known.
        supervisor: vm-run's own; 0 when none is known.
        uptime: seconds since the hypervisor was started; None when it does not run here.
        host: where it runs, or was left by a host that is not this one; empty for nowhere.
        seen: the last sign of life of a VM that another host has, in seconds since 1970: now if
            its lock is held, else when that was taken; 0 for any other VM.
        network: its cards: tables of `label`, `type`, `interface`, `bridge`, `host_interface`,
            `network` and `mac`.
        consoles: tables of `name` and `kind`, while it runs of `log` and `to` as well.
        vnc: address and port of its screen; empty without one.
        fault: the description's first one; empty for a good description.
        hint: the next step; empty when there is nothing to mend.
    """

    name: str
    file: str = ""
    state: str = "stopped"
    target: str = ""
    targets: tuple[str, ...] | None = None
    hypervisor: str = ""
    cpus: int = 0
    memory: int = 0
    pid: int = 0
    supervisor: int = 0
    uptime: int | None = None
    host: str = ""
    seen: int = 0
    network: tuple[Table, ...] | None = None
    consoles: tuple[Table, ...] | None = None
    vnc: str = ""
    fault: str = ""
    hint: str = ""
