"""The small values of the language: each is checked when it is made, and never again."""

from __future__ import annotations

import re

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "Cpu",
    "FilePath",
    "Forward",
    "IfName",
    "Label",
    "Mac",
    "PciId",
    "PciSlot",
    "Size",
    "VmName",
    "Word",
]

_UNITS = "kmgt"


class Word(str):
    """A text of one shape; making it from any other text raises ValueError."""

    __slots__ = ()
    pattern: str
    rule: str

    def __new__(cls, text: object) -> Self:
        """The same text, known to be good."""
        if not isinstance(text, str) or not re.fullmatch(cls.pattern, text, re.ASCII):
            msg = f"must be {cls.rule}"
            raise ValueError(msg)
        return super().__new__(cls, text)


class VmName(Word):
    """A virtual machine's name: also a file's stem and a folder's name."""

    __slots__ = ()
    pattern = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
    rule = "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"


class Label(Word):
    """A device's name inside one description; also its id in QEMU (qemu(1), -device id=)."""

    __slots__ = ()
    pattern = r"[A-Za-z][A-Za-z0-9_.-]{0,47}"
    rule = "1 to 48 letters, digits, '.', '_' or '-', the first a letter"


class IfName(Word):
    """A network interface's name on the host: at most 15 bytes (IFNAMSIZ)."""

    __slots__ = ()
    pattern = r"(?!(?:all|default)\Z)[A-Za-z][A-Za-z0-9_.-]{0,14}"
    rule = "1 to 15 letters, digits, '.', '_' or '-', the first a letter"


class Mac(Word):
    """An Ethernet address that a card may have: not a group's, not zero."""

    __slots__ = ()
    pattern = r"(?!(?:00:){5}00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}"
    rule = "a unicast Ethernet address such as 02:00:5e:10:00:01"

    def __new__(cls, text: object) -> Self:
        """The address in lower case."""
        return super().__new__(cls, text.lower() if isinstance(text, str) else text)


class FilePath(Word):
    """A path on the host: absolute, or below the description's folder."""

    __slots__ = ()
    pattern = r"[^\0\ud800-\udfff]{1,4095}"  # a half of a surrogate pair is no text
    rule = "a path"


class Size(Value):
    """An amount of memory or storage.

    Attributes:
        bytes: how many bytes, from 1.
    """

    bytes: int

    @classmethod
    def parse(cls, given: object) -> Size:
        """Reads 512M, 2G, 1048576: powers of 1024, or a whole number of bytes.

        Raises:
            ValueError: it is neither, or out of range.
        """
        if isinstance(given, int) and not isinstance(given, bool):
            return cls._checked(given)
        found = re.fullmatch(r"([0-9]{1,19})([kmgt]?)b?", str(given).lower(), re.ASCII)
        if not found or isinstance(given, bool | float):
            msg = 'must be a size such as "512M" or "2G", or a number of bytes'
            raise ValueError(msg)
        unit = _UNITS.index(found[2]) + 1 if found[2] else 0
        return cls._checked(int(found[1]) * 1024**unit)

    @classmethod
    def _checked(cls, count: int) -> Size:
        if not 0 < count < 2**63:
            msg = "must be at least 1 byte and less than 8 EiB"
            raise ValueError(msg)
        return cls(bytes=count)

    @property
    def mib(self) -> int:
        """Whole mebibytes, rounded down."""
        return self.bytes >> 20

    def __str__(self) -> str:
        """The largest unit that divides it: 512M."""
        for unit, letter in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
            if self.bytes % 1024**unit == 0:
                return f"{self.bytes // 1024**unit}{letter}"
        return str(self.bytes)


