"""What was given to whom: one line of the ledger, and how each kind of thing is handled.

A module for each kind (`taps`, `macvtaps`, `nodes`, `pci`) has the same four functions, in the
order in which `vm_init.carry` calls them:

    intend(granted, caller, vm, together) -> Record    looks, changes nothing, or raises InitError
    act(record, caller) -> Record            does it; returns the record with what was found out
    holds(record, caller) -> bool            whether the thing is still as this record says
    undo(record) -> str                      takes it back; empty, or why it stays

`together` is every PCI address of the run. Of taps, `make` and `remove` do all of a run at once.

`intend`'s record is in the ledger, synced, before `act`; `act`'s record replaces it after. So
whatever a kill at any moment leaves can be undone by what the ledger says. `undo` must be right for
a record of any of the two, also when nothing of it was done yet, and also a second time.
"""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """One thing that was given, or is about to be.

    Attributes:
        kind: tap, macvtap, node, pci or vm.
        name: the interface, the node's path, or the PCI address.
        done: whether `act` has ended.
        nonce: 16 hex digits made for this record; part of an interface's alias.
        number: the interface's index, or the node's device number; 0 while unknown.
        target: the bridge or interface that it is joined to; empty for none.
        former: what was there before: a node's `uid:gid:mode`, a PCI device's driver.
        mac: a macvtap's Ethernet address.
        tag: an interface's alias, as `alias` makes it: its mark in the kernel.
        port: of a tap in a bridge, the words of `netlink.PORT` that are true of its port.
    """

    kind: str
    name: str
    done: bool = False
    nonce: str = ""
    number: int = 0
    target: str = ""
    former: str = ""
    mac: str = ""
    tag: str = ""
    port: str = ""


def alias(nonce: str, uid: int, vm: str) -> str:
    """The tag by which an interface is known to be a record's, and no later one of its name."""
    return f"vmman:{uid}:{vm}:{nonce}"
