"""Which firmware a disk wants, by its partition table."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_pull.images.partitions import MOST_BYTES, firmware

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
BOOT_CODE = b"\xeb\x63\x90"


def gpt(
    *types: str, sector: int = 512, code: bytes = b"", table: int = 2, size: int = 128
) -> bytes:
    """The beginning of a disk with a GPT, as gdisk writes it."""
    disk = bytearray(MOST_BYTES)
    disk[: len(code)] = code
    disk[446:462] = bytes([0, 0, 2, 0, 0xEE, 255, 255, 255]) + struct.pack("<II", 1, 0xFFFFFFFF)
    disk[510:512] = b"\x55\xaa"
    header = struct.pack("<8sIIII4Q", b"EFI PART", 0x10000, 92, 0, 0, 1, 9999, 34, 9000)
    header += bytes(16) + struct.pack("<QII", table, 128, size)
    disk[sector : sector + len(header)] = header
    for number, text in enumerate(types):
        place = table * sector + number * size
        disk[place : place + 16] = UUID(text).bytes_le
    return bytes(disk)


def mbr(code: bytes = BOOT_CODE) -> bytes:
    return code.ljust(510, b"\0") + b"\x55\xaa" + bytes(4096)


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_system_partition_alone_is_uefi(sector: int) -> None:
    assert firmware(gpt(ESP, LINUX, sector=sector)) == "uefi"
    assert firmware(gpt(*[LINUX] * 100, ESP, sector=sector)) == "uefi"


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_gpt_that_a_bios_boots_too_is_bios(sector: int) -> None:
    assert firmware(gpt(ESP, BIOS_BOOT, LINUX, sector=sector)) == "bios"
    assert firmware(gpt(ESP, LINUX, sector=sector, code=BOOT_CODE)) == "bios"
    assert firmware(gpt(LINUX, sector=sector)) == "bios"


def test_an_mbr_is_bios_and_no_table_is_nothing() -> None:
    assert firmware(mbr()) == "bios"
    assert firmware(mbr(b"")) == "bios"
    assert firmware(bytes(MOST_BYTES)) == ""
    assert firmware(b"") == ""
    assert firmware(b"\x55\xaa" * 200) == ""


def test_larger_entries_are_found_at_their_own_size() -> None:
    assert firmware(gpt(LINUX, ESP, size=256)) == "uefi"
    assert firmware(gpt(LINUX, ESP, table=40)) == "uefi"


@pytest.mark.parametrize("place", [100, 2**40, 2**64 - 1])
def test_a_table_beyond_what_was_read_is_not_there(place: int) -> None:
    whole = gpt(ESP)
    header = whole[512 : 512 + 72] + struct.pack("<QII", place, 2**32 - 1, 128)
    assert firmware(whole[:512] + header + whole[512 + len(header) : 20_000]) == "bios"


@pytest.mark.parametrize("size", [0, 1, 127, 5000, 2**32 - 1])
def test_entries_of_an_impossible_size_are_not_read(size: int) -> None:
    whole = gpt(ESP)
    header = whole[512 : 512 + 72] + struct.pack("<QII", 2, 128, size)
    assert firmware(whole[:512] + header + whole[512 + len(header) :]) == "bios"


@pytest.mark.parametrize("length", [511, 512, 599, 600, 1024, 1039])
def test_a_cut_table_says_no_more_than_what_is_there(length: int) -> None:
    assert firmware(gpt(ESP)[:length]) in ("", "bios")
    assert firmware(gpt(ESP)[:1040]) == "uefi"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(440, 1300), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, 5000),
)
def test_any_bytes_are_one_of_the_three(cuts: list[tuple[int, bytes]], length: int) -> None:
    disk = bytearray(gpt(ESP, LINUX))
    for place, token in cuts:
        disk[place : place + len(token)] = token
    assert firmware(bytes(disk[:length])) in ("uefi", "bios", "")
