"""What vm-init reports without changing anything; never as root.

Called by sudo, it gives up root first: all ids and groups, and the limits and the scheduling of
root's half; called by root itself, it refuses what reads a user's description.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator

from vm_init import ask, caller, hardening
from vm_init.caller import Caller
from vm_init.errors import InitError, escape
from vm_init.policy import (
    FILE,
    Policy,
    count_interfaces,
    find_grant,
    find_lacks,
    is_denied_by,
    is_for,
    load,
)
from vm_init.request import Request, parse_line

LIB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ETC = "/usr/local/etc" if sys.platform.startswith("freebsd") else "/etc"
MAX_LINKS = 256
USAGE = """\
usage: vm-init NAME [--dry-run | --check]     give NAME what its description requests
       vm-init --release NAME                 take it back
       vm-init --grants                       list what is given to you (root: to everybody)
       vm-init --self-check                   report what about the installation is unsafe
       vm-init --help | --version
root itself, for a scheduler:
       vm-init --for-user USER [--job ID] NAME
       vm-init --release [--force] --for-user USER NAME
       vm-init --release [--force] --job ID
"""


def run(act: str, name: str) -> list[str]:
    """What an inspection prints.

    Raises:
        InitError: what is wrong, or refused.
    """
    if act in ("--help", "-h"):
        return list[str](USAGE.splitlines())
    if act == "--version":
        return [f"vm-init {_find_version()}"]
    who = _give_up_root()
    if act == "--self-check":
        if faults := list_faults():
            raise InitError("\n".join(faults), os.EX_CONFIG)
        return ["only root can change what vm-init depends on"]
    if who is None:
        raise InitError("root inspects for no user: run it as the user, without sudo")
    return plan(who, name)


def _find_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vmman")
    except PackageNotFoundError:
        return "(not installed)"


def _give_up_root() -> Caller | None:
    """Becomes the user that called by sudo or doas; None for root itself, which becomes nobody.

    Raises:
        InitError: the process is partly another's (77).
    """
    if os.getuid() != 0 or os.geteuid() != 0:
        return caller.find_myself()
    environment = hardening.start()
    try:
        who = caller.find_caller(environment)
    except InitError:
        if environment.keys() - {"VMCONF_DIR"}:
            raise
        return None
    ask.become(who, environment.get("VMCONF_DIR", ""))
    return who


def plan(who: Caller, vm: str) -> list[str]:
    """A line for each thing that a description requests, with the rule or what is missing.

    Raises:
        InitError: the same lines, one of which is a refusal (77).
    """
    from vm_init import apply, description, netlink

    rules = load()
    requests = [parse_line(line) for line in description.read(vm)]
    links = netlink.list_links() if hardening.IS_LINUX else []
    # By their tags: the ledger is root's alone.
    held = {link.name for link in links if link.alias.startswith(f"vmman:{who.uid}:")}
    total = count_interfaces(requests, held)
    granted = [find_grant(who, one, rules, total) for one in requests]
    lines: list[str] = []
    for one, grant in zip(requests, granted, strict=True):
        reason = "" if grant else explain(who, one, rules, total)
        if grant and one.name not in held:
            try:
                apply.check(grant, who, [each for each in granted if each])
            except InitError as error:
                reason = str(error)
        shown = one.line.partition(" ")[2]
        lines.append(
            f"refused  {reason}" if reason else f"granted  {shown}  ({grant and grant.rule})"
        )
    if any(line.startswith("refused") for line in lines):
        raise InitError("\n".join(lines))
    return lines or ["nothing that it requests takes root"]


def explain(who: Caller, request: Request, rules: Policy, total: int) -> str:
    """Why a request is not allowed, and what would allow it."""
    denies = [number for number, rule in enumerate(rules.denies, 1)
              if is_denied_by(rule, who, request, rules)]  # fmt: skip
    name = escape(who.name)
    head = f"{name} (uid {who.uid}) may not have {request.line}"
    if denies:
        return f"{head}: deny {denies[0]} of {rules.path} denies it, and wins over every grant"
    best: tuple[int, str] | None = None
    for number, rule in enumerate(rules.grants, 1):
        if is_for(rule, who):
            lacks = [_show_lack(*lack) for lack in find_lacks(rule, who, request, rules, total)]
            said = f"grant {number} of {rules.path} would allow it with: {', '.join(lacks)}"
            best = min(best or (len(lacks), said), (len(lacks), said))
    if best:
        return f"{head}: {best[1]}"
    from vm_init.policy import DEFAULTS

    lacks = [_show_lack(*lack) for lack in find_lacks(DEFAULTS, who, request, rules, total)]
    problem = "has no grant for this user" if rules.found else "does not exist"
    grant = " ".join(["[[grant]]", f'who = ["{name}"]', *lacks])
    return f"{head}: {rules.path} {problem}; this would allow it: {grant}"


def _show_lack(key: str, value: str) -> str:
    """A line of the policy."""
    match key:
        case "unbridged":
            return "unbridged = true"
        case "most-interfaces":
            return f"most-interfaces = {value}"
        case "pci":
            return f'pci = ["{value} VENDOR:DEVICE"]'
        case _:
            return f'{key} = "{value}"' if "." in key else f'{key} = ["{value}"]'


def list_faults(lib: str = LIB, etc: str = ETC) -> list[str]:
    """What of the installation others than root can change, a line each."""
    prefix = os.path.dirname(os.path.dirname(lib))
    found = [
        sys.executable,
        *filter(os.path.exists, sys.path),
        f"{prefix}/bin",  # where sudo finds the helper
        f"{prefix}/libexec/vmman/vm-init",
        f"{etc}/vmman/policy.toml",
        lib,
        *(f"{at}/{name}" for at, *names in os.walk(lib) for each in names for name in each),
        *filter(os.path.lexists, [f"{etc}/sudoers.d/vmman"]),
    ]
    strict = sys.flags.isolated and sys.flags.no_site
    flags = [] if strict else ["python was started without -IS: it trusts its environment"]
    return [*flags, *filter(None, map(find_unsafe, dict.fromkeys(found))), *_list_stale(lib)]


def _list_stale(lib: str) -> Iterator[str]:
    """Bytecode that does not belong to its source: an edit would have no effect."""
    from importlib.util import cache_from_source, source_hash

    for at, _, names in os.walk(lib):
        for path in (f"{at}/{name}" for name in names if name.endswith(".py")):
            compiled = cache_from_source(path)
            if os.path.exists(compiled):
                with open(compiled, "rb") as code, open(path, "rb") as source:
                    head = code.read(16)
                    is_hash = head[4:8] in (b"\1\0\0\0", b"\3\0\0\0")
                    if is_hash and head[8:] != source_hash(source.read()):
                        yield f"{compiled} is not compiled from {path}"


def find_unsafe(path: str, owner: int = 0) -> str:
    """What about a path lets others than `owner` change it; empty for nothing.

    Symbolic links are followed, since Python itself is often behind one: each link and each
    directory on both ways must be safe. To open a file by this answer would be a race.
    """
    done, todo = "/", [part for part in path.split("/")[::-1] if part]
    try:
        for _ in range(MAX_LINKS):
            status = os.lstat(done)
            is_link = stat.S_ISLNK(status.st_mode)
            if fault := _find_fault(status, {0, owner}, is_link=is_link):
                return f"{done} {fault}"
            if is_link:
                target = os.readlink(done)
                todo += [part for part in target.split("/")[::-1] if part not in ("", ".")]
                done = "/" if target.startswith("/") else os.path.dirname(done)
            elif todo:
                part = todo.pop()
                done = os.path.dirname(done) if part == ".." else os.path.join(done, part)
            else:
                return ""
    except OSError as error:
        return f"{done}: {error.strerror}"
    return f"{path} has too many symbolic links"


def _find_fault(status: os.stat_result, owners: set[int], *, is_link: bool) -> str:
    if status.st_uid not in owners:
        return f"belongs to uid {status.st_uid}"
    if is_link:  # its own mode means nothing
        return ""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "is neither a regular file nor a directory"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    return f"can be written by group {status.st_gid}" if status.st_mode & stat.S_IWGRP else ""


__all__ = ["FILE", "explain", "find_unsafe", "list_faults", "plan", "run"]
