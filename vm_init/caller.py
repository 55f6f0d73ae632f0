"""Who asks: an account of the system's database, named by sudo or doas, never root."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from vm_init.errors import InitError

# int() would take more: " 1000", "+1000", "1_000", Arabic digits.
UID = re.compile("[1-9][0-9]{0,9}", re.ASCII)
NAME = re.compile("[A-Za-z_][A-Za-z0-9_.@-]{0,63}", re.ASCII)
LAST = 2**32 - 2  # one more is -1, which setresuid and chown take for "leave it"


class Caller(NamedTuple):
    """An account of the system's database, never root's.

    Attributes:
        uid: from 1.
        gid: the account's group.
        name: the account's name.
        groups: every group id that the database gives the account, its own first.
        group_names: the same by name.
        home: the account's home directory.
    """

    uid: int
    gid: int
    name: str
    groups: tuple[int, ...]
    group_names: tuple[str, ...]
    home: str


def find_caller(environment: Mapping[str, str], for_user: str = "") -> Caller:
    """The account that asks, with the groups that the system's database gives it.

    Args:
        environment: what `hardening.start` returned.
        for_user: for whom root itself asks (--for-user); only without sudo and doas.

    Raises:
        InitError: no account is named, or more than one is, or the named one is not ordinary.
    """
    by_sudo = any(key.startswith("SUDO_") for key in environment)
    by_doas = "DOAS_USER" in environment
    if by_sudo + by_doas + bool(for_user) > 1:
        raise InitError(
            "more than one of sudo, doas and --for-user says who asks: unset SUDO_UID, SUDO_GID, "
            "SUDO_USER, DOAS_USER"
        )
    name = environment.get("SUDO_USER" if by_sudo else "DOAS_USER", "") or for_user
    if not name and not by_sudo:
        raise InitError("root asks for no user: --for-user USER names one")
    found = account(name)
    uid = environment.get("SUDO_UID", "")
    if by_sudo and (not UID.fullmatch(uid) or found.uid != int(uid)):
        raise InitError("SUDO_UID is not SUDO_USER's id; root itself uses --for-user")
    return found


def find_myself() -> Caller:
    """The account that this process belongs to, wholly.

    Raises:
        InitError: the process has ids or groups that the database does not give the account.
    """
    try:
        found = account(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        raise InitError(f"there is no account of uid {os.getuid()}") from None
    if {*os.getresuid()} != {found.uid} or not {*os.getresgid(), *os.getgroups()} <= {
        *found.groups
    }:
        raise InitError(f"this process has other users or groups than the account {found.name}")
    return found


def account(name: str) -> Caller:
    """An account of the system's database by its name.

    Raises:
        InitError: there is none, it is root's, or its entry is ambiguous.
    """
    if not NAME.fullmatch(name):
        raise InitError("the user's name is not one that vm-init takes")
    try:
        found = pwd.getpwnam(name)
        by_uid = pwd.getpwuid(found.pw_uid)
    except KeyError:
        raise InitError(f"there is no account {name}") from None
    if by_uid.pw_name != name or found.pw_name != name:
        raise InitError(f"the account {name} shares its id with another")
    if not (0 < found.pw_uid <= LAST and 0 <= found.pw_gid <= LAST):
        raise InitError(f"{name} is not an ordinary account")
    if not found.pw_dir.startswith("/"):
        raise InitError(f"the account {name} has no home directory")
    groups = [each for each in os.getgrouplist(name, found.pw_gid) if 0 <= each <= LAST]
    groups = list(dict.fromkeys([found.pw_gid, *groups]))  # sudo passes on root's instead
    names: list[str] = []
    for gid in groups:
        with suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return Caller(found.pw_uid, found.pw_gid, name, tuple(groups), tuple(names), found.pw_dir)
