"""What lets ordinary users start vm-init as root: the text for sudo, and the rule for doas.

`sudo vm-init` finds the link in PREFIX/bin, so the rule names the link and the helper behind it:
sudo before 1.9.14 compares files, by device and inode, a later one names (Debian 13 has 1.9.16).
doas compares names too: there, users write the whole path.
"""

from __future__ import annotations

import re

LINK, HELPER = "/usr/local/bin/vm-init", "/usr/local/libexec/vmman/vm-init"

# A line break or a comma in either would be another rule.
_group = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_path = re.compile(r"(?:/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)+")

SUDOERS = """\
Cmnd_Alias VMMAN_INIT = {link}, {helper}
Defaults!VMMAN_INIT  env_keep = "VMCONF_DIR", secure_path = "/usr/sbin:/usr/bin:/sbin:/bin", \
!setenv, use_pty
Defaults!VMMAN_INIT  umask = 0077, umask_override          # sudo only; drop this line for sudo-rs
# optional, Linux: noexec  (LD_PRELOAD blocks exec in the helper; python starts, exec -> EACCES)
%{group} ALL = (root:root) NOPASSWD: NOSETENV: VMMAN_INIT
"""
DOAS = "permit nopass setenv {{ VMCONF_DIR }} :{group} as root cmd {helper}\n"


def sudoers(group: str = "vmusers", helper: str = HELPER, link: str = LINK) -> str:
    """The file for /etc/sudoers.d/vmman.

    Raises:
        ValueError: the group or a path is none that may stand in it.
    """
    return SUDOERS.format(link=_checked(group, link)["helper"], **_checked(group, helper))


def doas(group: str = "vmusers", helper: str = HELPER) -> str:
    """The line for doas.conf. There is never a `keepenv`: it would pass a forged SUDO_UID.

    Raises:
        ValueError: the group or the path is none that may stand in it.
    """
    return DOAS.format(**_checked(group, helper))


def _checked(group: str, helper: str) -> dict[str, str]:
    if not _group.fullmatch(group) or not _path.fullmatch(helper):
        raise ValueError(f"{group!a}, {helper!a}: cannot stand in a rule")
    return {"group": group, "helper": helper}
