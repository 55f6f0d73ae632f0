"""libvirt as a contender: a session daemon of our own, with a domain of the same ten devices."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from bench.measure import ended, started

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from bench.fake import Fake
    from bench.place import Place

__all__ = ["Libvirt", "running"]

DOMAIN = """\
<domain type='qemu'>
  <name>ten</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>EMULATOR</emulator>
    DISKS
    <interface type='user'><model type='virtio'/></interface>
    <interface type='user'><model type='virtio'/></interface>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <controller type='usb' model='qemu-xhci'/>
    <filesystem type='mount' accessmode='mapped'>
      <source dir='FOLDER/share'/><target dir='work'/>
    </filesystem>
  </devices>
</domain>
"""
DISK = """<disk type='file' device='DEVICE'><driver name='qemu' type='raw'/>
      <source file='FOLDER/FILE'/><target dev='TARGET' bus='BUS'/></disk>"""
DRIVES = (
    ("disk", "root.img", "vda", "virtio"),
    ("disk", "data.img", "vdb", "virtio"),
    ("disk", "spare.img", "vdc", "virtio"),
    ("cdrom", "installer.iso", "sda", "sata"),
    ("cdrom", "drivers.iso", "sdb", "sata"),
)


class Libvirt:
    """A warm session daemon that knows the domain.

    Attributes:
        start: the command that starts the domain.
        environment: what virsh must be told to find the daemon.
    """

    def __init__(self, place: Place, fake: Fake) -> None:
        home = place.folder / "libvirt"
        self.environment = place.environment | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
        }
        self.start = _virsh("start", "ten")
        (home / "run").mkdir(mode=0o700, parents=True)
        (home / "config" / "libvirt").mkdir(parents=True)
        # Else the guest's output goes through one more daemon, virtlogd.
        (home / "config" / "libvirt" / "qemu.conf").write_text('stdio_handler = "file"\n')
        self.domain = home / "ten.xml"
        self.domain.write_text(_domain(str(place.folder / "vm"), fake.program))

    def is_ready(self) -> bool:
        """Defines the domain: whether the daemon could do it."""
        return ended(started(_virsh("define", str(self.domain)), self.environment)) == 0


def _virsh(*words: str) -> list[str]:
    return ["virsh", "--quiet", "--connect", "qemu:///session", *words]


def _domain(folder: str, emulator: Path) -> str:
    disks = [
        DISK.replace("DEVICE", device)
        .replace("FILE", file)
        .replace("TARGET", target)
        .replace("BUS", bus)
        for device, file, target, bus in DRIVES
    ]
    text = DOMAIN.replace("DISKS", "\n    ".join(disks))
    return text.replace("FOLDER", folder).replace("EMULATOR", str(emulator))


@contextlib.contextmanager
def running(place: Place, fake: Fake) -> Generator[Libvirt | str]:
    """A session daemon for a while; or why there is none."""
    lacking = _lacking()
    if lacking:
        yield lacking
        return
    libvirt = Libvirt(place, fake)
    path = os.pathsep.join((place.environment["PATH"], "/usr/sbin", "/sbin"))
    daemon = started([shutil.which("libvirtd", path=path) or ""], libvirt.environment)
    try:
        yield libvirt if _answers(libvirt, daemon) else "libvirtd does not start here"
    finally:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
            ended(daemon)


def _lacking() -> str:
    if shutil.which("virsh") is None:
        return "virsh is not installed"
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    if shutil.which("libvirtd", path=path) is None:
        return "libvirtd is not installed"
    if os.geteuid() == 0:
        return "root has no libvirt session"
    return ""


def _answers(libvirt: Libvirt, daemon: subprocess.Popen[bytes]) -> bool:
    for _ in range(50):
        if daemon.poll() is not None:
            return False
        if libvirt.is_ready():
            return True
        time.sleep(0.2)
    return False
