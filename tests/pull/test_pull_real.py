"""A box with a real guest: pulled, listed, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pull import boxes, virtualbox
from tests.pull.ovfs import ovf
from tests.pull.server import File, serve
from tests.pull.whole import LIBVIRT, VIRTUALBOX, Puller
from tests.vm import Vm

pytestmark = [pytest.mark.real, pytest.mark.slow]


def libvirt(guest: Path, folder: Path) -> bytes:
    image = folder / "box.img"
    call = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"]
    subprocess.run([*call, f"{guest}/disk.img", str(image)], check=True)
    return boxes.box(
        boxes.file("box.img", image.read_bytes()), boxes.file("metadata.json", LIBVIRT)
    )


def virtual_box(guest: Path, folder: Path) -> bytes:
    """With its disk before its OVF, as packer sorts them."""
    source, image = guest / "disk.img", folder / "box-disk001.vmdk"
    virtualbox.write(image, source.stat().st_size, virtualbox.grains_in(source))
    return boxes.box(
        boxes.file("box-disk001.vmdk", image.read_bytes()),
        boxes.file("box.ovf", ovf()),
        boxes.file("metadata.json", VIRTUALBOX),
    )


def listed(vm: Vm) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "vm_list", "--json"],
        env=vm.environment(), check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)["vms"]
    found: dict[str, object] = row
    return found


@pytest.mark.parametrize("kind", [libvirt, virtual_box])
def test_a_pulled_guest_boots(guest: Path, tmp_path: Path, kind: object) -> None:
    box = libvirt(guest, tmp_path) if kind is libvirt else virtual_box(guest, tmp_path)
    vm = Vm(tmp_path, "hello")
    with serve() as server:
        user = Puller(tmp_path, server)
        user.offer(box, "libvirt" if kind is libvirt else "virtualbox")
        server.at("/files/a.box", File(box, cuts=[len(box) // 2]))
        assert user.start("user/box", "--name", "hello").wait(120) == 0, user.said()
    assert (listed(vm)["name"], listed(vm)["state"]) == ("hello", "stopped")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert "guest: hello" in vm.console
    assert min(os.listdir(vm.confdir)) == ".ports.lock"
    assert "powered off" in done.stderr
