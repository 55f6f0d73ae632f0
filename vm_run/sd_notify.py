"""Reports to a service manager: sd_notify(3), the protocol of $NOTIFY_SOCKET."""

from __future__ import annotations

import socket

from vm_run.messages import describe, ended
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["message", "to_manager"]

_AFTER_FORCING_S = 30  # what we need at most once a guest's time is over, with a margin


def to_manager(address: str) -> Callable[[dict[str, Any]], None]:
    """Passes events on to a service manager; one that is gone is no reason to leave a guest.

    Args:
        address: its datagram socket: a path, or with @ in front an abstract name.
    """
    target = f"\0{address[1:]}" if address.startswith("@") else address

    def on_event(event: dict[str, Any]) -> None:
        text = message(event)
        if not text:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode(), target)
            except OSError:
                pass

    return on_event


def message(event: dict[str, Any]) -> str:
    """An event in the variables of sd_notify(3), a line each; empty when there are none.

    A guest may have longer to power off than the unit's TimeoutStopSec says: the manager is asked
    for as long as its stop_timeout is.
    """
    variables, status = "", ""
    match event["event"]:
        case "started":
            status = f"starting, target {event['target']}, pid {event['pid']}"
        case "running":
            variables, status = "READY=1\n", "running"
        case "recovered":
            variables, status = "READY=1\n", describe(event)
        case "stopping":
            timeout_us = int((event["timeout"] + _AFTER_FORCING_S) * 1_000_000)
            variables = f"STOPPING=1\nEXTEND_TIMEOUT_USEC={timeout_us}\n"
            status = describe(event)
        case "forcing" | "restarting":
            status = describe(event)
        case "finished":
            status = f"guest {ended(event['outcome'])}: {event['why']}"
        case _:
            return ""
    return f"{variables}STATUS={printable(status)}"
