"""The words that vm-init was called with."""

from __future__ import annotations

import re
from typing import NamedTuple

from vm_init.verdict import InitError

__all__ = ["Arguments", "USAGE", "read"]

USAGE = """\
usage: vm-init NAME [--dry-run | --check]     give NAME what its description asks for
       vm-init --release NAME                 take it back
       vm-init --grants                       list what is given to you (root: to everybody)
       vm-init --self-check                   tell what about the installation is unsafe
root itself, for a scheduler:
       vm-init --for-user USER [--job ID] NAME
       vm-init --release --job ID
"""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ACTS = {"--dry-run", "--check", "--release", "--grants", "--self-check", "--help"}
WITH_VALUE = {"--for-user", "--job"}


class Arguments(NamedTuple):
    """What is to be done.

    Attributes:
        act: give, --dry-run, --check, --release, --grants, --self-check or --help.
        name: the VM; empty where none is meant.
        for_user: whose VM, when root itself asks; else empty.
        job: the scheduler's id for it; else empty.
    """

    act: str
    name: str = ""
    for_user: str = ""
    job: str = ""


def read(argv: list[str]) -> Arguments:
    """What the words mean.

    Raises:
        InitError: they are not as above (64).
    """
    given: dict[str, str] = {}
    names: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            names += [_name(name, "a VM's name") for name in words]
        elif word in given:
            raise InitError(f"{word} is given twice\n{USAGE}", status=64)
        elif word in WITH_VALUE:
            given[word] = _name(next(words, ""), word)
        elif word in ACTS:
            given[word] = word
        else:
            names.append(_name(word, "a VM's name"))
    return _meant(given, names)


def _name(word: str, what: str) -> str:
    if not NAME.fullmatch(word):
        raise InitError(f"{what} must be letters, digits, '.', '_' or '-'\n{USAGE}", status=64)
    return word


def _meant(given: dict[str, str], names: list[str]) -> Arguments:
    acts = [act for act in given if act in ACTS]
    act = acts[0] if acts else "give"
    job = given.get("--job", "")
    by_job = act == "--release" and bool(job)
    wanted = 0 if by_job or act in ("--grants", "--self-check", "--help") else 1
    if len(acts) > 1 or len(names) != wanted:
        raise InitError(USAGE, status=64)
    return Arguments(act, "".join(names), given.get("--for-user", ""), job)
