"""What a box's Vagrantfile says about its machine, as far as it can be seen without running it.

It is a program in Ruby, and it is a stranger's: it is never run. Lines of the usual shape are
looked at, and everything else is passed over.
"""

from __future__ import annotations

import re

from vm_pull.hardware.hardware import MOST_CPUS, MOST_MEMORY, Hardware, bus_of, nic_of
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Hints", "applied", "read"]

_FILES = ("Vagrantfile", "include/_Vagrantfile")  # the second is what vagrant package wraps
_BLOCK = re.compile(r"""\.vm\.provider[ (]*[:"']([a-z_]{1,32})["']?\)? do \|(\w{1,40})""", re.ASCII)
_SET = re.compile(
    r"""(\w{1,40})((?:\.\w{1,40}){1,3}) *= *(?:"([^"#]{1,60})"|'([^']{1,60})'|([0-9]{1,9})\b)""",
    re.ASCII,
)  # a text or a number, and nothing that Ruby would have to work out
_USER = re.compile(r"[A-Za-z_][\w.-]{0,31}", re.ASCII)
_MOST_LINES = 5000
_MIB = 1 << 20


class Hints(Value):
    """What the lines say; empty for what none says.

    Attributes:
        cpus: `cpus` of the provider's block, a text.
        memory: `memory` of the provider's block in MiB, a text.
        disk_bus: `disk_bus` of the provider's block.
        nic: `nic_model_type` of the provider's block.
        loader: `loader` of the provider's block: the firmware's path.
        base_mac: `vm.base_mac`.
        user: `ssh.username`.
        key: `ssh.private_key_path`, or that there is one.
    """

    cpus: str = ""
    memory: str = ""
    disk_bus: str = ""
    nic: str = ""
    loader: str = ""
    base_mac: str = ""
    user: str = ""
    key: str = ""


_OF_THE_PROVIDER = {
    ".cpus": "cpus",
    ".memory": "memory",
    ".disk_bus": "disk_bus",
    ".nic_model_type": "nic",
    ".loader": "loader",
}
_OF_ALL = {".vm.base_mac": "base_mac", ".ssh.username": "user", ".ssh.private_key_path": "key"}


def read(texts: Mapping[str, bytes], provider: str) -> Hints:
    """The hints in a box's Vagrantfiles; of two lines that say the same the last.

    Args:
        texts: the box's small members.
        provider: whose blocks are looked at.
    """
    found: dict[str, str] = {}
    for name in _FILES:
        lines = texts.get(name, b"").decode(errors="replace").splitlines()[:_MOST_LINES]
        found |= dict(_hints(lines, provider))
    return Hints(**{key: text for key, text in found.items() if key})


def _hints(lines: list[str], provider: str) -> Iterator[tuple[str, str]]:
    ours = ""
    for line in (line.strip()[:500] for line in lines):
        block = _BLOCK.search(line)
        if block:
            ours = block[2] if block[1] == provider else ""
        if "private_key_path" in line and not line.startswith("#"):
            yield "key", "yes"
        given = _SET.match(line)
        if given:
            known = _OF_THE_PROVIDER if given[1] == ours else _OF_ALL
            yield known.get(given[2], ""), given[3] or given[4] or given[5]


def applied(hints: Hints, found: Hardware) -> Hardware:
    """The hardware with what Vagrant itself would change in it."""
    nic, notes = nic_of(hints.nic) if hints.nic else (found.nic, ())
    disks = found.disks
    if hints.disk_bus:
        bus, words = bus_of("virtio-scsi" if hints.disk_bus == "scsi" else hints.disk_bus)
        disks = tuple(replace(disk, bus=bus) for disk in disks)
        notes = (*notes, *words)
    return replace(
        found,
        cpus=_number(hints.cpus, MOST_CPUS) or found.cpus,
        memory=_number(hints.memory, MOST_MEMORY // _MIB) * _MIB or found.memory,
        firmware="uefi" if hints.loader else found.firmware,
        disks=disks,
        nic=nic,
        mac=found.mac or _mac(hints.base_mac),
        user=hints.user if _USER.fullmatch(hints.user) else found.user,
        own_key=found.own_key or bool(hints.key),
        notes=(*found.notes, *notes),
    )


def _number(text: str, most: int) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) and int(text) <= most else 0


def _mac(text: str) -> str:
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{12}", digits):
        return ""
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
