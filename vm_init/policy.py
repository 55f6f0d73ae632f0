"""Who may have what: the admin's file, and the verdict on all requests.

A rule stands by itself: one grant must cover all of a request, and any deny that covers a part
wins, wherever it stands. No rule means no. A verdict depends on the file and the request alone:
nothing here looks at the host. The language is vm-policy.toml(5).
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from vm_init import trusted
from vm_init.caller import Caller
from vm_init.errors import InitError, escape
from vm_init.request import ADDRESS, NAME, NETWORK, Request

_BSD = sys.platform.startswith("freebsd")
FILE = "/usr/local/etc/vmman/policy.toml" if _BSD else "/etc/vmman/policy.toml"
NO_NAME = "(?![@#*%!-])"  # no user and no group has such a name
_WHO = rf"\*|@?#[0-9]{{1,10}}|@?{NO_NAME}[^\0-\x20\x7f,:/](?:[^\0-\x1f\x7f,:/]*\S)?"
_OCTET = r"(?:[0-9a-f]{2}|\*)"
_MACS = rf"(?:{_OCTET}:){{0,5}}\*|(?:{_OCTET}:){{5}}{_OCTET}"
_NODES = r"/dev(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:*-]{1,64}){1,6}"
_PINNED = rf"{ADDRESS} [0-9a-f]{{4}}:[0-9a-f]{{4}}"

Form = tuple[Callable[[Any], bool], str]  # whether a value is right, and what it must be
Table = Mapping[str, Any]


def _lists(form: str, example: str) -> Form:
    def is_right(value: Any) -> bool:
        entries = _entries(value) if isinstance(value, list) else [None]
        return all(isinstance(entry, str) and re.fullmatch(form, entry) for entry in entries)

    return is_right, f"a list, each of it {example}"


BOOL: Form = (lambda value: type(value) is bool, "true or false")
ONE_NAME: Form = (lambda value: bool(re.fullmatch(NAME, str(value))), "a whole name")
COUNT: Form = (
    lambda value: type(value) is int and 0 <= value <= 1000, "a whole number from 0 to 1000",
)  # fmt: skip
RULE = {
    "who": _lists(_WHO, '"alice", "@group", "#1000", "@#1000" or "*"'),
    "bridges": _lists(NAME, "a bridge's whole name"),
    "host-interfaces": _lists(NAME, "an interface's whole name"),
    "networks": _lists(NETWORK, "a name of [networks]"),
    "interfaces": _lists("(?:%[ui]|[A-Za-z])(?:%[ui]|[A-Za-z0-9_.*-]){0,31}", '"vm%i-*" or "%u-*"'),
    "macs": _lists(_MACS, '"52:54:*"'),
    "pci": _lists(_PINNED, 'an address and what is there, "0000:01:00.0 10de:1b80"'),
    "nodes": _lists(rf"(?!/dev/\*){_NODES}", '"/dev/input/event*"'),
    "vms": _lists("(?:%[ui]|[A-Za-z0-9_.*-]){1,64}", '"%u-*" or "*"'),
    "unbridged": BOOL,
}
RULES = ("grant", "deny")
FORMS: dict[str, dict[str, Form]] = {
    "grant": RULE | {"most-interfaces": COUNT},
    "deny": RULE | {
        "interfaces": _lists("(?:%[ui]|[A-Za-z0-9_.*-]){1,32}", '"eth*" or "*"'),
        "pci": _lists(ADDRESS, 'the address alone, "0000:01:00.0"'),
        "nodes": _lists(_NODES, '"/dev/input/*"'),
    },
    "networks": {"bridge": ONE_NAME, "host-interface": ONE_NAME},
    "bridges": {"bpdu-guard": BOOL, "isolated": BOOL, "learning": BOOL, "pin": BOOL},
}  # fmt: skip
DEFAULTS = {
    **dict.fromkeys(RULE, ()), "interfaces": ["vm%i-*"], "macs": ["52:*"],
    "unbridged": False, "most-interfaces": 4,
}  # fmt: skip
# vm_spec's name of an interface that a description does not name: its owner's uid is in it.
DEFAULT_NAME = re.compile(r"vm([0-9a-z]{1,7})-[0-9a-v]{5}")


NO_KEYS: Table = MappingProxyType({})


class Policy(NamedTuple):
    """A policy that was read whole.

    Attributes:
        path: the file.
        grants: the keys of each, in the order of the file, with the defaults.
        denies: the same, without defaults.
        networks: by name, the `bridge` and the `host-interface` that it stands for.
        bridges: by name, the keys for the ports of its taps, and `pin`.
        found: whether there is such a file.
    """

    path: str
    grants: tuple[Table, ...] = ()
    denies: tuple[Table, ...] = ()
    networks: Mapping[str, Table] = {}
    bridges: Mapping[str, Table] = {}
    found: bool = True


class Granted(NamedTuple):
    """A request that the policy allows.

    Attributes:
        request: what is asked for.
        rule: the rule that allows it: `policy.toml: grant 2 (bridges)`.
        target: the bridge or interface that it is joined to; empty for none.
        pinned: the PCI id that the device must have, `10de:1b80`; empty for other requests.
        bridge: the policy's keys for the bridge of a tap.
    """

    request: Request
    rule: str
    target: str = ""
    pinned: str = ""
    bridge: Table = NO_KEYS


def load(path: str = FILE) -> Policy:
    """The policy of this host; one that allows nothing when there is no file.

    Raises:
        InitError: others than root can write the file, or not all of it is understood (78).
    """
    try:
        return parse(trusted.read(path), path)
    except FileNotFoundError:
        return Policy(path, found=False)


def parse(data: bytes, path: str) -> Policy:
    """The policy in a file's bytes.

    Raises:
        InitError: all that is not understood, a line each (78): a bad line must not disappear.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InitError(f"{path}: is not TOML: {error}", os.EX_CONFIG) from None
    if faults := list(_find_faults(tree)):
        raise InitError("\n".join(f"{path}: {fault}" for fault in faults), os.EX_CONFIG)
    grants = tuple(DEFAULTS | rule for rule in tree.get("grant", []))
    denies = tuple(tree.get("deny", []))
    return Policy(path, grants, denies, tree.get("networks", {}), tree.get("bridges", {}))


