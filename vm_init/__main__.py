"""vm-init: gives a user what the admin's policy allows, nothing else, and can take it back.

`give` reads like the argument for why that is so: who asks (from the kernel and sudo, all of it
checked), what for (read by a process that is the caller's for good), what the policy says of each
request before the first is carried out, the ledger before each act, and only then the act.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from vm_init import arguments, ask, caller, carry, ledger, policy, start
from vm_init.arguments import USAGE
from vm_init.log import log
from vm_init.verdict import InitError, Refused

if TYPE_CHECKING:
    from vm_init.arguments import Arguments
    from vm_init.policy import Policy
    from vm_init.request import Request
    from vm_init.verdict import Caller, Granted

PATIENCE_S = 10.0


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        asked = arguments.read(argv)
        lines = _done(asked)
    except InitError as error:
        _say(2, [f"vm-init: {line}" for line in str(error).splitlines()])
        return error.status
    except OSError as error:  # a full /run, for instance: what was begun is in the ledger
        _say(2, [f"vm-init: {error}"])
        return 69
    _say(1, lines)
    return 0


def _done(asked: Arguments) -> list[str]:
    match asked.act:
        case "--help":
            return list[str](USAGE.splitlines())
        case "--self-check":
            return _checked()
        case "--dry-run" | "--check":
            return _planned(asked)
        case "--release":
            return _release(asked)
        case "--grants":
            return _grants(asked)
        case _:
            return _give(asked)


def _give(asked: Arguments) -> list[str]:
    environment = start.start()
    who = caller.caller(environment, asked.for_user)
    if asked.job:
        _is_root_itself(environment)
    rules = policy.load()
    requests = ask.ask(who, asked.name, environment.get("VMCONF_DIR", ""))
    start.drop_capabilities()
    with ledger.lock(ledger.ROOT, PATIENCE_S):
        granted = _judged(who, asked.name, requests, rules)
        book = ledger.Ledger.open(ledger.ROOT, who.uid, asked.name)
        book.job = asked.job or book.job
        done = carry.give(granted, who, book)
        if asked.job and book.records:
            book.done()  # the job's number, also when everything was given already
    return [*(done or ["it asks for nothing that takes root"]), f"next: vm-run {asked.name}"]


def _judged(who: Caller, vm: str, requests: tuple[Request, ...], rules: Policy) -> list[Granted]:
    """Every request granted; or a refusal of them all, each logged.

    Raises:
        InitError: one of them is not allowed, or is another user's or VM's (77).
    """
    held, others = _held(who.uid, vm)
    verdicts = policy.judge_all(who, requests, rules, held)
    refused = [one for one in verdicts if isinstance(one, Refused)]
    refused += [
        Refused(one.request, "is another user's, or another VM's")
        for one in verdicts
        if not isinstance(one, Refused) and one.request[0] in others
    ]
    for one in refused:
        log(who.uid, "refuse", " ".join(map(str, one.request)), one.why)
    if refused:
        raise InitError("\n".join(dict.fromkeys(policy.public(one, who) for one in refused)))
    return [one for one in verdicts if not isinstance(one, Refused)]


def _held(uid: int, vm: str) -> tuple[set[str], set[str]]:
    """The interfaces that a user has, and everything that other users and VMs have."""
    held: set[str] = set()
    others: set[str] = set()
    for owner, name, records in ledger.everything(ledger.ROOT):
        if (owner, name) != (uid, vm):
            others |= {record.name for record in records}
        if owner == uid:
            held |= {record.name for record in records if record.kind in ("tap", "macvtap")}
    return held, others


def _planned(asked: Arguments) -> list[str]:
    """What would be given, with the rule behind each verdict; nothing of it needs root."""
    who = _unprivileged(asked)
    rules = policy.load()
    verdicts = policy.judge_all(who, ask.read(asked.name), rules)
    lines = [
        f"refused  {one.why}"
        if isinstance(one, Refused)
        else f"granted  {' '.join(filter(None, one.request))}  ({one.line})"
        for one in verdicts
    ]
    if any(isinstance(one, Refused) for one in verdicts):
        raise InitError("\n".join(lines))
    return lines or ["it asks for nothing that takes root"]


def _unprivileged(asked: Arguments) -> Caller:
    """Who asks; root's rights are given up before anything of the caller's is opened."""
    if os.getuid() != 0:
        import pwd

        return caller.account(pwd.getpwuid(os.getuid()).pw_name)
    environment = start.start()
    who = caller.caller(environment, asked.for_user)
    ask.become(who, environment.get("VMCONF_DIR", ""))
    return who


def _release(asked: Arguments) -> list[str]:
    environment = start.start()
    who = None if asked.job else caller.caller(environment, asked.for_user)
    if asked.job:
        _is_root_itself(environment)
    start.drop_capabilities()
    with ledger.lock(ledger.ROOT, PATIENCE_S):
        books = (
            [ledger.Ledger.open(ledger.ROOT, who.uid, asked.name)] if who else _of_job(asked.job)
        )
        left = [why for book in books for why in carry.release(book, book.uid)]
    if left:
        raise InitError("\n".join(left), 75)
    return [f"{book.vm}: nothing is given to it any more" for book in books]


def _is_root_itself(environment: dict[str, str]) -> None:
    """Refuses a user who came by sudo or doas.

    Raises:
        InitError: it is not root itself that asks (77).
    """
    if any(key in environment for key in ("SUDO_UID", "DOAS_USER")):
        raise InitError("--job is for root itself")


def _of_job(job: str) -> list[ledger.Ledger]:
    """Every VM of a scheduler's job."""
    books = [
        ledger.Ledger.open(ledger.ROOT, uid, vm) for uid, vm, _ in ledger.everything(ledger.ROOT)
    ]
    return [book for book in books if book.job == job]


def _grants(asked: Arguments) -> list[str]:
    environment = start.start()
    by_user = any(key in environment for key in ("SUDO_UID", "DOAS_USER"))
    uid = caller.caller(environment, asked.for_user).uid if by_user or asked.for_user else None
    with ledger.lock(ledger.ROOT, PATIENCE_S):
        found = list(ledger.everything(ledger.ROOT))
    return [
        f"{owner} {vm} {record.kind} {record.name} {record.target or '-'}"
        for owner, vm, records in found
        if uid in (None, owner)
        for record in records
    ]


def _checked() -> list[str]:
    from vm_init import selfcheck

    selfcheck.check()
    return ["nobody but root can change what vm-init stands on"]


def _say(stream: int, lines: list[str]) -> None:
    """Writes lines, all at once and last of all; a reader that does not read holds up nothing."""
    text = "".join(f"{line}\n" for line in lines).encode("ascii", "backslashreplace")
    try:
        former = os.get_blocking(stream)
        os.set_blocking(stream, False)
        try:
            os.write(stream, text)
        finally:
            os.set_blocking(stream, former)  # it is the caller's terminal
    except OSError:
        pass


def entry() -> NoReturn:
    """The console script. Everything is written by then: taking Python down would cost 10 ms."""
    os._exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
