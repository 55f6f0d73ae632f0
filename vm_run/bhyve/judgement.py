"""What bhyve would make of keys that the user gave word for word: it says nothing of most faults.

Asked only when there are such keys. `[bhyve] args` is never judged: what a newer bhyve reads, and
is not known here, can go there.
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import TOO_MUCH
from vm_run.bhyve.names import spelled
from vm_run.bhyve.settings import as_options
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, replace
from vm_spec.reader import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vm_run.bhyve.emulated import Emulated
    from vm_spec.device import Properties
    from vm_spec.machine import Machine

__all__ = ["judged"]

Keys = list[tuple[str, str]]

OLDER = ("lpc.bootrom", "lpc.bootvars")  # bhyve of 14 and older reads them
MOST_TOLD = 64  # keys that are never read: finding the nearest word for each takes its time
DOMAINS = 8
MOST = 65535  # processors
NEEDED = {"passthru": ("bus", "slot", "func"), "virtio-input": ("path",)}
CARDS = ("virtio-net", "e1000")
NODE = re.compile(r"(pci\.[0-9]+\.[0-9]+\.[0-9]+)\.(.+)", re.ASCII | re.DOTALL)
DOMAIN = re.compile(r"domains\.([0-9]+)\..+", re.ASCII)
PROCESSOR = re.compile(r"vcpu\.([0-9]+)\.cpuset", re.ASCII)


def judged(devices: Sequence[Emulated], keys: Keys, machine: Machine) -> list[Fault]:
    """What bhyve would refuse, crash on or never read.

    Args:
        devices: in their slots.
        keys: all of the machine's, in order; the later counts.
        machine: whose keys they are.
    """
    faults = [*_overruled(devices, machine), *_numbered(machine), *_controllers(keys)]
    faults += _halves(devices, keys)
    try:
        return [*faults, *_answered(keys, devices)]
    except VmError as refused:
        alone = [fault for device in devices if device.title for fault in _alone(device)]
        return faults + (alone or [_ended(refused)])


def _answered(keys: Keys, devices: Iterable[Emulated]) -> Iterator[Fault]:
    """A fault for each key that is never read.

    Raises:
        VmError: bhyve would end, in its words.
    """
    from vm_import.bhyve_model import answer

    found = answer(as_options(keys), str, shows=False)
    titles = {device.node: device.title for device in devices}
    pairs = (line.partition("=") for line in found.unread)
    unread = [key for key, _, text in pairs if not _is_older(key, text)]
    for key in unread[:MOST_TOLD]:
        yield _never_read(key, found.tree, titles)
    if len(unread) > MOST_TOLD:
        problem = f"bhyve never reads {len(unread) - MOST_TOLD} keys more"
        yield Fault(problem=problem, hint="see bhyve_config(5), or use [bhyve] args")


def _is_older(key: str, text: str) -> bool:
    """Whether it is a key that bhyve of 15 and older reads."""
    return key in OLDER or (key.endswith(".dev") and text.startswith("/dev/cam/"))


def _alone(device: Emulated) -> Iterator[Fault]:
    """A device by itself, so that a fault is told of it; not if it names variables."""
    keys = [(device.node + key, text) for key, text in device.keys]
    if keys and not any("%(" in text for _, text in keys):
        board = [("bootrom", "it"), ("memory.wired", "true"), ("name", "it")]
        try:
            yield from _answered([*board, *keys], [device])
        except VmError as refused:
            yield replace(_ended(refused), device=device.title, path=())


def _ended(refused: VmError) -> Fault:
    if refused.status == TOO_MUCH:
        return replace(refused.faults[0], path=("bhyve", "config"))
    said = refused.faults[0].problem.replace("\n", "; ")
    return _of_config(f"would end bhyve: {said}", "correct the keys given for bhyve")


def _halves(devices: Sequence[Emulated], keys: Keys) -> Iterator[Fault]:
    """A fault for each key without which bhyve crashes, or ends without a word of it."""
    from vm_import.bhyve_known import devices as on_bus

    titles = {device.node: device.title for device in devices}
    for place, own in on_bus(dict(keys)).items():
        node = "pci.{}.{}.{}.".format(*place)
        title = titles.get(node, "")
        for key in _lacks(own):
            problem = f"{'' if title else node}{key} is missing, and bhyve would fail or crash"
            fault = _of_config(problem, "bhyve_config(5) has what it is")
            yield replace(fault, device=title, path=()) if title else fault


def _lacks(own: Mapping[str, str]) -> list[str]:
    """What a device needs and has not."""
    kind = own.get("device", "")
    needed = {*NEEDED.get(kind, ())}
    if kind == "passthru" and "pptdev" in own:
        needed = set[str]()
    if kind in CARDS and own.get("type", own.get("backend", "")).startswith("netgraph"):
        needed = {"path", "peerhook"}
    if kind == "virtio-scsi" and not any(key.startswith("target.") for key in own):
        needed = {"target.0"}
    if kind == "virtio-console":
        ports = {key.rpartition(".")[0] for key in own if key.startswith("port.")}
        needed = {f"{port}.{end}" for port in ports for end in ("name", "path")}
    return sorted(needed - own.keys())


def _controllers(keys: Keys) -> Iterator[Fault]:
    found = {key for key, text in keys if text == "xhci" and key == f"{_node(key)}.device"}
    if len(found) > 1:
        yield _of_config("bhyve has one xhci only, and this is another", "take one away")


def _never_read(key: str, tree: dict[str, str], titles: dict[str, str]) -> Fault:
    node = _node(key)
    title = titles.get(f"{node}.", "")
    shown = key.removeprefix(f"{node}.") if title else key
    close = nearest(shown, _known(tree.get(f"{node}.device", "") if title else ""))
    return Fault(
        problem=f"bhyve never reads {shown}",
        hint=f"did you mean {close}?" if close else "see bhyve_config(5), or use [bhyve] args",
        device=title,
        path=() if title else ("bhyve", "config"),
    )


def _known(device: str) -> list[str]:
    """The keys of a device, or of the board."""
    from vm_import.bhyve_known import BOARD, LPC, OF

    return spelled(OF.get(device, "device") if device else f"{BOARD.pattern}|{LPC.pattern}")


def _overruled(devices: Sequence[Emulated], machine: Machine) -> Iterator[Fault]:
    """Keys that say again, or otherwise, what the description says."""
    nodes = {device.node: device.title or device.name for device in devices}
    for key, _ in machine.bhyve.config:
        node = f"{_node(key)}."
        if key == f"{node}device" and node in nodes:
            problem = f"{key}: the slot is taken by {nodes[node]}"
            yield _of_config(problem, "give one of them another slot")
        elif key == "name":
            yield _of_config("name: the VM's name is the description's", f'name = "{machine.name}"')


def _numbered(machine: Machine) -> Iterator[Fault]:
    """Processors and domains that bhyve never looks for; domains need ACPI, too."""
    config = machine.bhyve.config
    sizes = {"cpus", "sockets", "cores", "threads"} & {key for key, _ in config}
    count = machine.cpu.count if not sizes else MOST
    processors = _numbers(config, PROCESSOR)
    if max(processors, default=0) >= count:
        problem = f"vcpu.{max(processors)}: the machine has {count} processors"
        yield _of_config(problem, f"number them from 0 to {count - 1}")
    domains = _numbers(config, DOMAIN)
    if domains - {*range(min(len(domains), DOMAINS))}:
        problem = "bhyve looks for domains 0, 1 and so on, up to 7, and ends where one is missing"
        yield _of_config(problem, "number them from 0")
    if domains and not machine.generate_acpi:
        yield _of_config("domains need ACPI tables", "generate_acpi = true")


def _numbers(config: Properties, pattern: re.Pattern[str]) -> set[int]:
    return {int(found[1]) for key, _ in config if (found := pattern.fullmatch(key))}


def _node(key: str) -> str:
    found = NODE.fullmatch(key)
    return found[1] if found else ""


def _of_config(problem: str, hint: str) -> Fault:
    return Fault(problem=problem, hint=hint, path=("bhyve", "config"))