def _find_faults(tree: Table) -> Iterator[str]:
    for kind in tree.keys() - FORMS.keys():
        yield f"{kind!a}: is not a known key: {', '.join(FORMS)}"
    for kind in FORMS.keys() & tree.keys():
        if type(tree[kind]) is not (list if kind in RULES else dict):
            yield f"{kind}: must be tables, " + (
                f"[[{kind}]]" if kind in RULES else f"[{kind}.NAME]"
            )
    pins: dict[str, str] = {}
    for where, kind, table in _list_tables(tree):
        yield from (f"{where}{fault}" for fault in _find_faults_of(kind, table))
        given = _entries_of(table) if kind == "grant" else {}
        for name in map(str, _entries(given.get("networks"))):
            if name not in _entries_of(tree.get("networks")):
                yield f"{where}.networks: there is no [networks.{name}]"
        for address, _, device in (str(pin).partition(" ") for pin in _entries(given.get("pci"))):
            if pins.setdefault(address, device) != device:
                yield f"{where}.pci: {address} is pinned to {pins[address]} too"


def _list_tables(tree: Table) -> Iterator[tuple[str, str, Any]]:
    """Each table of a policy, with where it is and of what kind."""
    for kind in RULES:
        for number, table in enumerate(_entries(tree.get(kind)), 1):
            yield f"{kind} {number}", kind, table
    for kind in ("networks", "bridges"):
        for name, table in _entries_of(tree.get(kind)).items():
            is_name = re.fullmatch(NETWORK if kind == "networks" else NAME, name)
            yield f"{kind}.{name if is_name else ascii(name)}", kind, table if is_name else None


def _entries(value: Any) -> list[Any]:
    return [*cast("list[object]", value)] if isinstance(value, list) else []


