"""Giving and taking back on FreeBSD: `vm_init.record`'s contract over the programs of `freebsd`.

Untested on FreeBSD: its tests run fake programs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vm_init import freebsd, nodes, request
from vm_init.record import Record, alias
from vm_init.verdict import InitError

if TYPE_CHECKING:
    from vm_init.verdict import Caller, Granted


MODULES = {"tap": ("if_tuntap", "if_bridge"), "pci": ("vmm",), "vm": ("vmm", "nmdm")}
NO_DRIVER = "none"


class Host:
    """Where the programs and the nodes are; other than the host's own in tests only.

    Attributes:
        below: what stands before each program's path.
        nodes: where device nodes are.
    """

    below = ""
    nodes = nodes.REAL


def _run(argv: list[str]) -> str:
    return freebsd.run(argv, Host.below)


def intend(granted: Granted, caller: Caller, vm: str, together: object = ()) -> Record:
    """A record of what is not given yet.

    Raises:
        InitError: it is there already, or it is another device than the policy names.
    """
    del together
    name, kind = granted.request[0], request.kind(granted.request)
    nonce = os.urandom(8).hex()
    for module in MODULES[kind]:
        _run(freebsd.load(module))
    if kind == "tap":
        freebsd.create_tap(name, granted.target or "-", alias(nonce, caller.uid, vm))
        if _shown(name):
            raise InitError(f"{name}: not allowed on this host")
        tag = alias(nonce, caller.uid, vm)
        return Record("tap", name, nonce=nonce, target=granted.target, tag=tag)
    if kind == "pci":
        found, driver = freebsd.identity(_run(freebsd.identify(name)))
        if found != granted.pinned:
            raise InitError(f"{name}: is {found}, and the policy names {granted.pinned or '-'}")
        return Record("pci", name, target=str(caller.uid), former=driver)
    if _machine_owner(name) is not None:
        raise InitError(f"{name}: not allowed on this host")
    return Record("vm", name, nonce=nonce, target=str(caller.uid))


def act(record: Record, caller: Caller) -> Record:
    """Makes it, and gives its nodes to the caller.

    Raises:
        InitError: a program refused; what was begun is for `undo`.
    """
    if record.kind == "tap":
        for argv in freebsd.create_tap(record.name, record.target or "-", record.tag):
            _run(argv)
        nodes.give(f"/dev/{record.name}", caller.uid, Host.nodes)
    elif record.kind == "pci":
        _run(freebsd.bind(record.name))
    else:
        _run(freebsd.create_vm(record.name))
        for path in freebsd.vm_nodes(record.name, _siblings()):
            nodes.give(path, caller.uid, Host.nodes)
    return record._replace(done=True)


def _machine_owner(name: str) -> int | None:
    """Whose a virtual machine is; None when there is none of this name."""
    try:
        return os.lstat(f"{Host.nodes.dev}/vmm/{name}").st_uid
    except FileNotFoundError:
        return None


def _siblings() -> list[str]:
    try:
        return os.listdir(f"{Host.nodes.dev}/vmm.io")
    except FileNotFoundError:
        return []


def _shown(name: str) -> str:
    """What ifconfig says of an interface; empty when there is none."""
    try:
        return _run(freebsd.show(name))
    except InitError:
        return ""


def holds(record: Record, caller: Caller) -> bool:
    """Whether it is still as the record says."""
    if record.kind == "tap":
        return freebsd.described(_shown(record.name)) == record.tag
    if record.kind == "pci":
        return freebsd.identity(_run(freebsd.identify(record.name)))[1] == "ppt"
    return _machine_owner(record.name) == caller.uid


def undo(record: Record) -> str:
    """Takes it back; empty, or why it stays."""
    try:
        if record.kind == "tap":
            for argv in freebsd.destroy_tap(record.name, record.tag, _shown(record.name)):
                _run(argv)
        elif record.kind == "pci":
            if record.former != "ppt":
                _run(freebsd.unbind(record.name))
        elif _machine_owner(record.name) in (0, int(record.target)):
            _run(freebsd.destroy_vm(record.name))
    except InitError as error:
        return str(error)
    return ""
