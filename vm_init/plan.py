"""What would be given, and by which rule: told to whoever asks, as himself, never by root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_init import policy, wanted
from vm_init.start import IS_LINUX
from vm_init.verdict import InitError, Refused

if TYPE_CHECKING:
    from vm_init.verdict import Caller


def plan(who: Caller, vm: str) -> list[str]:
    """A line for each thing that a description asks for.

    Raises:
        InitError: the same lines, one of which is a refusal (77).
    """
    rules = policy.load()
    verdicts = policy.judge_all(who, wanted.read(vm), rules, _held(who.uid))
    lines = [
        f"refused  {one.why}"
        if isinstance(one, Refused)
        else f"granted  {' '.join(filter(None, one.request))}  ({one.line})"
        for one in verdicts
    ]
    if any(isinstance(one, Refused) for one in verdicts):
        raise InitError("\n".join(lines))
    return lines


def _held(uid: int) -> set[str]:
    """The interfaces that a user has, by their tags: the ledger is root's alone."""
    if not IS_LINUX:
        return set()
    from vm_init import netlink

    return {link.name for link in netlink.links() if link.alias.startswith(f"vmman:{uid}:")}
