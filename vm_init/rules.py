"""The language of the policy: its rules, and reading them.

Every key, text and type that is not understood is told, and then nothing of the file counts: a bad
line must not just disappear. The language is vm-policy.toml(5).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, TypeGuard

from vm_init.request import ADDRESS, NAME, NETWORK
from vm_init.verdict import InitError

# What vm_spec makes for a card without name and address.
DEFAULTS = {"interfaces": ("vm" + 8 * "[0-9a-f]",), "macs": ("52:*",)}
_INTERFACES = 4

NOBODY = "(?![@#*%!-])"  # no user and no group is called so
_WHO = rf"\*|@?#[0-9]{{1,10}}|@?{NOBODY}[^\0-\x20\x7f,:/](?:[^\0-\x1f\x7f,:/]*\S)?"
_PINNED = rf"{ADDRESS} [0-9a-f]{{4}}:[0-9a-f]{{4}}"
_OCTET = r"(?:[0-9a-f]{2}|\*)"
_GLOB = r"/dev(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:*-]{1,64}){1,6}"

_Forms = dict[str, tuple[str, str]]
_GRANTED: _Forms = {
    "who": (_WHO, '"alice", "@group", "#1000", "@#1000" or "*"'),
    "bridges": (NAME, "a bridge's whole name"),
    "host-interfaces": (NAME, "an interface's whole name"),
    "networks": (NETWORK, "a name of [networks]"),
    "interfaces": ("(?:%u|[A-Za-z])(?:%u|[A-Za-z0-9_.*-]){0,31}", '"vm*" or "%u-*"'),
    "macs": (rf"(?:{_OCTET}:){{0,5}}\*|(?:{_OCTET}:){{5}}{_OCTET}", '"52:54:*"'),
    "pci": (_PINNED, 'an address and what is there, "0000:01:00.0 10de:1b80"'),
    "nodes": (rf"(?!/dev/\*){_GLOB}", '"/dev/input/event*"'),
    "vms": ("(?:%u|[A-Za-z0-9_.*-]){1,64}", '"%u-*" or "*"'),
}
_DENIED: _Forms = _GRANTED | {
    "interfaces": ("(?:%u|[A-Za-z0-9_.*-]){1,32}", '"eth*" or "*"'),
    "pci": (ADDRESS, 'the address alone, "0000:01:00.0"'),
    "nodes": (_GLOB, '"/dev/input/*"'),
}


# Keys of [bridges.NAME], and the value of each that brings a word of a port: KEY or no-KEY.
_FLAGS = {"bpdu-guard": True, "isolated": True, "learning": False}


class Network(NamedTuple):
    """What a network's name stands for on this host.

    Attributes:
        bridge: what a tap of it is joined to; empty for none.
        interface: what a macvtap of it is put on; empty for none.
    """

    bridge: str = ""
    interface: str = ""


class Rule(NamedTuple):
    """One `[[grant]]` or `[[deny]]`.

    Attributes:
        title: `grant 2` is the second grant of the file.
        lists: the texts of each key; of a grant, also the defaults.
        most: how many interfaces a user may hold, this one among them.
        unbridged: taps that are joined to nothing.
    """

    title: str
    lists: Mapping[str, tuple[str, ...]]
    most: int = _INTERFACES
    unbridged: bool = False


class Policy(NamedTuple):
    """A policy that was read whole.

    Attributes:
        path: the file.
        grants: in the order of the file.
        denies: the same.
        networks: by name.
        ports: of a bridge, what the ports of its taps are to be, in words of `netlink.PORT`.
        found: whether there is such a file.
    """

    path: str
    grants: tuple[Rule, ...] = ()
    denies: tuple[Rule, ...] = ()
    networks: Mapping[str, Network] = {}
    ports: Mapping[str, str] = {}
    found: bool = True


def read(data: bytes, path: str) -> Policy:
    """The policy that a file's bytes are.

    Raises:
        InitError: status 78, with everything that is not understood, a line each.
    """
    try:
        tree: dict[str, object] = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InitError(f"{path}: is not TOML: {error}", 78) from None
    faults = list(_unknown("", tree, ("grant", "deny", "networks", "bridges")))
    networks = dict(_networks(tree.get("networks", {}), faults))
    grants = tuple(_rules("grant", tree.get("grant", []), networks, faults))
    denies = tuple(_rules("deny", tree.get("deny", []), networks, faults))
    ports = dict(_ports(tree.get("bridges", {}), faults))
    faults += _pinned_twice(grants)
    if faults:
        raise InitError("\n".join(f"{path}: {fault}" for fault in faults), 78)
    return Policy(path, grants, denies, networks, ports)


def _is_table(given: object) -> TypeGuard[dict[str, object]]:
    return isinstance(given, dict)


def _is_list(given: object) -> TypeGuard[list[object]]:
    return isinstance(given, list)


def _unknown(where: str, table: Collection[str], known: Collection[str]) -> Iterator[str]:
    for key in table:
        if key not in known:
            yield f"{where}{key!a}: is not a known key: {', '.join(known)}"


def _tables(
    kind: str, given: object, known: Collection[str], faults: list[str]
) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Of tables with names: where each is, its name, and the table."""
    form = NETWORK if kind == "networks" else NAME
    if not _is_table(given):
        faults.append(f"{kind}: must be tables, [{kind}.NAME]")
        return
    for name, table in given.items():
        where = f"{kind}.{name}" if re.fullmatch(form, name) else f"{kind}.{name!a}"
        if not re.fullmatch(form, name) or not _is_table(table) or not table:
            faults.append(f"{where}: must be a name with any of {', '.join(known)}")
            continue
        faults += _unknown(f"{where}.", table, known)
        yield where, name, table


