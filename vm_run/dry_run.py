"""What vm-run shows without running anything: command lines, keys, the description, the schema."""

from __future__ import annotations

import json
import os
import shlex
from argparse import Namespace

from vm_run.argument import Argument
from vm_run.pci_slots import Placed, place
from vm_run.program import hypervisor, program
from vm_spec.fault import VmError
from vm_spec.machine import Description, Machine
from vm_spec.targets import select

__all__ = ["check", "debug", "dry_run", "explain", "inspect", "schema", "targets"]


def inspect(call: Namespace, description: Description) -> str:
    """What one of --targets, --debug, --explain, --dry-run and --check prints.

    Raises:
        VmError: see each.
    """
    if call.targets:
        return targets(description)
    if call.debug:
        return debug(description)
    if call.explain:
        return explain(description, call.target)
    if call.dry_run:
        return dry_run(description, call.target, call.extra, call.format or "shell")
    check(description, call.target, call.name or description.name)
    return f"{description.name}: this host has everything that target {call.target} needs"


def dry_run(description: Description, target: str, extra: list[str], form: str) -> str:
    """The command that would be run: the same on every host, for nothing is asked of it.

    Args:
        description: what would be run.
        target: its target.
        extra: further arguments of the hypervisor.
        form: shell (one line to copy), json (a list) or bhyve-config (flat keys).

    Raises:
        VmError: the hypervisor cannot do what the machine asks for.
    """
    placed = place(description, select(description, target))
    if form == "bhyve-config":
        from vm_run.bhyve import config as bhyve_config

        return bhyve_config.flat(placed, extra=extra).rstrip("\n")
    binary, arguments = _command(placed)
    argv = [binary, *(word for argument in arguments for word in argument.words)]
    if hypervisor(placed.machine) == "bhyve":
        argv[-1:-1] = extra
    else:
        argv += extra
    return json.dumps(argv) if form == "json" else shlex.join(argv)


def targets(description: Description) -> str:
    """The names of a description's targets, a line each, the default first."""
    return "\n".join(dict.fromkeys(("default", *map(str, (t.name for t in description.targets)))))


def explain(description: Description, target: str) -> str:
    """Each argument with the key of the description that it comes from, line by line."""
    _, arguments = _command(place(description, select(description, target)))
    shown = [(shlex.join(argument.words), argument.key) for argument in arguments]
    width = min(72, max(len(words) for words, _ in shown))
    return "\n".join(f"{words:<{width}}  <- {key or '(always)'}" for words, key in shown)


def _command(placed: Placed) -> tuple[str, list[Argument]]:
    if hypervisor(placed.machine) == "bhyve":
        from vm_run import bhyve

        return os.environ.get("BHYVE_BIN") or "bhyve", bhyve.arguments(placed)
    from vm_run import qemu

    return os.environ.get("QEMU_BIN") or "/usr/bin/qemu-system-x86_64", qemu.arguments(placed)


def check(description: Description, target: str, vm: str) -> None:
    """Looks whether a target could be started, and this host has what it needs.

    Raises:
        VmError: the hypervisor cannot do what it asks for (65); with everything that the host
            lacks (69).
    """
    from vm_run.host import check

    machine = select(description, target)
    placed = place(description, machine)
    _command(placed)
    faults = check.lacks(placed, vm)
    for lookup in (program, _firmware):
        try:
            lookup(machine)
        except VmError as error:
            faults += error.faults
    if faults:
        raise VmError(*faults, status=os.EX_UNAVAILABLE)


def _firmware(machine: Machine) -> None:
    if machine.bootrom == "uefi":
        from vm_run import firmware

        firmware.find()


def debug(description: Description) -> str:
    """The description as it was read, in the native form."""
    from vm_spec import encode

    return encode.toml(description).rstrip("\n")


def schema() -> str:
    """The JSON Schema of descriptions."""
    from vm_spec import schema as language

    return json.dumps(language.schema(), indent=2)
