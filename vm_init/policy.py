"""Who may have what: the admin's file, and the verdict on each request.

A rule stands by itself: one grant must allow all of a request, and any deny that names a part of it
wins, wherever it stands. No rule means no. A verdict comes of the file and of what was asked alone:
nothing here looks at the host. The language is vm-policy.toml(5).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from vm_init import trusted
from vm_init.request import Macvtap, Node, Pci, Request, RequestError, Tap, Vm, parse, render
from vm_init.rules import DEFAULTS, NOBODY, Network, Policy, Rule, read
from vm_init.verdict import Caller, Granted, Refused, plain

_BSD = sys.platform.startswith("freebsd")
FILE = "/usr/local/etc/vmman/policy.toml" if _BSD else "/etc/vmman/policy.toml"

# No policy can give these: the whole of memory, disks and guests, consoles, what acts on the host
# as its hardware, and what everybody shares (a node's owner may change its mode). Each stands for
# what is below it too. What a tap, macvtap or PCI device needs is given with that, never alone.
_MEMORY = "mem|kmem|port|io|oldmem|kmsg|klog|nvram|crash|mcelog|cpu|cpuctl.*|msr.*|pmem.*|dax.*"
_DISKS = (
    "[shv]d.*|xvd.*|nvme.*|nda.*|nvd.*|a?da[0-9].*|vtbd.*|mmc.*|dm-.*|mapper|loop.*|md.*|sr.*|sg.*"
    "|n?s[at][0-9].*|cd.*|zram.*|ram.*|nbd.*|rbd.*|drbd.*|bcache.*|ublk.*|mtd.*|ubi.*|raw.*|bsg"
    "|disk.*|block|char|pass.*|xpt.*|ses.*|geom.*|gpt.*|label|ufs|mirror|raid.*|btrfs-.*|zfs|scd.*"
)
_CONSOLES = "tty.*|cua.*|console.*|ptmx|pt[sy].*|vcs.*|uinput|uhid|input/uinput|sysmouse|usbmon.*"
_HOST = (
    "watchdog.*|mei.*|tpm.*|ipmi.*|rtc.*|i2c.*|gpio.*|hpet|cpu_dma_latency|rfkill|snapshot|autofs"
    "|acpi|apm.*|pci|devctl.*|bpf.*|pf|dtrace|audit.*|userfaultfd|xen|sgx.*|sev|fuse|cuse|ppp|uio.*"
)
_GUESTS = r"vfio|iommu|net|tap.*|tun.*|vmnet.*|vmm|vmm\.io|vmmctl|vhost-vdpa.*"
_SHARED = "null|zero|full|u?random|hwrng|fd|std(?:in|out|err)|shm|mqueue|hugepages|core|log"
_NEVER = f"/dev/(?:{_MEMORY}|{_DISKS}|{_CONSOLES}|{_HOST}|{_GUESTS}|{_SHARED})(?:/.*)?|lo[0-9]*"

_BARE = Rule("", DEFAULTS)
_MEMBER = re.compile(rf"{NOBODY}.+", re.DOTALL)


def load(path: str = FILE) -> Policy:
    """The policy of this host; one that allows nothing when there is no file.

    Raises:
        InitError: status 78; others than root could have written the file, or not all of it is
            understood.
    """
    try:
        return read(trusted.read(path), path)
    except FileNotFoundError:
        return Policy(path, found=False)


def judge_all(
    caller: Caller,
    requests: tuple[Request, ...],
    policy: Policy,
    held: Collection[str] = (),
    others: Collection[str] = (),
) -> tuple[Granted | Refused, ...]:
    """A verdict for each request of a frame.

    Args:
        caller: who asks.
        requests: what for.
        policy: what the admin says.
        held: the interfaces that the caller has already, those of this VM among them.
        others: what other users and VMs have.
    """
    names = {request.name for request in requests if isinstance(request, Tap | Macvtap)}
    total = len(names.union(held))
    verdicts = (judge(caller, request, policy, total) for request in requests)
    return tuple(_unless_taken(one, others) for one in verdicts)


def _unless_taken(one: Granted | Refused, others: Collection[str]) -> Granted | Refused:
    taken = isinstance(one, Granted) and one.request[0] in others
    return Refused(one.request, "is another user's, or another VM's") if taken else one


def judge(caller: Caller, request: Request, policy: Policy, total: int = 1) -> Granted | Refused:
    """Whether a request is allowed; total is how many interfaces the caller would then hold."""
    if why := _impossible(caller, request) or _denied(caller, request, policy):
        return _refused(caller, request, why)
    near = [(sys.maxsize, _would(caller, policy, _lacks(_BARE, caller, request, policy, total)))]
    for rule in policy.grants:
        if _is_for(rule, caller):
            lacking = list(_lacks(rule, caller, request, policy, total))
            if not lacking:
                return _granted(request, rule, policy)
            what = f"{rule.title} of {policy.path} would allow it with: {', '.join(lacking)}"
            near.append((len(lacking), what))
    return _refused(caller, request, min(near)[1])


def public(refused: Refused, caller: Caller) -> str:
    """What the caller is told: the same whatever exists here and whatever the policy says."""
    asked = _asked(refused.request) or "that"
    return f"{plain(caller.name)} may not have {asked}: ask the administrator about {FILE}"


def _refused(caller: Caller, request: Request, why: str) -> Refused:
    asked = _asked(request) or "what was asked"
    return Refused(request, f"{plain(caller.name)} (uid {caller.uid}) may not have {asked}: {why}")


def _asked(request: Request) -> str:
    """The request's line in the grammar; empty for one that the grammar would not let pass."""
    try:
        frame = render((request,))
        return frame.decode().split("\n")[1] if parse(frame) == (request,) else ""
    except (RequestError, ValueError):
        return ""


