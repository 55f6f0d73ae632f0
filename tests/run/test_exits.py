"""vm-run as a command: its exit statuses, its help, and a description from standard input."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.home import command
from tests.vm import Vm
from vm_state.lock import Lock, lock_path

QEMU = {"QEMU_BIN": "/bin/true"}


def test_0_and_one_sentence_for_an_orderly_end(vm: Vm) -> None:
    vm.describe("")
    done = command(vm, "vm", **QEMU)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("vm: guest powered off (exit status 0) after ")


def test_4_for_an_error_of_the_hypervisor(vm: Vm) -> None:
    vm.describe("")
    assert command(vm, "vm", QEMU_BIN="/bin/false").returncode == 4


def test_64_for_a_wrong_command_line(vm: Vm) -> None:
    done = command(vm)
    assert done.returncode == 64
    assert done.stderr == "vm-run: the name of a VM is missing\n  hint: vm-run --help\n"
    assert command(vm, "../vm").returncode == 64
    assert command(vm, "").returncode == 64


def test_65_for_a_wrong_description(vm: Vm) -> None:
    vm.describe('memroy = "1G"\n')
    done = command(vm, "vm")
    assert done.returncode == 65
    assert "memroy: is not a known key" in done.stderr


def test_66_for_a_vm_that_is_not_there(vm: Vm) -> None:
    vm.describe("")
    done = command(vm, "vn")
    assert done.returncode == 66
    assert "hint: did you mean vm?" in done.stderr
    assert command(vm, "-c", "nowhere.toml").returncode == 66


def test_69_for_what_the_host_lacks(vm: Vm) -> None:
    vm.describe("")
    assert command(vm, "vm", QEMU_BIN="/nowhere/qemu").returncode == 69
    assert command(vm, "vm", "--recover", **QEMU).returncode == 69


def test_70_says_that_it_is_our_bug(vm: Vm) -> None:
    vm.describe("")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=vm.folder, env=vm.environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 70
    assert "this is a bug in vmman" in done.stderr


BROKEN = """
import sys
from vm_run import dry_run as look
from vm_run.__main__ import main
look.debug = None
sys.exit(main(["vm", "--debug"]))
"""


def test_75_for_a_vm_that_runs_already(vm: Vm) -> None:
    vm.describe("")
    lock = Lock.take(lock_path(str(vm.file)), "vm")
    done = command(vm, "vm", **QEMU)
    lock.release()
    assert done.returncode == 75
    assert f"vm is already running on {os.uname().nodename} (pid {os.getpid()})" in done.stderr


def test_77_for_what_somebody_else_could_have_written(vm: Vm) -> None:
    vm.describe("")
    vm.file.chmod(0o666)
    done = command(vm, "vm", **QEMU)
    assert done.returncode == 77
    assert "it can be written by everybody" in done.stderr


def test_state_is_in_tmp_where_the_runtime_directory_cannot_be_made(vm: Vm) -> None:
    """As in a job of a cluster: the variable is set, and no login has made the directory."""
    vm.describe("")
    name, gone = f"test{os.getpid()}", str(vm.folder / "no" / "login")
    elsewhere = Path(f"/tmp/vm-{os.getuid()}/vm/{name}")
    try:
        done = command(vm, "-c", str(vm.file), name, XDG_RUNTIME_DIR=gone, **QEMU)
        kept = {entry.name for entry in elsewhere.iterdir()}
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    note = f"{name}: XDG_RUNTIME_DIR={gone} does not exist; using /tmp/vm-{os.getuid()}\n"
    assert done.stderr.startswith(note)
    assert kept == {"ended.json", "hypervisor.log"}


def test_130_for_ctrl_c_before_anything_runs(vm: Vm) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vm_run", "-c", "-", "-d"],
        cwd=vm.folder, env=vm.environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    try:
        process.stdin.write(b"#")
        process.stdin.flush()
        written = process.stdin.fileno()
        vm.wait_for(lambda: not unread(written), 30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in said


def unread(pipe: int) -> int:
    """How many bytes in a pipe nobody has read yet."""
    size = fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(size, sys.byteorder)


def test_version_is_a_line_and_help_has_examples(vm: Vm) -> None:
    done = command(vm, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vm-run ")
    assert done.stdout.count("\n") == 1
    done = command(vm, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:\n  vm-run my-vm  " in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        'name = "web"\nmem = "512M"\n',
        '{"name": "web", "mem": "512M"}',
        ' \n{"name": "web", "mem": "512M"}\n',
    ],
)
def test_a_description_comes_from_standard_input_in_toml_or_json(vm: Vm, text: str) -> None:
    done = command(vm, "-c", "-", "-d", "--format", "json", stdin=text)
    assert done.returncode == 0, done.stderr
    argv = json.loads(done.stdout)
    assert argv[argv.index("-m") + 1] == "512M"
    assert argv[argv.index("-name") + 1] == "guest=web"
    named = command(vm, "-c", "-", "other", "-d", stdin=text)
    assert "guest=other" in named.stdout


def test_a_fault_from_standard_input_has_its_line(vm: Vm) -> None:
    done = command(vm, "-c", "-", "-d", stdin='name = "web"\nmemroy = 1\n')
    assert done.returncode == 65
    assert done.stderr.startswith("vm-run: -:2: memroy: is not a known key")
    assert command(vm, "-c", "-", "-d", stdin="{").returncode == 65


def test_a_vm_from_standard_input_runs_to_its_end(vm: Vm) -> None:
    done = command(vm, "-c", "-", stdin='name = "web"\n', **QEMU)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("web: guest powered off")


def test_whoever_reads_only_the_beginning_is_no_bug(vm: Vm) -> None:
    script = '"$@" | head -c 10'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "vm_run", "--schema"], cwd=vm.folder,
        env=vm.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert len(done.stdout) == 10
    assert done.stderr == ""
