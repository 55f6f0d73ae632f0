"""A FreeBSD host that is made of files: its programs first in PATH, its nodes in a folder.

What its programs print is in data/freebsd: written after the manuals and sources, and shortened;
nothing of it was recorded on FreeBSD.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.home import Home
from vm_run import firmware
from vm_run.bhyve import vmm
from vm_run.host import bhyve_requirements as needs_bhyve
from vm_run.host import freebsd as host_bsd
from vm_state import platform

DATA = Path(__file__).parent / "data" / "freebsd"
MODULES = ("vmm", "nmdm", "if_tuntap", "if_bridge", "ctl")
PAGE = os.sysconf("SC_PAGE_SIZE")

PROGRAMS = {
    "kldstat": '[ "$1 $2" = "-q -m" ] && grep -qx "$3" {}/modules',
    "sysctl": '[ "$1" = -n ] && cat "{}/sysctl/$2"',
    "pciconf": '[ "$*" = -l ] && cat {}/pci',
    "bhyve": 'echo "$*" >> {0}/calls; [ "$*" = -h ] && [ -z "$(head -c 1)" ] && cat {0}/help >&2',
}


class FreeBsd:
    """What the host has; all of it can be changed.

    Attributes:
        place: where its files are.
        dev: where its nodes are.
    """

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.place = home.vm.folder / "freebsd"
        self.dev = self.place / "dev"
        self._patch = monkeypatch
        self._denied = set[str]()
        self._access = os.access
        for folder in (self.dev / "vmm", self.dev / "vmm.io", self.place / "sysctl"):
            folder.mkdir(parents=True)
        for name, script in PROGRAMS.items():
            home.program(name, f"#!/bin/sh\n{script.format(self.place)}\n")
        self.loaded(*MODULES)
        self.release("14")
        self.pci("pciconf-l-13")
        monkeypatch.setattr(os, "access", self._accessible)

    def loaded(self, *modules: str) -> None:
        """Says which modules the kernel has."""
        (self.place / "modules").write_text("".join(f"{module}\n" for module in modules))

    def release(self, which: str) -> None:
        """Says whose bhyve it has: 13, 14, 15 or main."""
        (self.place / "help").write_bytes((DATA / f"bhyve-h-{which}.txt").read_bytes())

    def pci(self, which: str) -> None:
        """Says which PCI devices it has, and how pciconf lists them."""
        (self.place / "pci").write_bytes((DATA / f"{which}.txt").read_bytes())

    def sysctl(self, name: str, value: int) -> None:
        """Gives a sysctl its number."""
        (self.place / "sysctl" / name).write_text(f"{value}\n")

    def node(self, name: str, mine: bool = True, mode: int = 0o600) -> Path:
        """Makes a node, this user's or not."""
        made = self.dev / name
        made.touch()
        made.chmod(mode)
        if not mine:
            self.deny(str(made))
        return made

    def deny(self, path: str) -> None:
        """Makes a path somebody else's."""
        self._denied.add(path)

    def uid(self, uid: int) -> None:
        """Says who runs vm-run."""
        self._patch.setattr(os, "getuid", lambda: uid)

    @property
    def asked(self) -> list[str]:
        """What bhyve was called with."""
        calls = self.place / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def _accessible(self, path: str, mode: int) -> bool:
        return path not in self._denied and self._access(path, mode)


def freebsd(home: Home, monkeypatch: pytest.MonkeyPatch) -> FreeBsd:
    """A FreeBSD 14 with all modules, a firmware, and an ordinary user."""
    made = FreeBsd(home, monkeypatch)
    made.uid(os.getuid() or 1000)
    monkeypatch.setattr(platform, "is_bsd", lambda: True)
    monkeypatch.setenv("BHYVE_BIN", str(home.bin / "bhyve"))
    for name, path in (("NODES", "vmm"), ("CONTROL", "vmmctl"), ("MEMORY", "vmm.io")):
        monkeypatch.setattr(vmm, name, str(made.dev / path))
    monkeypatch.setattr(host_bsd, "DEV", str(made.dev))
    for name in ("BHYVE_UEFI.fd", "BHYVE_UEFI_CODE.fd", "BHYVE_UEFI_VARS.fd", "libslirp"):
        (made.place / name).write_text(name)
    monkeypatch.setattr(firmware, "_BSD", str(made.place / "BHYVE_UEFI"))
    monkeypatch.setattr(needs_bhyve, "FIRMWARE", f"{made.place}/")
    monkeypatch.setattr(needs_bhyve, "SLIRP", str(made.place / "libslirp"))
    return made
