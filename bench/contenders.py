"""Ways from a command to a hypervisor with ten devices: ours, the limits, and other launchers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Contender, Section, ended, started
from bench.place import CHECKOUT, PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.fake import Fake
    from bench.libvirt import Libvirt
    from bench.place import Place

__all__ = ["LIMIT", "section", "write"]

NAME = "ten"
DISKS = ("root", "data", "spare")
CDS = ("installer", "drivers")
TEN_DEVICES = """\
mem = "256M"

[disk.root]
path = "root.img"

[disk.data]
path = "data.img"

[disk.spare]
path = "spare.img"

[cd.installer]
path = "installer.iso"

[cd.drivers]
path = "drivers.iso"

[net.lan]

[net.lab]

[[emulations]]
device = "virtio-rnd"
label = "entropy"

[[emulations]]
device = "xhci"
label = "usb"

[[emulations]]
device = "virtio-9p"
label = "work"
sharename = "work"
path = "share"
"""

# The least that Python can do: no site, no parser, no check. Its whole work is these lines.
LIMIT = f"""#!{PYTHON} -ISB
import os, sys
program, *words = sys.argv[1:]
pid = os.posix_spawn(program, [program, *words], os.environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
LIMIT_AND_TOMLI = f"""#!{PYTHON} -ISB
import os, sys
sys.path.append("LIBRARY")
import tomli
file, program, *words = sys.argv[1:]
with open(file, "rb") as opened:
    table = tomli.load(opened)
pid = os.posix_spawn(program, [program, *table, *words], os.environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
QUICK_CONF = """\
guest_os="linux"
boot="legacy"
disk_img="FOLDER/root.img"
disk_imgs=("FOLDER/root.img" "FOLDER/data.img" "FOLDER/spare.img")
isos=("FOLDER/installer.iso" "FOLDER/drivers.iso")
nics=("lan" "lab")
share="FOLDER/share"
ram="256M"
"""


def write(place: Place) -> None:
    """The description, in our language and in quick.sh's, and what it names."""
    file = place.describe(NAME, TEN_DEVICES)
    for name in (*(f"{disk}.img" for disk in DISKS), *(f"{cd}.iso" for cd in CDS)):
        with (file.parent / name).open("wb") as image:
            image.truncate(1 << 20)
    (file.parent / "share").mkdir()
    conf = QUICK_CONF.replace("FOLDER", str(file.parent))
    (place.folder / "quick.conf").write_text(conf)


def section(place: Place, fake: Fake, libvirt: Libvirt | str, n: int) -> Section:
    """Everybody's way to the execution of the hypervisor.

    Args:
        place: where.
        fake: the hypervisor.
        libvirt: libvirt at work, or why it is not.
        n: how often.
    """
    program = str(fake.program)
    environment = place.environment | {"QEMU_BIN": program}
    limit = place.script("limit", LIMIT)
    parsing = place.script("limit-tomli", LIMIT_AND_TOMLI.replace("LIBRARY", place.library))
    description = str(place.folder / "vm" / f"{NAME}.toml")
    quick = ["bash", str(CHECKOUT / "bench" / "quick.sh"), str(place.folder / "quick.conf")]

    def starter(name: str, argv: list[str], **aims: float) -> Contender:
        def sample() -> Mapping[str, float]:
            return fake.until_exec(argv, environment)

        return Contender(name=name, sample=sample, aims=aims)

    def bare() -> Mapping[str, float]:
        began = time.monotonic()
        ended(started([PYTHON, "-c", "pass"], environment))
        return {"ms": (time.monotonic() - began) * 1000}

    return Section(
        key="start",
        title=f"from the command to the exec of the hypervisor, ten devices ({fake.kind} fake)",
        metrics=("ms",),
        n=n,
        contenders=[
            starter("vm-run, installed", [place.installed, NAME], ms=32),
            _from_venv(starter),
            Contender(name="python3 -c pass, to its end", sample=bare),
            starter("limit: python3 -IS, posix_spawn", [limit, program, NAME]),
            starter("limit and tomli", [parsing, description, program, NAME]),
            starter("bash script like quickemu", quick, ms=0.22),
            _virsh(fake, libvirt),
        ],
    )


def _from_venv(starter: Callable[[str, list[str]], Contender]) -> Contender:
    name = "vm-run, virtual environment"
    for folder in (Path(sys.executable).parent, CHECKOUT / ".venv" / "bin"):
        if (folder / "vm-run").exists():
            return starter(name, [str(folder / "vm-run"), NAME])
    return Contender(name=name, sample=None, absent="no .venv")


def _virsh(fake: Fake, libvirt: Libvirt | str) -> Contender:
    name = "virsh start"
    if isinstance(libvirt, str):
        return Contender(name=name, sample=None, absent=libvirt, aims={"ms": 0.7})
    return Contender(
        name=name,
        sample=lambda: fake.until_exec(libvirt.start, libvirt.environment),
        aims={"ms": 0.7},
    )
