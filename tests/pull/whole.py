"""Whole pulls: a server with a catalog and boxes, a home of its own, and vm-pull called."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.pull import boxes, ovfs, virtualbox
from tests.pull.server import File, Reply, Server
from vm_pull.__main__ import main

HOUSE = Path(__file__).parents[2]
DISK = boxes.boot_disk(3 << 20)
LIBVIRT = b'{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}'
VIRTUALBOX = b'{"provider": "virtualbox", "architecture": "amd64"}'


def libvirt_box(disk: bytes, how: str = "gzip") -> bytes:
    """A box of vagrant-libvirt's first kind: the disk comes before what tells of it."""
    members = (boxes.file("box.img", disk), boxes.file("metadata.json", LIBVIRT))
    return boxes.box(boxes.VAGRANTFILE, *members, how=how)


def virtualbox_box(disk: bytes) -> bytes:
    """A box as VirtualBox exports it, its disk first."""
    vmdk = virtualbox.image(disk)
    return boxes.box(
        boxes.file("box-disk001.vmdk", vmdk),
        boxes.file("box.ovf", ovfs.ovf()),
        boxes.file("metadata.json", VIRTUALBOX),
    )


def qcow2(folder: Path, disk: bytes, *options: str) -> bytes:
    """A disk as qemu-img writes it."""
    raw, made = folder / "made.raw", folder / "made.qcow2"
    raw.write_bytes(disk)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, made], check=True
    )
    content = made.read_bytes()
    raw.unlink()
    made.unlink()
    return content


class Puller:
    """A user with a folder of descriptions, and a server that has boxes for him."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.vms = folder / "vm"
        self.environment = {
            "VMCONF_DIR": str(self.vms),
            "HOME": str(folder),
            "VAGRANT_SERVER_URL": server.url,
            "VAGRANT_HOST_ARCHITECTURE": "amd64",
        }

    def offer(self, box: bytes, provider: str = "libvirt", **more: object) -> str:
        """Puts a box and a catalog on the server: the box's name."""
        self.server.at("/files/a.box", File(box))
        entry = {"name": provider, "url": f"{self.server.url}/files/a.box", **more}
        self.catalog([{"version": "1.0", "providers": [entry]}])
        return "user/box"

    def catalog(self, versions: list[dict[str, object]]) -> None:
        """Puts a catalog of these versions on the server."""
        text = json.dumps({"name": "user/box", "versions": versions}).encode()
        self.server.at("/api/v2/vagrant/user/box", Reply(200, text))

    def names(self) -> list[str]:
        """What is in the folder of descriptions, but for the lock of the ports."""
        there = sorted(os.listdir(self.vms)) if self.vms.is_dir() else []
        return [name for name in there if name != ".ports.lock"]

    def start(self, *words: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts a vm-pull of its own; what it says goes into a file."""
        kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE)}
        with (self.folder / "said").open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "vm_pull", *words],
                env=kept | self.environment | dict(more or {}),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                text=True,
            )

    def said(self) -> str:
        """What the one that was started has said."""
        return (self.folder / "said").read_text()


class Inside(Puller):
    """The same, called in this process."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        super().__init__(folder, server)
        self._capsys = capsys
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("VAGRANT_CLOUD_TOKEN", "ATLAS_TOKEN", "VAGRANT_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)

    def pull(self, *words: str) -> tuple[int, str, str]:
        """Its exit status, standard output and standard error."""
        status = main(list(words))
        out, err = self._capsys.readouterr()
        return status, out, err


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
