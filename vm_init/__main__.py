"""vm-init: gives a user what the admin's policy allows, nothing else, and can take it back.

`_give` reads like the argument for why that is so: who asks (from the kernel and sudo, all of it
checked), what for (read by a process that is the caller's for good), what the policy says of each
request before the first is carried out, the ledger before each act, and only then the act.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from vm_init import arguments, ask, caller, start
from vm_init.arguments import USAGE, Arguments
from vm_init.request import Request
from vm_init.verdict import Caller, DeniedError, Granted, InitError, Refused, log

if TYPE_CHECKING:
    from vm_init.rules import Policy

PATIENCE_S = 10.0
WRONG_WORDS, BUSY, LACKS, REFUSALS = 64, 75, 69, (77, 78)
NOTHING = "it asks for nothing that takes root"


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        lines = _done(arguments.read(argv))
    except InitError as error:
        if os.geteuid() == 0 and error.status in REFUSALS and not isinstance(error, DeniedError):
            log(0, "refuse", " ".join(argv), str(error))
        _say(2, [f"vm-init: {line}" for line in str(error).splitlines()])
        return error.status
    except OSError as error:  # a full /run, for instance: what was begun is in the ledger
        _say(2, [f"vm-init: {error}"])
        return LACKS
    _say(1, lines)
    return 0


def _done(asked: Arguments) -> list[str]:
    match asked.act:
        case "--help":
            return list[str](USAGE.splitlines())
        case "--self-check":
            from vm_init import selfcheck

            selfcheck.check()
            return ["nobody but root can change what vm-init stands on"]
        case "--dry-run" | "--check":
            return _planned(asked)
        case _:
            act = {"--release": _release, "--grants": _grants}.get(asked.act, _give)
            return act(asked, start.start())


def _give(asked: Arguments, environment: dict[str, str]) -> list[str]:
    _demand_root_itself(asked, environment)
    who = caller.caller(environment, asked.for_user)
    confdir = environment.get("VMCONF_DIR", "")
    requests, rules = ask.ask(who, asked.name, confdir, _policy)
    start.drop_capabilities()
    from vm_init import carry, ledger

    with ledger.lock(ledger.ROOT, PATIENCE_S):
        granted = _judged(who, asked.name, requests, rules)
        book = ledger.Ledger.open(ledger.ROOT, who.uid, asked.name)
        book.job = asked.job or book.job
        done = carry.give(granted, who, book)
        if asked.job and book.records:
            book.done()  # the job's number, also when everything was given already
    return [*(done or [NOTHING]), f"next: vm-run {asked.name}"]


def _policy() -> Policy:
    """The policy; while the child reads there is time to load what comes next as well."""
    from vm_init import carry, ledger, policy, taps

    del carry, ledger, taps
    return policy.load()


def _judged(who: Caller, vm: str, requests: tuple[Request, ...], rules: Policy) -> list[Granted]:
    """Every request granted; or a refusal of them all, each logged.

    Raises:
        InitError: one of them is not allowed, or is another user's or VM's (77).
    """
    from vm_init import policy

    verdicts = policy.judge_all(who, requests, rules, *_held(who.uid, vm))
    refused = [one for one in verdicts if isinstance(one, Refused)]
    for one in refused:
        log(who.uid, "refuse", " ".join(map(str, one.request)), one.why)
    if refused:
        raise DeniedError("\n".join(dict.fromkeys(policy.public(one, who) for one in refused)))
    return [one for one in verdicts if isinstance(one, Granted)]


def _held(uid: int, vm: str) -> tuple[set[str], set[str]]:
    """The interfaces that a user has, and everything that other users and VMs have."""
    from vm_init import ledger

    given = [(book, each) for book in ledger.everything(ledger.ROOT) for each in book.records]
    mine = {each.name for book, each in given if book.uid == uid and each.is_link}
    return mine, {each.name for book, each in given if (book.uid, book.vm) != (uid, vm)}


def _planned(asked: Arguments) -> list[str]:
    """What would be given, with the rule behind each verdict; nothing of it needs root."""
    if os.getuid() == 0:
        environment = start.start()
        who = caller.caller(environment, asked.for_user)
        ask.become(who, environment.get("VMCONF_DIR", ""))  # before anything of his is opened
    elif asked.for_user:
        raise InitError("--for-user is for root itself", WRONG_WORDS)
    else:
        who = caller.myself()
    from vm_init import wanted

    return wanted.plan(who, asked.name) or [NOTHING]


def _release(asked: Arguments, environment: dict[str, str]) -> list[str]:
    _demand_root_itself(asked, environment)
    uid = 0 if asked.job else _whose(asked, environment)
    start.drop_capabilities()
    from vm_init import carry, ledger

    with ledger.lock(ledger.ROOT, PATIENCE_S):
        if uid:
            books = [ledger.Ledger.open(ledger.ROOT, uid, asked.name)]
        else:
            books = [book for book in ledger.everything(ledger.ROOT) if book.job == asked.job]
        left = [why for book in books for why in carry.release(book, force=bool(asked.force))]
    if left:
        raise InitError("\n".join(left), BUSY)
    return [f"{book.vm}: nothing is given to it any more" for book in books]


def _demand_root_itself(asked: Arguments, environment: dict[str, str]) -> None:
    """Refuses --job and --force to a user who came by sudo or doas.

    Raises:
        InitError: it is not root itself that asks (77).
    """
    if (asked.job or asked.force) and _is_by_user(environment):
        raise InitError(f"{'--job' if asked.job else '--force'} is for root itself")


def _is_by_user(environment: dict[str, str]) -> bool:
    return any(key.startswith(("SUDO_", "DOAS_")) for key in environment)


def _whose(asked: Arguments, environment: dict[str, str]) -> int:
    """The uid of whoever asks; root itself may name one whose account is gone."""
    if asked.for_user.startswith("#") and not _is_by_user(environment):
        return int(asked.for_user[1:])
    return caller.caller(environment, asked.for_user).uid


def _grants(asked: Arguments, environment: dict[str, str]) -> list[str]:
    from vm_init import ledger

    is_one = asked.for_user or _is_by_user(environment)
    uid = _whose(asked, environment) if is_one else None
    with ledger.lock(ledger.ROOT, PATIENCE_S):
        found = list(ledger.everything(ledger.ROOT))
    return [
        f"{book.uid} {book.vm} {record.kind} {record.name} {record.target or '-'}"
        for book in found
        if uid in (None, book.uid)
        for record in book.records
    ]


def _say(stream: int, lines: list[str]) -> None:
    """Writes lines, all at once and last of all; a reader that does not read holds up nothing."""
    text = "".join(f"{line}\n" for line in lines).encode("ascii", "backslashreplace")
    with suppress(OSError):
        former = os.get_blocking(stream)
        os.set_blocking(stream, False)
        try:
            os.write(stream, text)
        finally:
            os.set_blocking(stream, former)  # it is the caller's terminal


def entry() -> NoReturn:
    """The console script. Everything is written by then: taking Python down would cost 10 ms."""
    os._exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
