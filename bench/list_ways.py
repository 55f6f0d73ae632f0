"""Ways of listing virtual machines: ours, the least that could do it, and other people's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.libvirt import DOMAIN
from bench.measure import Contender, ended, started
from bench.place import PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.libvirt import Libvirt
    from bench.place import Place

__all__ = ["Folder", "bare", "names_of_ls", "names_of_python", "ours", "parsing", "virsh"]

DESCRIPTION = """\
cpu = 2
mem = "1G"
bootrom = "uefi"
com1 = "socket"

[disk.root]
path = "NAME.img"

[net.lan]
bridge = "br0"
"""
SETTLED_S = 2.1  # what was written later than that is never kept by vm-list
DOMAINS = 1000

# The least that Python can do: the names, and whether the lock of each is there.
NAMES = f"""#!{PYTHON} -ISB
import os, sys
entries = os.listdir(sys.argv[1])
locks = {{entry for entry in entries if entry.startswith(".")}}
names = sorted(entry[:-5] for entry in entries if entry.endswith(".toml"))
sys.stdout.write("".join(f"{{name}} {{f'.{{name}}.lock' in locks}}\\n" for name in names))
"""
# The least that reads every description: no type, no check, no row.
PARSED = f"""#!{PYTHON} -ISB
import os, sys
sys.path.append("LIBRARY")
import tomli
folder = sys.argv[1]
for entry in sorted(os.listdir(folder)):
    if entry.endswith(".toml"):
        with open(f"{{folder}}/{{entry}}", "rb") as file:
            table = tomli.load(file)
        sys.stdout.write(f"{{entry[:-5]}} {{table['cpu']}} {{table['mem']}}\\n")
"""


class Folder:
    """A folder of so many descriptions, that have lain there long enough to be kept.

    Attributes:
        path: the folder.
        environment: what a contender is given to find it.
    """

    def __init__(self, place: Place, count: int) -> None:
        self.path = place.folder / f"vm-{count}"
        self.path.mkdir()
        for number in range(count):
            name = f"vm{number:05}"
            (self.path / f"{name}.toml").write_text(DESCRIPTION.replace("NAME", name))
        time.sleep(SETTLED_S)
        self.environment = place.environment | {
            "VMCONF_DIR": str(self.path),
            "XDG_CACHE_HOME": str(place.folder / "cache"),
        }


def ours(
    place: Place, folder: Folder, *options: str, kept: bool = False, **aims: float
) -> Contender:
    """vm-list itself.

    Args:
        place: where it is installed.
        folder: what it lists.
        options: how.
        kept: whether it may use what it kept the last time.
        aims: metric -> aim.
    """
    command = [str(place.prefix / "bin" / "vm-list"), *options]
    environment = folder.environment | ({} if kept else {"XDG_CACHE_HOME": "/dev/null"})
    how = "what it kept" if kept else "each parsed afresh"
    name = " ".join(("vm-list", *options)) if options else f"vm-list, {how}"
    return _contender(name, command, environment, aims)


def bare(place: Place) -> Contender:
    """What any program in Python costs."""
    return _contender("python3 -IS -c pass", [PYTHON, "-ISc", "pass"], place.environment, {})


def names_of_python(place: Place, folder: Folder, **aims: float) -> Contender:
    """The limit: names and locks."""
    script = place.script("limit-names", NAMES)
    return _contender("limit: names and locks", [script, str(folder.path)], place.environment, aims)


def names_of_ls(place: Place, folder: Folder) -> Contender:
    """The way of vmman, whose vm-list read the folder's names and nothing else."""
    return _contender("vmman's way: ls", ["ls", str(folder.path)], place.environment, {})


def parsing(place: Place, folder: Folder) -> Contender:
    """The limit: every file parsed, and nothing done with it."""
    script = place.script("limit-parsed", PARSED.replace("LIBRARY", place.library))
    return _contender(
        "limit: tomli, each parsed", [script, str(folder.path)], place.environment, {}
    )


def virsh(libvirt: Libvirt | str, **aims: float) -> Contender:
    """A warm daemon that knows a thousand domains is asked for them."""
    name = f"virsh list --all, {DOMAINS} domains"
    problem = libvirt if isinstance(libvirt, str) else _defined(libvirt)
    if isinstance(libvirt, str) or problem:
        return Contender(name=name, sample=None, absent=problem, aims=aims)
    return _contender(name, _virsh("list --all"), libvirt.environment, aims)


def _virsh(commands: str) -> list[str]:
    return ["virsh", "--quiet", "--connect", "qemu:///session", commands]


def _defined(libvirt: Libvirt) -> str:
    """Makes the daemon know its domains; why it does not."""
    folder = libvirt.domain.parent / "domains"
    folder.mkdir()
    text = libvirt.domain.read_text()
    calls = [_define(folder / f"vm{number}.xml", text) for number in range(DOMAINS - 1)]
    for at in range(0, len(calls), 100):
        call = started(_virsh("; ".join(calls[at : at + 100])), libvirt.environment)
        if ended(call) != 0:
            return "libvirt could not define the domains"
    return ""


def _define(file: Path, text: str) -> str:
    assert "<name>ten</name>" in DOMAIN
    file.write_text(text.replace("<name>ten</name>", f"<name>{file.stem}</name>"))
    return f"define {file}"


def _contender(
    name: str, argv: list[str], environment: Mapping[str, str], aims: Mapping[str, float]
) -> Contender:
    def sample() -> Mapping[str, float]:
        began = time.monotonic()
        code = ended(started(argv, environment))
        took = (time.monotonic() - began) * 1000
        assert code == 0, f"{argv} ended with {code}"
        return {"ms": took}

    return Contender(name=name, sample=sample, aims=aims)
