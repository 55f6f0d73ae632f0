"""How much memory bhyve gives a guest, and in which domains (NUMA).

Source: usr.sbin/bhyve/bhyverun.c: calc_mem_affinity; vm_parse_memsize; expand_number(3).
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import get, is_node, wrong
from vm_import.bhyve_cpus import cpuset
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["checked", "memory"]

PAGE = 4096
MIB = 1 << 20
DOMAINS = 8
SIZE = re.compile(r"(0[xX][0-9a-fA-F]{1,64}|[0-9]{1,64})([kmgtpe]?)b?", re.ASCII | re.IGNORECASE)
UNEVEN = (
    "bhyve: At least one domain memory size was not specified,"
    " distributing total VM memory size across all domains"
)


def memory(text: str) -> int:
    """How many bytes a size is; a number below 1 MiB is a number of MiB.

    Raises:
        VmError: it is none.
    """
    found = SIZE.fullmatch(text)
    if not found or re.fullmatch("0[0-7]*[89][0-9]*", found[1]):
        raise wrong(f"bhyve: invalid memsize '{text}'", status=64)
    digits = found[1]
    number = int(digits, 8 if re.fullmatch("0[0-7]+", digits) else 0 if digits[0] == "0" else 10)
    size: int = number << 10 * (" kmgtpe".index(found[2].lower()) if found[2] else 0)
    if size >= 1 << 64:
        raise wrong(f"bhyve: invalid memsize '{text}'", status=64)
    return size if size >= MIB else size * MIB


def checked(tree: Mapping[str, str]) -> list[str]:
    """What bhyve says of the memory, and starts all the same.

    Raises:
        VmError: a size is none or not whole pages, or a domain has no processors.
    """
    whole = memory(get(tree, "memory.size"))
    numbers = range(DOMAINS)
    count = next((n for n in numbers if not is_node(tree, f"domains.{n}")), DOMAINS)
    sizes = [_size(tree, number) for number in range(count)]
    given = [size for size in sizes if size is not None]
    shares = given if count and len(given) == count else [whole // (count or 1)]
    if any(not share or share % PAGE for share in shares):
        raise wrong("Unable to setup memory (22)")
    for number in range(count):
        if f"domains.{number}.cpus" not in tree:
            raise wrong(f"Missing CPU set for domain {number}")
        cpuset(number, get(tree, f"domains.{number}.cpus"))
    return [UNEVEN] if len(given) < count else []


def _size(tree: Mapping[str, str], number: int) -> int | None:
    """A domain's own size; None if it has none."""
    text = get(tree, f"domains.{number}.size")
    try:
        return memory(text) if f"domains.{number}.size" in tree else None
    except VmError:
        raise wrong(f"bhyve: invalid memsize for domain {number}: '{text}'", status=64) from None
