"""What a service manager is told: sd_notify(3), the protocol of $NOTIFY_SOCKET."""

from __future__ import annotations

import socket

from vm_run.messages import ended, line
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Manager", "message"]

_AFTER_FORCING_S = 30  # what we need at most once a guest's time is over, with a margin


class Manager:
    """Who started us as a service, and waits for word.

    Attributes:
        address: its datagram socket: a path, or with @ in front an abstract name.
    """

    def __init__(self, address: str) -> None:
        self.address = f"\0{address[1:]}" if address.startswith("@") else address

    def hear(self, event: dict[str, Any]) -> None:
        """Hands on what an event means; a manager that is gone is no reason to leave a guest."""
        text = message(event)
        if not text:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own:
            own.setblocking(False)
            try:
                own.sendto(text.encode(), self.address)
            except OSError:
                pass


def message(event: dict[str, Any]) -> str:
    """An event in the words of sd_notify(3), a line each; empty when it says nothing.

    A guest may have longer to power off than the unit's TimeoutStopSec says: the manager is asked
    for as long as its stop_timeout is.
    """
    said = [line for line in (_state(event), _status(event)) if line]
    return "\n".join(said)


def _state(event: dict[str, Any]) -> str:
    match event["event"]:
        case "running" | "recovered":
            return "READY=1"
        case "stopping":
            extended_us = int((event["timeout"] + _AFTER_FORCING_S) * 1_000_000)
            return f"STOPPING=1\nEXTEND_TIMEOUT_USEC={extended_us}"
        case _:
            return ""


def _status(event: dict[str, Any]) -> str:
    match event["event"]:
        case "started":
            text = f"starting, target {event['target']}, pid {event['pid']}"
        case "running":
            text = "running"
        case "finished":
            text = f"guest {ended(event['outcome'])}: {event['why']}"
        case "stopping" | "forcing" | "recovered" | "restarting":
            text = line(event)
        case _:
            return ""
    return f"STATUS={printable(text)}"