class PciSlot(Value):
    """A place on a PCI bus, as a guest sees it (PCI 3.0, 3.2.2.3.2).

    Attributes:
        bus: 0 to 255.
        slot: 0 to 31.
        function: 0 to 7.
    """

    bus: int = 0
    slot: int
    function: int = 0

    @classmethod
    def parse(cls, given: object) -> PciSlot:
        """Reads `slot`, `slot:function` and `bus:slot:function`, decimal, as bhyve(8) -s does.

        Raises:
            ValueError: it is none of them, or out of range.
        """
        numbers = _colons(given, 3)
        match numbers:
            case [slot]:
                bus, function = 0, 0
            case [slot, function]:
                bus = 0
            case [bus, slot, function]:
                pass
            case _:
                bus, slot, function = 256, 0, 0
        if bus > 255 or slot > 31 or function > 7:
            msg = "must be a PCI slot: 0 to 31, or slot:function, or bus:slot:function"
            raise ValueError(msg)
        return cls(bus=bus, slot=slot, function=function)

    def __str__(self) -> str:
        """`bus:slot:function`."""
        return f"{self.bus}:{self.slot}:{self.function}"


class PciId(Value):
    """A PCI device of the host.

    Attributes:
        domain: 0 to 65535; bhyve(8) knows only 0.
        bus: 0 to 255.
        slot: 0 to 31.
        function: 0 to 7.
    """

    domain: int = 0
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, given: object) -> PciId:
        """Reads Linux's 0000:01:00.0 and 01:00.0 (hex), and bhyve's 1:0:0 and 1/0/0 (decimal).

        Raises:
            ValueError: it is none of them, or out of range.
        """
        text = str(given)
        found = re.fullmatch(
            r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", text.lower(), re.ASCII
        )
        if found:
            domain, bus, slot, function = (int(part or "0", 16) for part in found.groups())
            return cls(domain=domain, bus=bus, slot=slot, function=function)
        numbers = _colons(text.replace("/", ":"), 3)
        if len(numbers) == 3 and numbers[0] < 256 and numbers[1] < 32 and numbers[2] < 8:
            return cls(bus=numbers[0], slot=numbers[1], function=numbers[2])
        msg = "must be a PCI address such as 0000:01:00.0 or 1:0:0"
        raise ValueError(msg)

    @property
    def sysfs(self) -> str:
        """Its name under /sys/bus/pci/devices: 0000:01:00.0."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"

    def __str__(self) -> str:
        """As Linux writes it; `parse` reads it back."""
        return self.sysfs


class Cpu(Value):
    """The processors of a machine and how they are arranged.

    Attributes:
        sockets: from 1.
        cores: per socket, from 1.
        threads: per core, from 1.
    """

    sockets: int = 1
    cores: int = 1
    threads: int = 1

    @property
    def count(self) -> int:
        """How many processors the guest sees."""
        return self.sockets * self.cores * self.threads


class Forward(Value):
    """A port of the host that leads to a port of the guest (qemu(1), -netdev user,hostfwd=).

    Attributes:
        protocol: tcp or udp.
        address: the host's address that is listened on.
        port: the host's port, 1 to 65535.
        guest_port: the guest's port, 1 to 65535.
    """

    protocol: str = "tcp"
    address: str = "127.0.0.1"
    port: int
    guest_port: int

    @classmethod
    def parse(cls, given: object) -> Forward:
        """Reads `2222:22`, `udp:5353:53` and `tcp:0.0.0.0:8080:80`.

        Raises:
            ValueError: it is none of them, or a port is out of range.
        """
        found = re.fullmatch(
            r"(?:(tcp|udp):)?(?:([0-9.]{7,15}):)?([0-9]{1,5}):([0-9]{1,5})", str(given), re.ASCII
        )
        if found and _is_ipv4(found[2] or "127.0.0.1"):
            port, guest_port = int(found[3]), int(found[4])
            if 0 < port < 65536 and 0 < guest_port < 65536:
                return cls(
                    protocol=found[1] or "tcp",
                    address=found[2] or "127.0.0.1",
                    port=port,
                    guest_port=guest_port,
                )
        msg = "must be a port forward such as 2222:22 or tcp:127.0.0.1:8080:80"
        raise ValueError(msg)

    def __str__(self) -> str:
        """`tcp:127.0.0.1:2222:22`."""
        return f"{self.protocol}:{self.address}:{self.port}:{self.guest_port}"


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)


def _colons(given: object, most: int) -> list[int]:
    if isinstance(given, bool) or not isinstance(given, int | str):
        return []
    parts = str(given).split(":")
    if len(parts) > most or not all(re.fullmatch(r"[0-9]{1,3}", part, re.ASCII) for part in parts):
        return []
    return [int(part) for part in parts]