def _impossible(caller: Caller, request: Request) -> str:
    if not _asked(request):
        return "it is malformed"
    if caller.uid < 1 or not caller.name:
        return "only users are given anything, and root is none"
    is_odd = request[0].startswith(("/dev/", "lo"))  # to read the whole list takes its time
    return "no policy can allow it" if is_odd and re.fullmatch(_NEVER, request[0]) else ""


def _would(caller: Caller, policy: Policy, lacking: Iterator[str]) -> str:
    start = "has no grant for this user" if policy.found else "is not there"
    rule = " ".join(["[[grant]]", f'who = ["{plain(caller.name)}"]', *lacking])
    return f"{policy.path} {start}; this would allow it: {rule}"


def _granted(request: Request, rule: Rule, policy: Policy) -> Granted:
    (key, value), *_ = _demands(request)
    pins = dict(text.split(" ") for text in rule.lists.get("pci", ()))
    pinned = pins[value] if key == "pci" else ""
    line = f"{os.path.basename(policy.path)}: {rule.title} ({key})"
    place = _place(request, policy)[1]
    port = policy.ports.get(place, "") if isinstance(request, Tap) else ""
    return Granted(request, line, place, pinned, port)


def _demands(request: Request) -> tuple[tuple[str, str], ...]:
    """What one grant must name: keys and what they must cover."""
    match request:
        case Tap(name, bridge, network):
            place = ("networks", network) if network else ("bridges", bridge)
            return (place if bridge != "-" else ("unbridged", ""), ("interfaces", name))
        case Macvtap(name, parent, mac, network):
            place = ("networks", network) if network else ("host-interfaces", parent)
            return (place, ("interfaces", name), ("macs", mac))
        case Pci(address):
            return (("pci", address),)
        case Node(path):
            return (("nodes", path),)
        case Vm(name):
            return (("vms", name),)


def _place(request: Request, policy: Policy) -> tuple[str, str]:
    """The bridge or interface that a request would be joined to, with the key that names it."""
    if not isinstance(request, Tap | Macvtap):
        return "", ""
    network = policy.networks.get(request.network, Network())
    if isinstance(request, Macvtap):
        return "host-interfaces", network.interface if request.network else request.parent
    place = network.bridge if request.network else request.bridge
    return "bridges", place if place != "-" else ""


def _facets(request: Request, policy: Policy) -> set[tuple[str, str]]:
    """All that a deny may name: also the place by each of its names."""
    key, place = _place(request, policy)
    facets = {*_demands(request), (key, place)}
    for name, network in policy.networks.items():
        if place and place == (network.bridge if key == "bridges" else network.interface):
            facets.add(("networks", name))
    return facets


def _is_for(rule: Rule, caller: Caller) -> bool:
    mine = {"*", f"#{caller.uid}", *(f"@#{group}" for group in caller.groups)}
    mine.update(name for name in (caller.name,) if _MEMBER.fullmatch(name))
    mine.update(f"@{name}" for name in caller.group_names if _MEMBER.fullmatch(name))
    return not mine.isdisjoint(rule.lists.get("who", ()))


def _denied(caller: Caller, request: Request, policy: Policy) -> str:
    facets = _facets(request, policy)
    for rule in policy.denies:
        everything = set(rule.lists) == {"who"} and not rule.unbridged
        named = any(_covers(rule, key, value, caller) for key, value in facets)
        if _is_for(rule, caller) and (everything or named):
            return f"{rule.title} of {policy.path} denies it, and wins over every grant"
    return ""


def _lacks(
    rule: Rule, caller: Caller, request: Request, policy: Policy, total: int
) -> Iterator[str]:
    """What a grant would need beside what it has, as lines of the policy."""
    for key, value in _demands(request):
        if not _covers(rule, key, value, caller):
            pin = " VENDOR:DEVICE" if key == "pci" else ""
            yield "unbridged = true" if key == "unbridged" else f'{key} = ["{value}{pin}"]'
    if isinstance(request, Tap | Macvtap):
        key, place = _place(request, policy)
        if request.network and not place:
            yield f'networks.{request.network}.{key.removesuffix("s")} = "..."'
        if total > rule.most:
            yield f"most-interfaces = {total}"


def _covers(rule: Rule, key: str, value: str, caller: Caller) -> bool:
    texts = rule.lists.get(key, ())
    match key:
        case "unbridged":
            return rule.unbridged
        case "interfaces" | "vms":
            name = re.sub(r"[*?[]", r"[\g<0>]", caller.name)
            return any(fnmatchcase(value, text.replace("%u", name)) for text in texts)
        case "macs":
            return any(_parts_fit(value, text, ":") for text in texts)
        case "nodes":
            return any(_parts_fit(value, text, "/") for text in texts)
        case "pci":
            return any(value == text.split(" ")[0] for text in texts)
        case _:
            return value in texts


def _parts_fit(value: str, pattern: str, between: str) -> bool:
    """Each part by itself, so that no `*` reaches over a slash; 52:* is all octets that follow."""
    parts, patterns = value.split(between), pattern.split(between)
    if between == ":" and patterns[-1] == "*":
        patterns += ["*"] * (len(parts) - len(patterns))
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
