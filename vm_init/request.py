"""What the caller's half asks of root: a few lines of a strict grammar.

    vmman 1
    tap NAME bridge BRIDGE              `-` for no bridge
    tap NAME network NETWORK
    macvtap NAME on INTERFACE mac ADDRESS
    macvtap NAME network NETWORK mac ADDRESS
    pci ADDRESS
    node PATH
    vm NAME                             FreeBSD only
    end COUNT

Root reads it from a process that the caller controls: `parse` is total, and refuses the whole frame
for any doubt.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_BYTES = 16 * 1024
MAX_REQUESTS = 64

NAME = r"(?!(?:all|default|lo[0-9]*)(?![A-Za-z0-9_.-]))[A-Za-z][A-Za-z0-9_.-]{0,14}"
NETWORK = r"[A-Za-z][A-Za-z0-9_.-]{0,47}"
MAC = r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](?::[0-9a-f]{2}){5}"
ADDRESS = r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
VM = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
# What a description can name: evdev(4) of virtio-input, and serial ports of com1 to com4.
NODE = r"/dev/(?:input/event[0-9]{1,4}|tty(?:S|USB|ACM|AMA)[0-9]{1,4}|cua[uU][0-9A-Za-z.]{1,8})"

_FORMS = {
    "tap": rf"tap (?P<name>{NAME}) (?:bridge (?P<target>{NAME}|-)|network (?P<network>{NETWORK}))",
    "macvtap": rf"macvtap (?P<name>{NAME})"
    rf" (?:on (?P<target>{NAME})|network (?P<network>{NETWORK})) mac (?P<mac>{MAC})",
    "pci": rf"pci (?P<name>{ADDRESS})",
    "node": rf"node (?P<name>{NODE})",
    "vm": rf"vm (?P<name>{VM})",
}


class RequestError(Exception):
    """The frame is wrong. Nobody learns in which way."""


class Request(NamedTuple):
    """One thing that is asked for.

    Attributes:
        line: its line of the frame.
        kind: tap, macvtap, pci, node or vm.
        name: the interface, the PCI address, the node's path, or the VM.
        target: the bridge of a tap (`-` for none) or the interface of a macvtap; else empty.
        network: a name that the policy maps to a bridge or an interface; else empty.
        mac: a macvtap's Ethernet address; else empty.
    """

    line: str
    kind: str
    name: str
    target: str = ""
    network: str = ""
    mac: str = ""


def parse(frame: bytes) -> tuple[Request, ...]:
    """The requests of a frame, no two of one thing.

    Raises:
        RequestError: the frame is not of the form above.
    """
    if len(frame) > MAX_BYTES or not frame.isascii() or not frame.endswith(b"\n"):
        raise RequestError
    first, *lines = frame[:-1].decode("ascii").split("\n")
    last = lines.pop() if lines else ""
    if first != "vmman 1" or last != f"end {len(lines)}" or len(lines) > MAX_REQUESTS:
        raise RequestError
    requests = tuple(map(parse_line, lines))
    things = [(one.kind.removeprefix("macv"), one.name) for one in requests]
    things += [("mac", one.mac) for one in requests if one.mac]
    if len(set(things)) < len(things):
        raise RequestError
    return requests


def parse_line(line: str) -> Request:
    """The request of one line.

    Raises:
        RequestError: it has none of the forms.
    """
    kind = line.partition(" ")[0]
    found = re.fullmatch(_FORMS.get(kind, "(?!)"), line)
    if not found:
        raise RequestError
    return Request(line, kind, **{key: text for key, text in found.groupdict().items() if text})
