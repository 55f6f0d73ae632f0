"""What a description wants of root, and what would be given of it: told by whoever wrote it.

Only the child that has given up root, or who never was root, imports this: it brings vm_spec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from vm_init import request as grammar
from vm_init.arguments import vm_name
from vm_init.request import Macvtap, Node, Pci, Request, RequestError, Tap, Vm, parse, render
from vm_init.start import IS_LINUX
from vm_init.verdict import Caller, InitError, Refused
from vm_spec import library
from vm_spec.devices import Emulation, Passthru, VirtioInput
from vm_spec.fault import Fault, VmError
from vm_spec.machine import Description, Machine
from vm_spec.network import Nic
from vm_spec.targets import select
from vm_state import pci

USAGE, WRONG, NO_PCI, REFUSED = 64, 65, 69, 77

Find = Callable[[tuple[str, str]], str]
Resolve = Callable[[str], str]


def read(vm: str) -> tuple[Request, ...]:
    """What a description wants, read as whoever this process is: never root's half itself.

    Raises:
        InitError: what is wrong with the description, in the words of vm-run.
    """
    folder = library.confdir()
    if not folder.startswith("/"):
        raise InitError(f"VMCONF_DIR must be an absolute path, and is {folder!a}", USAGE)
    try:
        description = library.load(library.find(vm_name(vm)))
        requests = wanted(description, pci.find, os.path.realpath)
        if not IS_LINUX and description.machine.hypervisor != "qemu":
            requests += (Vm(str(description.name)),)
        return parse(render(requests))
    except VmError as error:
        raise InitError(str(error), error.status) from None
    except MemoryError:
        raise InitError(f"{vm}: takes too much memory to read", WRONG) from None
    except OSError as error:  # no process may be started here: uclcmd
        raise InitError(f"{vm}: cannot be read by vm-init: {error.strerror}", WRONG) from None
    except RequestError:
        raise InitError(f"{vm}: wants something that root cannot be asked for", WRONG) from None


def wanted(description: Description, find: Find, resolve: Resolve) -> tuple[Request, ...]:
    """What the base and all targets want, each once, in order of the description.

    All of it is asked for at once, so that to switch targets needs no root.

    Args:
        description: what is read.
        find: (vendor, device) of a `lookup` -> the address on this host; empty for none.
        resolve: a device node's path -> the same without symbolic links.

    Raises:
        VmError: two devices want different things of one interface, a device that is looked for is
            not there, or it is more than can be asked for.
    """
    machines = [description.machine, *(select(description, t.name) for t in description.targets)]
    found: dict[str, Request] = {}
    for machine in machines:
        for label, request in _machine(machine, find, resolve):
            known = found.setdefault(request[0], request)
            if known != request:
                problem = f"wants {request[0]} otherwise than another device of this description"
                raise VmError(Fault(problem=problem, device=label, file=description.file))
    if len(found) > grammar.MOST_REQUESTS:
        problem = f"wants {len(found)} things of root; {grammar.MOST_REQUESTS} can be asked for"
        raise VmError(Fault(problem=problem, file=description.file))
    return tuple(found.values())


def _machine(machine: Machine, find: Find, resolve: Resolve) -> Iterator[tuple[str, Request]]:
    for number, com in machine.coms:
        if not com.startswith("/dev/nmdm"):
            yield from _node(com, f"com{number}", resolve)
    for device in machine.emulations:
        label = f"{device.kind} {device.label}"
        if isinstance(device, VirtioInput):
            yield from _node(device.path, label, resolve)
        elif isinstance(device, Passthru):
            yield label, Pci(_address(device, label, find))
        else:
            yield from ((label, request) for request in _nic(device))


def _nic(nic: Emulation) -> Iterator[Request]:
    """What a card wants; a macvtap of no interface was made by the admin."""
    if not isinstance(nic, Nic) or not nic.name:
        return
    name, bridge, network = str(nic.name), str(nic.bridge or "-"), str(nic.network or "")
    if nic.backend == "tap":
        yield Tap(name, network=network) if network else Tap(name, bridge=bridge)
    elif nic.backend == "macvtap" and nic.mac and (network or nic.host_interface):
        yield Macvtap(name, str(nic.host_interface or ""), str(nic.mac), network)


def _address(device: Passthru, label: str, find: Find) -> str:
    if device.src:
        return device.src.sysfs
    lookup = device.lookup
    found = find((lookup.vendor, lookup.device)) if lookup else ""
    if not found:
        shown = f"{lookup.vendor} {lookup.device}" if lookup else "without src or lookup"
        problem = f"there is no PCI device {shown} on this host"
        raise VmError(Fault(problem=problem, device=label, hint="lspci -Dn"), status=NO_PCI)
    return found


def _node(path: str, label: str, resolve: Resolve) -> Iterator[tuple[str, Request]]:
    """A device node; what is elsewhere than in /dev is nothing that root gives."""
    if not path.startswith("/dev/"):
        return
    real = resolve(path)
    if not re.fullmatch(grammar.PATH, real, re.ASCII):
        problem = f"{path} is not a path of a device node that root can be asked for"
        raise VmError(Fault(problem=problem, device=label), status=REFUSED)
    yield label, Node(real)


def plan(who: Caller, vm: str) -> list[str]:
    """A line for each thing that a description asks for.

    Raises:
        InitError: the same lines, one of which is a refusal (77).
    """
    from vm_init import netlink, policy

    rules, requests = policy.load(), read(vm)
    links = netlink.links() if IS_LINUX else []  # by their tags: the ledger is root's alone
    held = {link.name for link in links if link.alias.startswith(f"vmman:{who.uid}:")}
    verdicts = policy.judge_all(who, requests, rules, held)
    lines = [
        f"refused  {one.why}"
        if isinstance(one, Refused)
        else f"granted  {' '.join(filter(None, one.request))}  ({one.line})"
        for one in verdicts
    ]
    if any(isinstance(one, Refused) for one in verdicts):
        raise InitError("\n".join(lines))
    return lines
