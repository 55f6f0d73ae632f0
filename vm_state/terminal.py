"""The terminal, as it was before a guest's console took it."""

from __future__ import annotations

import os
import termios

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Saved"]


class Saved:
    """A terminal's settings, to be put back whatever a hypervisor did to them."""

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self.settings: list[Any] | None = None
        if os.isatty(fd):
            self.settings = termios.tcgetattr(fd)

    def restore(self) -> None:
        """Puts the settings back; a terminal that is gone is no error."""
        if self.settings is None:
            return
        try:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self.settings)
        except termios.error:
            pass