def _entries_of(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _find_faults_of(kind: str, table: Any) -> Iterator[str]:
    """What of one table is not understood."""
    forms = FORMS[kind]
    table = _entries_of(table)
    if not table:
        yield f": must be a name, and a table with any of {', '.join(forms)}"
        return
    for key, value in table.items():
        if key not in forms:
            yield f".{key!a}: is not a known key: {', '.join(forms)}"
        elif not forms[key][0](value):
            yield f".{key}: must be {forms[key][1]}"
        elif kind == "deny" and not value:
            yield f".{key}: denies nothing"
    if "who" in forms and not table.get("who"):
        yield f".who: must be {forms['who'][1]}"


def judge(
    caller: Caller, requests: Collection[Request], policy: Policy, held: Collection[str] = ()
) -> list[Granted]:
    """All requests, granted.

    Args:
        caller: who asks.
        requests: for what.
        policy: what the admin allows.
        held: the names of the interfaces that the caller has.

    Raises:
        InitError: some are not allowed: a line each, in the same words whatever exists (77).
    """
    total = count_interfaces(requests, held)
    found = {one: find_grant(caller, one, policy, total) for one in requests}
    refused = [one.line for one, granted in found.items() if granted is None]
    if refused:
        who, where = escape(caller.name), f"ask the administrator about {FILE}"
        raise InitError("\n".join(f"{who} may not have {line}: {where}" for line in refused))
    return [granted for granted in found.values() if granted]


def count_interfaces(requests: Collection[Request], held: Collection[str]) -> int:
    """How many interfaces the caller would have."""
    return len({one.name for one in requests if one.kind in ("tap", "macvtap")} | {*held})


def find_grant(caller: Caller, request: Request, policy: Policy, total: int) -> Granted | None:
    """The first grant that allows a request, when no deny forbids it; None for no."""
    owner = DEFAULT_NAME.fullmatch(request.name)
    if caller.uid < 1 or (owner and owner[1] != base36(caller.uid)):
        return None
    if any(is_denied_by(rule, caller, request, policy) for rule in policy.denies):
        return None
    for number, rule in enumerate(policy.grants, 1):
        if is_for(rule, caller) and not any(find_lacks(rule, caller, request, policy, total)):
            (key, value), *_ = list_demands(request)
            pins = dict(entry.split(" ") for entry in rule["pci"])
            target = find_target(request, policy)
            bridge = policy.bridges.get(target if request.kind == "tap" else "", NO_KEYS)
            line = f"{os.path.basename(policy.path)}: grant {number} ({key})"
            return Granted(request, line, target, pins[value] if key == "pci" else "", bridge)
    return None


def list_demands(request: Request) -> tuple[tuple[str, str], ...]:
    """What one grant must cover: keys of a rule, and values."""
    places = {"tap": "bridges", "macvtap": "host-interfaces"}
    if place := places.get(request.kind):
        where = ("networks", request.network) if request.network else (place, request.target)
        where = ("unbridged", "") if request.target == "-" else where
        return where, ("interfaces", request.name), *((("macs", request.mac),) * bool(request.mac))
    return (({"pci": "pci", "node": "nodes", "vm": "vms"}[request.kind], request.name),)


def find_target(request: Request, policy: Policy) -> str:
    """The bridge or interface that a request is joined to; empty for none."""
    key = "bridge" if request.kind == "tap" else "host-interface"
    if request.network:
        return str(policy.networks.get(request.network, {}).get(key, ""))
    return request.target.removeprefix("-")


def find_lacks(
    rule: Table, caller: Caller, request: Request, policy: Policy, total: int
) -> Iterator[tuple[str, str]]:
    """What a grant would need besides what it has: keys and values."""
    yield from (demand for demand in list_demands(request) if not covers(rule, *demand, caller))
    if request.network and not find_target(request, policy):
        key = "bridge" if request.kind == "tap" else "host-interface"
        yield f"networks.{request.network}.{key}", "..."
    if request.kind in ("tap", "macvtap") and total > rule["most-interfaces"]:
        yield "most-interfaces", str(total)


def is_for(rule: Table, caller: Caller) -> bool:
    """Whether a rule is about a caller, or a group of theirs."""
    is_name = re.compile(f"{NO_NAME}.+", re.DOTALL).fullmatch
    mine = {name for name in (caller.name,) if is_name(name)}
    mine |= {f"@{name}" for name in caller.group_names if is_name(name)}
    mine |= {"*", f"#{caller.uid}", *(f"@#{gid}" for gid in caller.groups)}
    return not mine.isdisjoint(rule["who"])


def is_denied_by(rule: Table, caller: Caller, request: Request, policy: Policy) -> bool:
    """Whether a deny covers any part of a request, also its bridge by another of its names."""
    target, kind = find_target(request, policy), request.kind
    facets = [*list_demands(request)]
    if target:
        key = "bridge" if kind == "tap" else "host-interface"
        facets.append((f"{key}s", target))
        same = [name for name, table in policy.networks.items() if table.get(key) == target]
        facets += [("networks", name) for name in same]
    everything = {*rule} == {"who"}
    return is_for(rule, caller) and (
        everything or any(covers(rule, *facet, caller) for facet in facets)
    )


def covers(rule: Table, key: str, value: str, caller: Caller) -> bool:
    """Whether an entry of a rule's key matches a value."""
    if key == "unbridged":
        return bool(rule.get(key))
    separators = {"macs": ":", "nodes": "/", "interfaces": "", "vms": ""}
    for entry in rule.get(key, ()):
        if key not in separators:
            if entry.split(" ")[0] == value:
                return True
            continue
        name = re.sub(r"[*?[]", r"[\g<0>]", caller.name)
        pattern = entry.replace("%u", name).replace("%i", base36(caller.uid))
        if _matches(value, pattern, separators[key]):
            return True
    return False


def _matches(value: str, pattern: str, separator: str) -> bool:
    """Each part by itself, so that no `*` reaches over a slash; 52:* is all octets that follow."""
    if not separator:
        return fnmatchcase(value, pattern)
    parts, patterns = value.split(separator), pattern.split(separator)
    if separator == ":" and patterns[-1] == "*":
        patterns += ["*"] * (len(parts) - len(patterns))
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def base36(number: int) -> str:
    """A number in digits and lower-case letters."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]
