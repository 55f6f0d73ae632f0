"""Who asks: an account of the system's database, told by sudo or doas, never root."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Mapping

from vm_init.verdict import Caller, InitError

# int() would take more: " 1000", "+1000", "1_000", Arabic digits.
UID = re.compile("[1-9][0-9]{0,9}", re.ASCII)
NAME = re.compile("[A-Za-z_][A-Za-z0-9_.@-]{0,63}", re.ASCII)
MOST = 2**32 - 2  # one more is -1, which setresuid and chown take for "leave it"


def caller(environment: Mapping[str, str], for_user: str = "") -> Caller:
    """The account that asks, with the groups that the system's database gives it.

    Args:
        environment: what `start` kept.
        for_user: whom root says it is for (--for-user); only where neither sudo nor doas speaks.

    Raises:
        InitError: nobody is named, or more than one is, or what is named is no ordinary account.
    """
    by_sudo = any(key.startswith("SUDO_") for key in environment)
    by_doas = "DOAS_USER" in environment
    if by_sudo and by_doas:
        raise InitError("both sudo and doas say who asks; one of them must be wrong")
    if for_user and (by_sudo or by_doas):
        problem = "--for-user is for root himself, and sudo or doas says that a user asks"
        raise InitError(f"{problem}: unset SUDO_UID, SUDO_GID, SUDO_USER, DOAS_USER")
    if by_sudo:
        return _by_sudo(environment.get("SUDO_UID", ""), environment.get("SUDO_USER", ""))
    name = environment.get("DOAS_USER", "") if by_doas else for_user
    if not name:
        raise InitError("root asks for nobody: --for-user USER says for whom")
    return account(name)


def _by_sudo(uid: str, name: str) -> Caller:
    if not UID.fullmatch(uid) or int(uid) > MOST:
        raise InitError("SUDO_UID is not an ordinary user's id; root himself says --for-user")
    found = account(name)
    if found.uid != int(uid):
        raise InitError("SUDO_UID and SUDO_USER are not the same account")
    return found


def myself() -> Caller:
    """The account of whoever runs this.

    Raises:
        InitError: as `account` does.
    """
    try:
        return account(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        raise InitError(f"there is no account of uid {os.getuid()}") from None


def account(name: str) -> Caller:
    """An account of the system's database by its name.

    Raises:
        InitError: there is none, it is root's, or one cannot rely on what is said of it.
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
    if not (0 < found.pw_uid <= MOST and 0 <= found.pw_gid <= MOST):
        raise InitError(f"{name} is not an ordinary account")
    if not found.pw_dir.startswith("/"):
        raise InitError(f"the account {name} has no home folder")
    groups = _groups(name, found.pw_gid)
    names = tuple(map(_group, groups))
    return Caller(found.pw_uid, found.pw_gid, name, groups, names, found.pw_dir)


def _groups(name: str, gid: int) -> tuple[int, ...]:
    """The account's group ids, its own first; sudo hands on root's."""
    others = [each for each in os.getgrouplist(name, gid) if each != gid and 0 <= each <= MOST]
    return (gid, *dict.fromkeys(others))


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
