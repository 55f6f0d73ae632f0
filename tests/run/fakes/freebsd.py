"""vm-run and the other commands where the stand-in for the kernel is /dev/vmm.

python -m tests.run.fakes.freebsd MODULE ARGUMENTS...

They are the real commands in a process of their own. FAKE_UID is who runs them, as far as vmm(4)
is concerned: 0 is root, whom the tests need not be, and anybody else a plain user. Locks are the
process's, as on FreeBSD: no child has them, and they end with any descriptor of the file.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.run.fakes.kernel import Kernel
from tests.vm import Vm
from vm_run.bhyve import vmm
from vm_state import lock
from vm_stop import stopping

PROGRAMS = {
    "bhyve": "bhyve",
    "bhyvectl": "bhyvectl",
    "bhyveload": "bhyveload bhyveload",
    "grub-bhyve": "bhyveload grub-bhyve",
}


class Os:
    """The module os, of a process of another user."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def getuid(self) -> int:
        return self.uid

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


def arrive(variables: Mapping[str, str]) -> None:
    """Makes this process one on that FreeBSD."""
    folder = variables["FAKE_VMM"]
    vmm.NODES, vmm.CONTROL = f"{folder}/vmm", f"{folder}/vmmctl"
    setattr(vmm, "os", Os(int(variables["FAKE_UID"])))  # noqa: B010  no type checker has it so


def locker(fd: int) -> int:
    """The process that holds the first byte of a file, in Linux's order of the fields."""
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    kind, *_, pid = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, request))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def own_locks() -> None:
    """Makes the locks of this process its own."""
    changes = {
        "INHERITED": False,
        "owner_pid": locker,
        "_SET": fcntl.F_SETLK,
        "_SET_WAIT": fcntl.F_SETLKW,
        "_GET": fcntl.F_GETLK,
    }
    for name, value in changes.items():
        setattr(lock, name, value)


def argv_of(command: str) -> list[str]:
    """Another command, on the same FreeBSD."""
    return [sys.executable, "-m", "tests.run.fakes.freebsd", command.replace("-", "_")]


def install(vm: Vm, monkeypatch: pytest.MonkeyPatch, uid: int = 0) -> Kernel:
    """Puts a VM and this process on a FreeBSD of their own; the fakes are first in PATH."""
    folder = vm.folder / "freebsd"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, module in PROGRAMS.items():
        text = f'#!/bin/sh\nexec {sys.executable} -m tests.run.fakes.{module} "$@"\n'
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    vm.program = ("-m", "tests.run.fakes.freebsd", "vm_run")
    vm.variables = {"FAKE_VMM": str(folder), "FAKE_UID": str(uid)}
    for name, value in vm.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("NODES", "CONTROL", "os"):
        monkeypatch.setattr(vmm, name, getattr(vmm, name))
    monkeypatch.setattr(stopping, "argv_of", argv_of)
    arrive(vm.variables)
    return Kernel(folder)


def until_it_waits(vm: Vm) -> None:
    """Waits until the guest of a vm-run that was started waits for what will be asked of it."""
    process, bsd = vm.started[-1], Kernel(Path(vm.variables["FAKE_VMM"]))
    vm.wait_for(lambda: (bsd.read("vm") or {}).get("waits") or process.poll() is not None)
    assert process.poll() is None, vm.finish_all()
    vm.wait_for(lambda: vm.events("running"))


if __name__ == "__main__":
    arrive(os.environ)
    setattr(stopping, "argv_of", argv_of)  # noqa: B010  it is not for others
    own_locks()
    module, *sys.argv[1:] = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
