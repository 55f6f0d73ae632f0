"""Which firmware a disk wants, by how it is partitioned.

Source: UEFI Specification 2.10, 5.2 and 5.3 (MBR and GPT).
"""

from __future__ import annotations

import struct
from uuid import UUID

__all__ = ["MOST_BYTES", "firmware"]

MOST_BYTES = 64 * 1024  # of a disk's beginning: the tables of sectors of 512 and of 4096 bytes
_BOOT_CODE = 440  # bytes of an MBR, before the disk's signature
_ESP = UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B").bytes_le
_BIOS_BOOT = UUID("21686148-6449-6E6F-744E-656564454649").bytes_le
_HEADER = struct.Struct("<8s4sI 4x4x 8x8x8x8x16x QII")  # to the size of an entry
_ENTRY = range(128, 4097)
_MOST_ENTRIES = 512


def firmware(first: bytes) -> str:
    """What boots the disk: uefi, bios, or empty where there is no partition table.

    UEFI is a GPT with an EFI system partition, without a BIOS boot partition and without boot
    code in the first sector. A disk that both can boot is called bios: every box that can is
    made for that too.

    Args:
        first: the disk's first MOST_BYTES, or fewer; what the tables name beyond is not there.
    """
    types = _gpt_types(first)
    if types is not None:
        only_uefi = _ESP in types and _BIOS_BOOT not in types and not any(first[:_BOOT_CODE])
        return "uefi" if only_uefi else "bios"
    return "bios" if first[510:512] == b"\x55\xaa" else ""


def _gpt_types(first: bytes) -> set[bytes] | None:
    """The types of a GPT's partitions; None without a GPT."""
    for sector in (512, 4096):
        header = first[sector : sector + _HEADER.size]
        if len(header) == _HEADER.size and header.startswith(b"EFI PART"):
            *_, table, count, size = _HEADER.unpack(header)
            return _types(first, table * sector, count, size)
    return None


def _types(first: bytes, table: int, count: int, size: int) -> set[bytes]:
    if size not in _ENTRY:
        return set()
    places = range(table, min(len(first), table + size * min(count, _MOST_ENTRIES)), size)
    return {first[place : place + 16] for place in places}
