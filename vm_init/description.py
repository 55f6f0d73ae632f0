"""What a description requests of root, in the grammar of `vm_init.request`.

Only a process that has given up root, or never was root, imports this: it loads vm_spec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from vm_init import request as grammar
from vm_init.errors import InitError
from vm_init.hardening import IS_LINUX
from vm_init.request import MAX_BYTES, MAX_REQUESTS, parse_line
from vm_spec import library
from vm_spec.devices import Emulation, Nic, Passthru, VirtioInput
from vm_spec.fault import Fault, VmError
from vm_spec.machine import Description, Machine
from vm_spec.targets import select
from vm_state import pci

Find = Callable[[tuple[str, str]], str]
Resolve = Callable[[str], str]


def answer(vm: str) -> bytes:
    """What the child writes: the frame of a description's requests, or a fault."""
    try:
        lines = read(vm)
        return "\n".join(["vmman 1", *lines, f"end {len(lines)}", ""]).encode("ascii")
    except InitError as error:
        message = str(error).encode("ascii", "backslashreplace")
        return f"fault {error.status}\n".encode() + message[: MAX_BYTES - 16]


def read(vm: str) -> list[str]:
    """The requests of a description, a line each, read as the user that this process is.

    Raises:
        InitError: what is wrong with the description, in the words of vm-run.
    """
    confdir = library.confdir()
    if not confdir.startswith("/"):
        problem = f"VMCONF_DIR must be an absolute path, and is {confdir!a}"
        raise InitError(problem, os.EX_USAGE)
    try:
        description = library.load(library.find(vm))
        lines = list_requests(description, pci.find, os.path.realpath)
        if not IS_LINUX and description.machine.hypervisor != "qemu":
            lines.append(f"vm {description.name}")
        for line in lines:
            parse_line(line)
    except VmError as error:
        raise InitError(str(error), error.status) from None
    except MemoryError:
        raise InitError(f"{vm}: takes too much memory to read", os.EX_DATAERR) from None
    except OSError as error:  # no process may be started here: uclcmd
        problem = f"{vm}: cannot be read by vm-init: {error.strerror}"
        raise InitError(problem, os.EX_DATAERR) from None
    except grammar.RequestError:
        problem = f"{vm}: requests something that root cannot be asked for"
        raise InitError(problem, os.EX_DATAERR) from None
    return lines


def list_requests(description: Description, find: Find, resolve: Resolve) -> list[str]:
    """What the base and all targets request, each once, in the order of the description.

    All of it is requested at once, so that a switch of targets needs no root.

    Args:
        description: what is read.
        find: (vendor, device) of a `lookup` -> the address on this host; empty for none.
        resolve: a device node's path -> the same without symbolic links.

    Raises:
        VmError: two devices request different things of one interface, a device that is looked up
            is not there, or there are too many.
    """
    machines = [description.machine, *(select(description, t.name) for t in description.targets)]
    found: dict[str, str] = {}
    for machine in machines:
        for label, line in _list_of_machine(machine, find, resolve):
            name = line.split(" ")[1]
            if found.setdefault(name, line) != line:
                problem = f"requests {name} in another way than another device of this description"
                raise VmError(Fault(problem=problem, device=label, file=description.file))
    if len(found) > MAX_REQUESTS:
        problem = f"requests {len(found)} things of root; the limit is {MAX_REQUESTS}"
        raise VmError(Fault(problem=problem, file=description.file))
    return list(found.values())


def _list_of_machine(machine: Machine, find: Find, resolve: Resolve) -> Iterator[tuple[str, str]]:
    for number, com in machine.coms:
        if not com.startswith("/dev/nmdm"):
            yield from _list_node(com, f"com{number}", resolve)
    for device in machine.emulations:
        label = f"{device.kind} {device.label}"
        if isinstance(device, VirtioInput):
            yield from _list_node(device.path, label, resolve)
        elif isinstance(device, Passthru):
            yield label, f"pci {_find_address(device, label, find)}"
        else:
            yield from ((label, line) for line in _list_nic(device))


def _list_nic(nic: Emulation) -> Iterator[str]:
    """What a NIC requests; a macvtap of no interface was made by the admin."""
    if not isinstance(nic, Nic) or not nic.name:
        return
    network = f"network {nic.network}" if nic.network else ""
    if nic.backend == "tap":
        bridge = nic.bridge or "-"
        yield f"tap {nic.name} {network or f'bridge {bridge}'}"
    elif nic.backend == "macvtap" and nic.mac and (network or nic.host_interface):
        yield f"macvtap {nic.name} {network or f'on {nic.host_interface}'} mac {nic.mac}"


def _find_address(device: Passthru, label: str, find: Find) -> str:
    if device.src:
        return device.src.sysfs
    lookup = device.lookup
    found = find((lookup.vendor, lookup.device)) if lookup else ""
    if not found:
        shown = f"{lookup.vendor} {lookup.device}" if lookup else "without src or lookup"
        fault = Fault(
            problem=f"there is no PCI device {shown} on this host", device=label, hint="lspci -Dn"
        )
        raise VmError(fault, status=os.EX_UNAVAILABLE)
    return found


def _list_node(path: str, label: str, resolve: Resolve) -> Iterator[tuple[str, str]]:
    """A device node; a path outside of /dev is not for root to give."""
    if not path.startswith("/dev/"):
        return
    real = resolve(path)
    if not re.fullmatch(grammar.NODE, real, re.ASCII):
        problem = f"{path} is neither an input device nor a serial port that vm-init can give"
        raise VmError(Fault(problem=problem, device=label), status=os.EX_NOPERM)
    yield label, f"node {real}"
