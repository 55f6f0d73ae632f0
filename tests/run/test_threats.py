"""Attacks on vm-run, each a row of what a hostile description, file or neighbour may try."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import HOUSE, Vm
from vm_run import place, qemu
from vm_spec import Context, VmError, loads, select

HOSTILE = ["a.raw,format=qcow2", 'json:{"driver":"nbd"}', "nbd:h:1", "fat:rw:/", "-device", "a=b"]


def argv(text: str) -> list[str]:
    description = loads(text, Context(name="vm", user="u"))
    return qemu.argv(place(description, select(description)))


@pytest.mark.parametrize("path", HOSTILE)
def test_threats_24_and_25_a_path_is_only_ever_a_path(path: str) -> None:
    words = argv(f"[disk.a]\npath = '{path}'\n[cd.b]\npath = '{path}'\n")
    holders = [word for word in words if json.dumps(f"./{path}") in word]
    assert len(holders) == 2
    for word in holders:
        image = json.loads(word)
        assert (image["driver"], image["file"]["driver"]) == ("raw", "file")
        assert image["file"]["filename"] == f"./{path}"


def test_threat_26_a_raw_image_is_raw_whatever_a_guest_wrote_into_it() -> None:
    words = argv('[disk.a]\npath = "disk.img"\n')
    assert any(word.startswith('{"driver": "raw", "node-name": "a"') for word in words)


@pytest.mark.parametrize("key", ["name", "uuid", "com1", "gdb"])
def test_threat_24_no_key_of_the_machine_takes_an_option(key: str) -> None:
    with pytest.raises(VmError):
        argv(f'{key} = "x,process=y"\n')


def test_threat_28_nothing_of_the_hosts_configuration_is_read() -> None:
    words = argv("")
    assert words[0].startswith("/")
    assert words[1:3] == ["-nodefaults", "-no-user-config"]


def test_threat_29_the_sandbox_is_on_unless_it_is_switched_off() -> None:
    sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    assert argv("")[3:5] == ["-sandbox", sandbox]
    assert "-sandbox" not in argv("[qemu]\nsandbox = false\n")


@pytest.mark.skipif(os.getuid() != 0, reason="needs files of another user")
@pytest.mark.parametrize("spoil", ["owner", "file", "folder"])
def test_threat_27_what_a_stranger_could_have_written_is_not_run(vm: Vm, spoil: str) -> None:
    vm.describe("")
    if spoil == "owner":
        os.chown(vm.file, 65534, 65534)
    else:
        (vm.file if spoil == "file" else vm.confdir).chmod(0o777)
    done = vm.run("--dry-run")
    assert done.returncode == 77
    assert "hint: take that right away (chmod go-w)" in done.stderr


def test_threat_30_sockets_lie_where_only_their_user_gets(vm: Vm) -> None:
    victim = vm.folder / "victim"
    victim.write_text("mine")
    (vm.runtime / "vm").symlink_to(vm.folder)
    vm.describe("")
    done = vm.run()
    assert done.returncode == 77
    assert "is not a directory that only you can write to" in done.stderr
    assert victim.read_text() == "mine"


def test_threat_30_a_screen_for_everybody_needs_a_password() -> None:
    with pytest.raises(VmError, match="password"):
        argv('[graphic]\nhost = "0.0.0.0"\n')


CHILD = """
import os, sys
from vm_state.process import spawn
kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
pid = spawn(["/bin/ls", "/proc/self/fd"], {0: 0, 1: 1, 2: 2, 9: kept}, {})
os.waitpid(pid, 0)
"""


def test_threat_31_a_hypervisor_gets_the_descriptors_meant_for_it_and_no_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "1", "2", "3", "9"]  # 3 is ls's own


def test_threat_33_a_name_is_no_option_and_no_path(vm: Vm) -> None:
    for name in ("../x", "a/b", "x,process=y", ".", "a\nb", "a" * 65, ""):
        done = subprocess.run(
            [sys.executable, "-m", "vm_run", name],
            env=vm.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 64, name
        assert "Traceback" not in done.stderr


def test_a_socket_that_is_not_ours_is_not_removed(vm: Vm) -> None:
    path = vm.confdir / "port.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        vm.describe('[[emulations]]\ndevice = "virtio-console"\nports = ["port.sock"]\n')
        done = vm.run("--fix")
        assert done.returncode == 69
        assert "another process listens at" in done.stderr
        assert Path(path).is_socket()
