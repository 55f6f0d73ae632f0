"""The words that vm-init was called with."""

from __future__ import annotations

import re
from typing import NamedTuple

from vm_init.request import VM
from vm_init.verdict import InitError

USAGE = """\
usage: vm-init NAME [--dry-run | --check]     give NAME what its description asks for
       vm-init --release NAME                 take it back
       vm-init --grants                       list what is given to you (root: to everybody)
       vm-init --self-check                   tell what about the installation is unsafe
root itself, for a scheduler:
       vm-init --for-user USER [--job ID] NAME
       vm-init --release [--force] --for-user USER NAME
       vm-init --release [--force] --job ID
"""
VALUE = re.compile(VM)
USER = re.compile(rf"{VM}|#[1-9][0-9]{{0,9}}")
WITH_VALUE = {"--for-user", "--job"}
FLAGS = {"--force"}
ACTS = {"--dry-run", "--check", "--release", "--grants", "--self-check", "--help"}
# What an act goes with that does not go with --for-user alone.
ALONE = {act: set[str]() for act in ("--self-check", "--help")}
GOES_WITH = {"give": WITH_VALUE, "--release": WITH_VALUE | FLAGS} | ALONE


class Arguments(NamedTuple):
    """What is to be done.

    Attributes:
        act: give, --dry-run, --check, --release, --grants, --self-check or --help.
        name: the VM; empty where none is meant.
        for_user: whose VM, when root itself asks: a name, or `#` and a uid; else empty.
        job: the scheduler's id for it; else empty.
        force: `--force`, or empty.
    """

    act: str
    name: str = ""
    for_user: str = ""
    job: str = ""
    force: str = ""


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
            names += [_one(name, "a VM's name") for name in words]
        elif word in given:
            raise InitError(f"{word} is given twice\n{USAGE}", status=64)
        elif word in WITH_VALUE:
            given[word] = _one(next(words, ""), word, USER if word == "--for-user" else VALUE)
        elif word in ACTS | FLAGS:
            given[word] = word
        else:
            names.append(_one(word, "a VM's name"))
    return _meant(given, names)


def _one(word: str, what: str, form: re.Pattern[str] = VALUE) -> str:
    if not form.fullmatch(word):
        raise InitError(f"{what} must be letters, digits, '.', '_' or '-'\n{USAGE}", status=64)
    return word


def _meant(given: dict[str, str], names: list[str]) -> Arguments:
    act, *more = [word for word in given if word in ACTS] or ["give"]
    goes_with = GOES_WITH.get(act, {"--for-user"})
    wanted = 0 if act in ("--grants", "--self-check", "--help") else 1
    if act == "--release" and "--job" in given:
        goes_with, wanted = goes_with - {"--for-user"}, 0
    if more or len(names) != wanted or not given.keys() - ACTS <= goes_with:
        raise InitError(USAGE, status=64)
    values = (given.get(word, "") for word in ("--for-user", "--job", "--force"))
    return Arguments(act, "".join(names), *values)


def vm_name(text: str) -> str:
    """The same text, known to be a VM's name.

    Raises:
        InitError: it is none (64).
    """
    if not VALUE.fullmatch(text):
        raise InitError("a VM's name is 1 to 64 letters, digits, '.', '_' or '-'", 64)
    return text
