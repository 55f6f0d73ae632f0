"""What is asked of root: a few lines of a small grammar, and nothing else.

    vmman 1
    tap NAME bridge BRIDGE
    tap NAME network NETWORK
    macvtap NAME on INTERFACE mac ADDRESS
    macvtap NAME network NETWORK mac ADDRESS
    pci ADDRESS
    node PATH
    vm NAME
    end COUNT

Each line ends in one newline, fields are parted by one space, and every field has one form. It is
read by root from a process that the caller controls: `parse` is total, and refuses the whole for
any doubt. A tap of no bridge is `tap NAME bridge -`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_BYTES = 16 * 1024
MOST_REQUESTS = 64

NAME = r"(?!(?:all|default)(?![A-Za-z0-9_.-]))[A-Za-z][A-Za-z0-9_.-]{0,14}"
NETWORK = r"[A-Za-z][A-Za-z0-9_.-]{0,47}"
MAC = r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](?::[0-9a-f]{2}){5}"
ADDRESS = r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
VM = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
PORT = r"(?:(?:bpdu-guard|isolated|no-learning)(?: (?!\Z)|\Z)){0,3}"
PATH = r"/dev(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:-]{1,64}){1,6}"


class RequestError(Exception):
    """What came is no request. It is never told what was wrong with it."""


class Tap(NamedTuple):
    """A tap interface, joined to a bridge.

    Attributes:
        name: the interface.
        bridge: the bridge, or `-` for none; empty when `network` is given.
        network: a name that the policy of this host stands for with a bridge.
    """

    name: str
    bridge: str = ""
    network: str = ""


class Macvtap(NamedTuple):
    """A macvtap interface on one of the host's.

    Attributes:
        name: the interface.
        parent: the host's interface; empty when `network` is given.
        mac: its Ethernet address.
        network: a name that the policy of this host stands for with an interface.
    """

    name: str
    parent: str = ""
    mac: str = ""
    network: str = ""


class Pci(NamedTuple):
    """A PCI device of the host.

    Attributes:
        address: 0000:01:00.0.
    """

    address: str


class Node(NamedTuple):
    """A device node.

    Attributes:
        path: an absolute path below /dev.
    """

    path: str


class Vm(NamedTuple):
    """The virtual machine itself, made by root and handed over: FreeBSD only.

    Attributes:
        vm: what the kernel calls it.
    """

    vm: str


Request = Tap | Macvtap | Pci | Node | Vm

_OF_LINKS = {"{name}": NAME, "{bridge}": f"{NAME}|-", "{network}": NETWORK, "{parent}": NAME}
_FORMS = _OF_LINKS | {"{mac}": MAC, "{address}": ADDRESS, "{path}": PATH, "{vm}": VM}
_GRAMMAR: tuple[tuple[str, type[Request]], ...] = (
    ("tap {name} network {network}", Tap),
    ("tap {name} bridge {bridge}", Tap),
    ("macvtap {name} network {network} mac {mac}", Macvtap),
    ("macvtap {name} on {parent} mac {mac}", Macvtap),
    ("pci {address}", Pci),
    ("node {path}", Node),
    ("vm {vm}", Vm),
)


def parse(frame: bytes) -> tuple[Request, ...]:
    """The requests of a frame, all of them different.

    Raises:
        RequestError: anything about it is not as above.
    """
    if len(frame) > MOST_BYTES or not frame.isascii() or not frame.endswith(b"\n"):
        raise RequestError
    first, *lines = frame[:-1].decode("ascii").split("\n")
    last = lines.pop() if lines else ""
    if first != "vmman 1" or last != f"end {len(lines)}" or len(lines) > MOST_REQUESTS:
        raise RequestError
    requests = tuple(_one(line) for line in lines)
    macs = [request.mac for request in requests if isinstance(request, Macvtap)]
    if len({_subject(one) for one in requests}) + len(set(macs)) != len(requests) + len(macs):
        raise RequestError
    return requests


def _one(line: str) -> Request:
    given = line.split(" ")
    for template, make in _GRAMMAR:
        form = template.split(" ")
        if len(form) == len(given) and all(map(_fits, form, given)):
            pairs = zip(form, given, strict=True)
            return make(**{word[1:-1]: text for word, text in pairs if word in _FORMS})
    raise RequestError


def _fits(word: str, text: str) -> bool:
    return bool(re.fullmatch(_FORMS[word], text)) if word in _FORMS else word == text


def kind(request: Request) -> str:
    """What is asked for: tap, macvtap, pci, node or vm."""
    return type(request).__name__.lower()


def _subject(request: Request) -> tuple[str, str]:
    """What a request is about: no two of one frame may be about the same thing."""
    return kind(request).removeprefix("macv"), request[0]


def render(requests: tuple[Request, ...]) -> bytes:
    """The frame of some requests: what the child writes.

    Raises:
        RequestError, UnicodeError: one of them has no line in the grammar.
    """
    lines = ["vmman 1", *map(_line, requests), f"end {len(requests)}", ""]
    return "\n".join(lines).encode("ascii")


def _line(request: Request) -> str:
    fields = request._asdict()
    for template, sort in _GRAMMAR:
        words = [word[1:-1] for word in template.split(" ") if word in _FORMS]
        if isinstance(request, sort) and all(fields[word] for word in words):
            return template.format(**fields)
    raise RequestError
