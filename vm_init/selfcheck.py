"""Whether anybody but root could change what runs as root: the installation, path by path."""

from __future__ import annotations

import os
import sys
from itertools import chain

from vm_init.trusted import unsafe
from vm_init.verdict import InitError

LIB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ETC = "/usr/local/etc" if sys.platform.startswith("freebsd") else "/etc"


def check() -> None:
    """Return when everything that root's half stands on is root's alone.

    Raises:
        InitError: status 78, with a line for each that is not.
    """
    if found := faults():
        raise InitError("\n".join(found), os.EX_CONFIG)


def faults(lib: str = LIB, etc: str = ETC) -> list[str]:
    """What is unsafe, a line each, of the interpreter, the library, the helper and its rules."""
    prefix = os.path.dirname(os.path.dirname(lib))
    needed = [
        sys.executable,
        *filter(os.path.exists, sys.path),
        *(f"{prefix}/{part}" for part in ("bin", "libexec/vmman/vm-init")),  # sudo's rule has both
        f"{etc}/vmman/policy.toml",
        lib,
        *(os.path.join(at, name) for at, *names in os.walk(lib) for name in chain(*names)),
    ]
    optional = [f"{etc}/sudoers.d/vmman"]  # or doas
    wanted = [*needed, *filter(os.path.lexists, optional)]
    strict = sys.flags.isolated and sys.flags.no_site
    flags = [] if strict else ["python was started without -IS: it trusts its environment"]
    return [*flags, *filter(None, map(unsafe, dict.fromkeys(wanted)))]
