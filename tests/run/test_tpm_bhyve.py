"""swtpm beside bhyve: the real vm-run and swtpm, and a bhyve that keeps state like the real one.

Untested on FreeBSD.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.lacking import need
from tests.run.fakes import freebsd
from tests.run.fakes.bhyve import RESET
from tests.run.fakes.kernel import Kernel
from tests.run.tpm_given import RANDOM, result, runs
from tests.vm import Vm
from vm_state.process import Process


@pytest.fixture
def bsd(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    need("swtpm")
    (vm.folder / "rom.fd").touch()
    vm.describe(f'hypervisor = "bhyve"\nbootrom = "{vm.folder}/rom.fd"\n[tpm]\n')
    return freebsd.install(vm, monkeypatch)


def waiting(vm: Vm, bsd: Kernel) -> subprocess.Popen[str]:
    """A vm-run whose guest waits for what will be asked of it."""
    process = vm.start()
    vm.wait_for(lambda: (bsd.read("vm") or {}).get("waits"))
    vm.wait_for(lambda: vm.events("running"))
    return process


def swtpm_of(vm: Vm) -> int:
    signed = json.loads((vm.state / "swtpm.lock").read_text())
    assert runs(signed["pid"])
    return int(signed["pid"])


def connected(vm: Vm) -> tuple[socket.socket, int]:
    """What bhyve does with its `-l tpm,swtpm,PATH`, and the process id of that swtpm."""
    words: list[str] = vm.record["argv"]
    (told,) = (word for word in words if word.startswith("tpm,swtpm,"))
    bhyve = socket.socket(socket.AF_UNIX)
    bhyve.connect(told.split(",")[2])
    bhyve.sendall(RANDOM)
    assert result(bhyve.recv(4096)) == 0
    return bhyve, swtpm_of(vm)


def test_bhyve_finds_its_tpm_where_it_is_told(vm: Vm, bsd: Kernel) -> None:
    process = waiting(vm, bsd)
    bhyve, swtpm = connected(vm)
    with bhyve:
        given = Path(f"/proc/{swtpm}/cmdline").read_text().split("\0")
        process.terminate()
        assert vm.finish(process).returncode == 0
        vm.wait_for(lambda: not runs(swtpm))
    assert shlex.join(given[1:-1]) == (
        f"socket --tpm2 --tpmstate dir={vm.confdir}/vm.tpm,mode=0600"
        " --server type=unixio,fd=3 --flags not-need-init,startup-clear --terminate"
    )
    assert not (vm.state / "swtpm.sock").exists()


def test_swtpm_ends_with_a_bhyve_that_is_killed_after_its_vm_run(vm: Vm, bsd: Kernel) -> None:
    vm.kill(waiting(vm, bsd))
    bhyve, swtpm = connected(vm)
    with bhyve:
        hypervisor = Process(vm.record["pid"], is_child=False)
        hypervisor.send(signal.SIGKILL)
        hypervisor.close()
        vm.wait_for(lambda: not runs(swtpm))


def test_each_start_of_bhyve_has_an_swtpm_of_its_own(vm: Vm, bsd: Kernel) -> None:
    process = waiting(vm, bsd)
    first = swtpm_of(vm)
    os.kill(vm.record["pid"], RESET)
    vm.wait_for(lambda: len(vm.events("running")) == 2)
    assert swtpm_of(vm) != first
    assert not runs(first)
    process.terminate()
    vm.finish(process)
    assert vm.events("ended")[0]["outcome"] == "reboot"


def test_a_bhyve_that_may_not_run_leaves_no_swtpm(vm: Vm, bsd: Kernel) -> None:
    vm.variables["FAKE_UID"] = "1000"
    done = vm.run()
    assert done.returncode == 69, done.stderr
    signed = json.loads((vm.confdir / "vm.tpm" / "vm-run.lock").read_text() or "{}")
    vm.wait_for(lambda: not signed or not runs(signed["pid"]))
