"""What vm-run prints while a guest runs: one line for each event."""

from __future__ import annotations

import sys

from vm_spec.devices import Nic
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vm_run.reboot import Ending
    from vm_spec.machine import Machine

__all__ = ["describe", "describe_ending", "ended", "list_forwards", "say"]

_ENDED = {
    "reboot": "rebooted",
    "poweroff": "powered off",
    "halt": "halted",
    "triple-fault": "crashed",
    "error": "could not go on: the hypervisor failed",
    "suspend": "was suspended to disk",
    "killed": "was killed",
}


def ended(outcome: str) -> str:
    """An outcome as the end of a sentence that begins with the guest."""
    return _ENDED[outcome]


def describe(event: dict[str, Any]) -> str:
    """The line for an event; empty when it needs none."""
    match event["event"]:
        case "note":
            return str(event["text"])
        case "restarting":
            return f"guest {ended(event['outcome'])}; starting again: target {event['target']}"
        case "recovered":
            return f"took over pid {event['pid']}, target {event['target']}"
        case "stopping":
            return (
                f"{event['by']}: pressing the power button, waiting up to {event['timeout']:g} s; "
                "a second signal kills the guest"
            )
        case "forcing":
            return f"forcing the guest: {event['why']}"
        case _:
            return ""


def describe_ending(ending: Ending) -> str:
    """How the last guest ended and why it was not started again, in one sentence."""
    forced = ", forced," if ending.forced else ""
    detail = f" ({ending.detail})" if ending.detail else ""
    runs = "" if ending.starts == 1 else f", start {ending.starts}"
    return (
        f"guest {ended(ending.outcome)}{detail}{forced} after {ending.seconds:.1f} s "
        f"(target {ending.target}{runs}); not started again: {ending.why}"
    )


def list_forwards(machine: Machine) -> Iterator[str]:
    """A sentence for each port of the host that is forwarded to the guest."""
    for nic in machine.emulations:
        for one in nic.forward if isinstance(nic, Nic) else ():
            kind = "" if one.protocol == "tcp" else f" ({one.protocol})"
            yield f"{one.address}:{one.port} is forwarded to guest port {one.guest_port}{kind}"


def say(name: str, text: str) -> None:
    """Prints a line on standard error; a closed standard error is no reason to leave a guest."""
    try:
        sys.stderr.write(f"{name}: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
