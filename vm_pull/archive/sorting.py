"""What a member of a box is by its name, where that matters.

Names follow conventions: see Vagrant's manual, Box File Format, and the providers' own boxes.
"""

from __future__ import annotations

__all__ = ["is_disk", "is_left", "is_optional", "is_text"]

_TEXTS = {"metadata.json", "info.json", "vagrantfile", "_vagrantfile"}
_TEXT_ENDINGS = (".ovf", ".vmx", ".mf")
_DISK_ENDINGS = (".img", ".raw", ".qcow2", ".vmdk", ".vdi", ".vhd", ".vhdx", ".hdd")
_LEFT_ENDINGS = (".iso", ".fd", ".nvram")
_APPLE_DOUBLE = "._"  # what tar on macOS puts beside a file of this name


def _base(name: str) -> str:
    return name.rpartition("/")[2].lower()


def is_text(name: str) -> bool:
    """Whether it is kept whole: it says what the box holds, or how it was meant to be used."""
    base = _base(name)
    return base in _TEXTS or base.endswith(_TEXT_ENDINGS) or is_optional(name)


def is_optional(name: str) -> bool:
    """Whether a text may be something else and large: it is in the folder for Vagrantfiles."""
    return name.startswith("include/")


def is_disk(name: str) -> bool:
    """Whether a file is a disk although its content does not say so: an empty one, for example."""
    return _base(name).endswith(_DISK_ENDINGS)


def is_left(name: str) -> bool:
    """Whether it is nothing for us, whatever its content is: CD images, firmware and its settings.

    These may carry the marks of a disk, and are none.
    """
    base = _base(name)
    return base.startswith(_APPLE_DOUBLE) or base.endswith(_LEFT_ENDINGS)
