"""Real guests: how soon one says a word through each launcher, and what its supervisor weighs."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import LIMIT
from bench.measure import TIMEOUT_S, Contender, Section, ended, started
from bench.place import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.place import Place

__all__ = ["folder", "memory", "sector", "userspace"]

QEMU = "qemu-system-x86_64"
MIB = 192
CMDLINE = "console=ttyS0 quiet vmman.do="
READY = b"guest: ready"
LETTER = b"#"  # neither SeaBIOS nor iPXE writes it
# mov dx, 0x3f8; mov al, LETTER; out dx, al; mov al, 0xfe; out 0x64, al (reset); hlt; jmp -3
BOOT_CODE = b"\xba\xf8\x03\xb0" + LETTER + b"\xee\xb0\xfe\xe6\x64\xf4\xeb\xfd"


def folder() -> Path:
    """The folder of the tests' tiny guest; it is built where it is missing."""
    given = os.environ.get("VMMAN_GUEST")
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "vmman" / "guest"
    subprocess.run([CHECKOUT / "tests" / "guest" / "build.sh", built], check=True, timeout=600)
    return built


def _until(argv: list[str], text: bytes, environment: Mapping[str, str]) -> Mapping[str, float]:
    """Milliseconds from a command to a text in its output; it is then waited for."""
    began = time.monotonic()
    process = started(argv, environment, subprocess.PIPE)
    said = _heard(process, text)
    took = (time.monotonic() - began) * 1000
    if text not in said:
        _give_up(process)
    assert text in said, f"{argv} never said {text!r}:\n{said[-2000:]!r}"
    _drain(process)
    return {"ms": took}


def _heard(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    assert process.stdout
    said = b""
    deadline = time.monotonic() + TIMEOUT_S
    while text not in said:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([process.stdout], [], [], left)
        chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not chunk:
            break
        said += chunk
    return said


def _give_up(process: subprocess.Popen[bytes]) -> None:
    """Ends a launcher and its guest: vm-run takes a second signal as an order."""
    for _ in range(2):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
    _drain(process)


def _drain(process: subprocess.Popen[bytes]) -> None:
    """Reads on, so that nobody waits for us, to the end."""
    assert process.stdout
    while select.select([process.stdout], [], [], TIMEOUT_S)[0]:
        if not os.read(process.stdout.fileno(), 65536):
            break
    ended(process)
    process.stdout.close()


def _contender(
    place: Place, name: str, argv: list[str], text: bytes, aim: float | None = None
) -> Contender:
    if shutil.which(QEMU) is None:
        return Contender(name=name, sample=None, absent=f"{QEMU} is not installed")
    aims = {} if aim is None else {"ms": aim}
    return Contender(name=name, sample=lambda: _until(argv, text, place.environment), aims=aims)


def _direct(place: Place, images: Path, name: str, do: str) -> list[str]:
    """The command that runs a direct-boot description."""
    place.describe(
        name,
        f'mem = "{MIB}M"\ncom1 = "stdio"\nkernel = "{images}/vmlinuz"\n'
        f'initrd = "{images}/initrd.img"\ncmdline = "{CMDLINE}{do}"\n',
    )
    return [place.installed, name]


def userspace(place: Place, images: Path, n: int) -> Section:
    """From the command to a line of the guest's userspace."""
    plain = [
        QEMU, "-nographic", "-m", str(MIB), "-kernel", f"{images}/vmlinuz",
        "-initrd", f"{images}/initrd.img", "-append", f"{CMDLINE}poweroff",
    ]  # fmt: skip
    ours = _direct(place, images, "direct", "poweroff")
    return Section(
        key="userspace",
        title=f"from the command to a line of the guest's userspace, {MIB} MiB",
        metrics=("ms",),
        n=n,
        contenders=[
            _contender(place, "vm-run", ours, READY),
            _contender(place, f"{QEMU} by hand", plain, READY, 0.9),
        ],
    )


def sector(place: Place, n: int) -> Section:
    """From the command to the boot sector of a disk."""
    image = place.folder / "vm" / "sector.img"
    image.write_bytes(BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))
    place.describe(
        "sector",
        'mem = "128M"\ncom1 = "stdio"\nreboot_on = []\n[disk.root]\npath = "sector.img"\n',
    )
    plain = [QEMU, "-nographic", "-no-reboot", "-drive", f"file={image},format=raw"]
    return Section(
        key="sector",
        title="from the command to a disk's boot sector",
        metrics=("ms",),
        n=n,
        contenders=[
            _contender(place, "vm-run, virtio-blk", [place.installed, "sector"], LETTER),
            _contender(place, f"{QEMU} by hand", plain, LETTER, 0.65),
        ],
    )


def memory(place: Place, images: Path, n: int) -> Section:
    """What a supervisor weighs while its guest runs."""
    argv = _direct(place, images, "waiting", "wait")
    limit = place.script("supervisor", LIMIT)

    def ours() -> Mapping[str, float]:
        process = started(argv, place.environment, subprocess.PIPE)
        if READY not in _heard(process, READY):
            _give_up(process)
            raise TimeoutError("the guest did not start")
        weight = _weight(process.pid)
        process.send_signal(signal.SIGTERM)
        _drain(process)
        return weight

    def bare() -> Mapping[str, float]:
        process = started([limit, "/bin/sleep", "60"], place.environment)
        child = _child(process.pid)
        weight = _weight(process.pid)
        os.kill(child, signal.SIGTERM)
        ended(process)
        return weight

    here = shutil.which(QEMU) is not None
    return Section(
        key="memory",
        title="memory of the supervisor while the guest runs",
        metrics=("RSS MB", "PSS MB"),
        n=n,
        contenders=[
            Contender(
                name="vm-run, installed",
                sample=ours if here else None,
                absent="" if here else f"{QEMU} is not installed",
                aims={"RSS MB": 14, "PSS MB": 10},
            ),
            Contender(name="limit: python3 -IS, waiting", sample=bare),
        ],
    )


def _child(pid: int) -> int:
    """The first child of a process, once it has one."""
    for _ in range(250):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise TimeoutError(f"{pid} started nothing")


def _weight(pid: int) -> Mapping[str, float]:
    """Resident and proportional memory of a process, in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"RSS MB": kib["Rss"] * 1024 / 1e6, "PSS MB": kib["Pss"] * 1024 / 1e6}