def _networks(given: object, faults: list[str]) -> Iterator[tuple[str, Network]]:
    known = ("bridge", "host-interface")
    for where, name, table in _tables("networks", given, known, faults):
        names = {key: _one_of(value) for key, value in table.items()}
        faults += [f"{where}.{key!a}: must be a whole name" for key in names if not names[key]]
        yield name, Network(names.get("bridge", ""), names.get("host-interface", ""))


def _ports(given: object, faults: list[str]) -> Iterator[tuple[str, str]]:
    for where, name, table in _tables("bridges", given, _FLAGS, faults):
        odd = [key for key in table if type(table[key]) is not bool]
        faults += [f"{where}.{key!a}: must be true or false" for key in odd]
        words = {key: key if on else f"no-{key}" for key, on in _FLAGS.items()}
        yield name, " ".join(words[key] for key, on in _FLAGS.items() if table.get(key) is on)


def _one_of(given: object) -> str:
    return given if isinstance(given, str) and re.fullmatch(NAME, given) else ""


def _rules(
    kind: str, given: object, networks: Collection[str], faults: list[str]
) -> Iterator[Rule]:
    if not _is_list(given) or not all(map(_is_table, given)):
        faults.append(f"{kind}: must be tables, [[{kind}]]")
        return
    for number, table in enumerate(filter(_is_table, given), 1):
        rule = _rule(kind, f"{kind} {number}", table, faults)
        unknown = [name for name in rule.lists.get("networks", ()) if name not in networks]
        faults += [f"{rule.title}.networks: there is no [networks.{name}]" for name in unknown]
        if not rule.lists.get("who"):
            faults.append(f"{rule.title}.who: must say who: {_GRANTED['who'][1]}")
        yield rule


def _rule(kind: str, title: str, table: dict[str, object], faults: list[str]) -> Rule:
    """A deny that names nothing denies everything, so that one that seems to must not be there."""
    is_deny = kind == "deny"
    forms = _DENIED if is_deny else _GRANTED
    scalars = ("unbridged",) if is_deny else ("most-interfaces", "unbridged")
    faults += _unknown(f"{title}.", table, (*forms, *scalars))
    if is_deny:
        faults += [f"{title}.{key}: denies nothing" for key in table if table[key] in ([], False)]
    lists = dict(_lists(title, table, forms, faults))
    most, unbridged = table.get("most-interfaces", _INTERFACES), table.get("unbridged", False)
    if type(most) is not int or not 0 <= most <= 1000:
        faults.append(f"{title}.most-interfaces: must be a whole number from 0 to 1000")
        most = 0
    if type(unbridged) is not bool:
        faults.append(f"{title}.unbridged: must be true or false")
    return Rule(title, lists if is_deny else DEFAULTS | lists, most, unbridged is True)


def _lists(
    title: str, table: dict[str, object], forms: _Forms, faults: list[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, given in table.items():
        if key in forms:
            form, example = forms[key]
            said = given if _is_list(given) else [None]
            fit = tuple(text for text in said if isinstance(text, str) and re.fullmatch(form, text))
            if len(fit) < len(said):
                faults.append(f"{title}.{key}: must be a list, each of it {example}")
            yield key, fit


def _pinned_twice(grants: tuple[Rule, ...]) -> Iterator[str]:
    pins: dict[str, str] = {}
    for rule in grants:
        for address, _, device in (text.partition(" ") for text in rule.lists.get("pci", ())):
            if pins.setdefault(address, device) != device:
                yield f"{rule.title}.pci: {address} is pinned to {pins[address]} too"
