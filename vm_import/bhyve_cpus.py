"""How many processors bhyve gives a guest, and on which of the host's they run.

Source: usr.sbin/bhyve/bhyverun.c: calc_topology, build_vcpumaps, parse_cpuset.
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import get, strtol, wrong
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TOPOLOGY", "cpuset", "pins", "shape"]

TOPOLOGY = ("cpus", "sockets", "cores", "threads")
MOST = 65535  # processors
HOST_CPUS = 1024  # CPU_SETSIZE
CPUSET = re.compile(r"([^,-]+)(?:-([^,-]+))?")


def shape(tree: Mapping[str, str]) -> tuple[int, int, int]:
    """Sockets, cores and threads; a number of processors alone is that many sockets.

    Raises:
        VmError: they contradict each other, or are no numbers from 1 to 65535.
    """
    cpus = _count("cpus", get(tree, "cpus", "1"))
    cores = _count("cores", get(tree, "cores", "1"))
    threads = _count("threads", get(tree, "threads", "1"))
    sockets = _count("sockets", get(tree, "sockets", str(cpus)))
    product = sockets * cores * threads
    if product > MOST:
        raise wrong(f"bhyve: Computed number of vCPUs too high: {product}")
    if "cpus" in tree and cpus != product:
        shown = f"{sockets} sockets, {cores} cores, {threads} threads"
        raise wrong(f"bhyve: Topology ({shown}) does not match {cpus} vCPUs")
    return sockets, cores, threads


def _count(key: str, text: str) -> int:
    number = strtol(text)
    if number is None or not 0 < number <= MOST:
        raise wrong(f"bhyve: Invalid value for {key}: '{text}'")
    return number


def pins(tree: Mapping[str, str], count: int) -> None:
    """Looks at the host's processors of each of the guest's; of others bhyve reads none.

    Raises:
        VmError: it is no list of numbers and ranges, or one is none of a host's.
    """
    for key in tree:
        found = re.fullmatch(r"vcpu\.(0|[1-9][0-9]{0,5})\.cpuset", key, re.ASCII)
        if found and int(found[1]) < count:
            cpuset(int(found[1]), get(tree, key))


def cpuset(number: int, text: str) -> None:
    """Looks at a list of processors and ranges of them: 0,2-3.

    Args:
        number: of the guest's processor, or of its domain, that it is for.
        text: the list.

    Raises:
        VmError: it is none, or a host cannot have so many.
    """
    for part in text.split(","):
        found = CPUSET.fullmatch(part)
        first, last = (strtol(found[1]), strtol(found[2] or found[1])) if found else (None, None)
        if first is None or last is None:
            raise wrong(f"bhyve: invalid cpuset for vcpu {number}: '{text}'")
        for one in (first, last):
            if one >= HOST_CPUS:
                limit = f"from 0 to {HOST_CPUS - 1}"
                raise wrong(f"bhyve: hostcpu '{one}' outside valid range {limit}")
        if first > last:
            raise wrong(f"bhyve: Invalid hostcpu range {first}-{last}")
