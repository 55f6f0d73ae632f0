"""vm-init: gives a user what the admin's policy allows, nothing else, and can take it back.

`_give` reads like the argument for why that is so: who asks (from the kernel and sudo, all of it
checked), what for (read by a process that is the caller's finally), what the policy says of each
request before the first is carried out, the ledger before each act, and only then the act.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

from vm_init import ask, caller, hardening
from vm_init.errors import InitError, log, write_log
from vm_init.policy import Granted, Policy
from vm_init.request import VM, Request

USAGE = "usage: vm-init NAME | --release NAME | --grants; see vm-init --help"
LOCK_TIMEOUT_S = 10.0
USER = rf"{VM}|#[1-9][0-9]{{0,9}}"
VALUES = {"--for-user": USER, "--job": VM}
FLAGS = {"--force"}
INSPECTIONS = {"--dry-run", "--check", "--self-check", "--help", "-h", "--version"}
ACTS = INSPECTIONS | {"--release", "--grants"}
# What each act goes with beside a name: without one, and with one.
GOES_WITH = {
    "give": {"--for-user", "--job"}, "--release": {"--for-user", "--job", "--force"},
    "--grants": {"--for-user"},
}  # fmt: skip
NAMELESS = {"--grants", "--self-check", "--help", "-h", "--version"}


class Arguments(NamedTuple):
    """What is to be done.

    Attributes:
        act: give, or one of ACTS.
        name: the VM; empty for none.
        options: --for-user, --job and --force with their values.
    """

    act: str
    name: str
    options: dict[str, str]


def parse_arguments(argv: list[str]) -> Arguments:
    """What the command line means.

    Raises:
        InitError: it is not one of vm-init(8)'s (64).
    """
    options: dict[str, str] = {}
    names: list[str] = []
    words = iter(argv)
    for word in words:
        if word in options:
            raise InitError(f"{word} is given twice\n{USAGE}", os.EX_USAGE)
        if word in VALUES:
            options[word] = _require(next(words, ""), VALUES[word], word)
        elif word in ACTS | FLAGS:
            options[word] = word
        else:
            names += [
                _require(name, VM, "a VM's name") for name in (words if word == "--" else [word])
            ]
    act, *more = [word for word in options if word in ACTS] or ["give"]
    is_nameless = act in NAMELESS or (act == "--release" and "--job" in options)
    others = {word: value for word, value in options.items() if word != act}
    if more or len(names) != (not is_nameless) or not {*others} <= GOES_WITH.get(act, set()):
        raise InitError(USAGE, os.EX_USAGE)
    if is_nameless and {"--job", "--for-user"} <= {*others}:
        raise InitError(USAGE, os.EX_USAGE)
    return Arguments(act, "".join(names), others)


def _require(word: str, form: str, what: str) -> str:
    if not re.fullmatch(form, word):
        problem = f"{what} must be letters, digits, '.', '_' or '-'"
        raise InitError(f"{problem}\n{USAGE}", os.EX_USAGE)
    return word


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    status, lines = os.EX_OK, list[str]()
    try:
        lines = _run(parse_arguments(argv))
    except (InitError, OSError) as error:  # a full /run: the ledger has what was begun
        status = getattr(error, "status", os.EX_UNAVAILABLE)
        lines = [f"vm-init: {line}" for line in str(error).splitlines()]
    if os.geteuid() == 0:
        write_log()
    _print(2 if status else 1, lines)
    return status


def _run(arguments: Arguments) -> list[str]:
    if arguments.act in INSPECTIONS:
        from vm_init import inspect  # gives root up first

        return inspect.run(arguments.act, arguments.name)
    environment = hardening.start()
    try:
        act = {"--release": _release, "--grants": _list_grants}.get(arguments.act, _give)
        return act(arguments, environment)
    except InitError as error:
        if error.status in (os.EX_NOPERM, os.EX_CONFIG):
            thing = f"{arguments.act} {arguments.name}"
            log(_find_uid(environment), "refuse", thing, str(error))
        raise


def _give(arguments: Arguments, environment: dict[str, str]) -> list[str]:
    _require_root_itself(arguments, environment)
    who = caller.find_caller(environment, arguments.options.get("--for-user", ""))
    confdir = environment.get("VMCONF_DIR", "")
    requests, rules = ask.ask(who, arguments.name, confdir, _load_policy)
    hardening.drop_capabilities()
    from vm_init import apply, ledger

    with ledger.lock(LOCK_TIMEOUT_S):
        granted = _judge(who, arguments.name, requests, rules)
        book = ledger.Ledger(who.uid, arguments.name)
        job = arguments.options.get("--job", "")
        is_new_job = bool(job) and job not in book.jobs
        book.jobs += [job] * is_new_job
        done = apply.give(granted, who, book)
        if is_new_job and book.records:
            book.write(book.records)  # also when everything was given already
    return [*(done or ["nothing that it requests takes root"]), f"next: vm-run {arguments.name}"]


def _load_policy() -> Policy:
    """The policy; while the child reads there is time to load what comes next as well."""
    from vm_init import apply, links, policy

    del apply, links
    return policy.load()


def _judge(
    who: caller.Caller, vm: str, requests: tuple[Request, ...], rules: Policy
) -> list[Granted]:
    """Every request granted.

    Raises:
        InitError: one of them is not allowed, or is another user's or VM's (77).
    """
    from vm_init import ledger, policy

    given = [(book, one) for book in ledger.list_ledgers() if isinstance(book, ledger.Ledger)
             for one in book.records]  # fmt: skip
    held = {one.name for book, one in given if book.uid == who.uid and one.tag}
    granted = policy.judge(who, requests, rules, held)
    others = {one.name for book, one in given if (book.uid, book.vm) != (who.uid, vm)}
    if taken := [one.name for one in requests if one.name in others]:
        raise InitError("\n".join(f"{name}: another user or VM has it" for name in taken))
    return granted


def _release(arguments: Arguments, environment: dict[str, str]) -> list[str]:
    _require_root_itself(arguments, environment)
    job = arguments.options.get("--job", "")
    uid = 0 if job else _find_owner(arguments, environment)
    hardening.drop_capabilities()
    from vm_init import apply, ledger

    left: list[str] = []
    with ledger.lock(LOCK_TIMEOUT_S):
        if uid:
            books = [ledger.Ledger(uid, arguments.name)]
        else:
            found = [book for book in ledger.list_ledgers() if isinstance(book, ledger.Ledger)]
            books = [book for book in found if job in book.jobs]
        for book in books:
            book.jobs = [each for each in book.jobs if each != job] if job else []
            if book.jobs:  # another job still needs it
                book.write(book.records)
            else:
                left += apply.release(book, force="--force" in arguments.options)
    if left:
        raise InitError("\n".join(left), os.EX_TEMPFAIL)
    return [f"{book.vm}: released" for book in books]


def _list_grants(arguments: Arguments, environment: dict[str, str]) -> list[str]:
    from vm_init import ledger

    is_one = "--for-user" in arguments.options or _is_by_user(environment)
    uid = _find_owner(arguments, environment) if is_one else None
    lines: list[str] = []
    for book in ledger.list_ledgers(owner=uid):  # without the lock: files are replaced whole
        if isinstance(book, InitError):
            raise book
        lines += [
            f"{book.uid} {book.vm} {record.kind} {record.name} {record.target or '-'}"
            for record in book.records
        ]
    return lines


def _require_root_itself(arguments: Arguments, environment: dict[str, str]) -> None:
    """Refuses --job and --force to a user who came by sudo or doas.

    Raises:
        InitError: it is not root itself that asks (77).
    """
    if _is_by_user(environment) and (denied := {"--job", "--force"} & {*arguments.options}):
        raise InitError(f"{min(denied)} is for root itself")


def _is_by_user(environment: dict[str, str]) -> bool:
    return any(key.startswith(("SUDO_", "DOAS_")) for key in environment)


def _find_uid(environment: dict[str, str]) -> int:
    """Whose the log line is; 0 for root itself."""
    with suppress(InitError):
        return caller.find_caller(environment).uid
    return 0


def _find_owner(arguments: Arguments, environment: dict[str, str]) -> int:
    """The uid of who asks; root itself may name one whose account is gone."""
    for_user = arguments.options.get("--for-user", "")
    if for_user.startswith("#") and not _is_by_user(environment):
        return int(for_user[1:])
    return caller.find_caller(environment, for_user).uid


def _print(stream: int, lines: list[str]) -> None:
    """Writes lines, all at once and last of all; a reader that does not read blocks nothing."""
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
