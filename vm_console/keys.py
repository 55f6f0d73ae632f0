"""The key that leaves a console: how it is said, and where it stands in what is typed."""

from __future__ import annotations

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import Value

__all__ = ["DEFAULT", "Escape", "escape"]

DEFAULT = "^]"  # as of telnet(1) and virsh(1)
_CONTROL = "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"


class Escape(Value):
    """The key that leaves.

    Attributes:
        byte: what the terminal sends for it; empty for no such key.
        shown: how it is called.
    """

    byte: bytes
    shown: str

    def split(self, typed: bytes) -> tuple[bytes, bool]:
        """What was typed before the key, and whether the key was."""
        if not self.byte:
            return typed, False
        before, key, _ = typed.partition(self.byte)
        return before, bool(key)


def escape(text: str) -> Escape:
    """The key that a person means.

    Args:
        text: ^] for Ctrl-], any other single ASCII character, or none.

    Raises:
        VmError: it is no key (64).
    """
    if text == "none":
        return Escape(byte=b"", shown="")
    if len(text) == 2 and text[0] == "^" and text[1].upper() in _CONTROL:
        key = text[1].upper()
        return Escape(byte=bytes([_CONTROL.index(key)]), shown=f"Ctrl-{key}")
    if len(text) == 1 and text.isascii():
        shown = text if text.isprintable() else f"Ctrl-{_CONTROL[ord(text) & 31]}"
        return Escape(byte=text.encode(), shown=shown)
    problem = f"{text} is no key to leave by"
    raise VmError(Fault(problem=problem, hint="^] is Ctrl-]; none is no key at all"), status=64)
