"""The ways of getting a box: vm-pull, Vagrant, what vmman did, and the limits."""

from __future__ import annotations

import os
import resource
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Contender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.boxes import Box
    from bench.place import Place

__all__ = ["timed", "watched"]

LOOK_S = 0.01
TIMEOUT_S = 600.0
ADD, ADD_AND_CONVERT = "vagrant box add", "vagrant box add, then qemu-img"
VMMAN = "curl, tar, qemu-img (vmman)"
# The ratios of our wall time to theirs that are aimed at.
AIMS = {
    "virtualbox": {"vagrant box add, then qemu-img": 0.19, "curl, tar, qemu-img (vmman)": 0.24},
    "virtualbox-qemu": {
        "vagrant box add, then qemu-img": 0.19,
        "curl, tar, qemu-img (vmman)": 0.24,
    },
    "libvirt": {ADD: 0.25},
    "libvirt-plain": {ADD: 0.30},
}
MOST_PSS_MB = 45.0


def timed(place: Place, box: Box, port: int) -> list[Contender]:
    """All of them, for their wall time and CPU time."""
    aims = {name: {"wall s": most} for name, most in AIMS[box.kind].items()}
    return list(_contenders(place, _ways(place, box, port), _time, aims))


def watched(place: Place, box: Box, port: int) -> list[Contender]:
    """All of them, for their peaks of memory and disk."""
    aims = {"vm-pull": {"PSS MB": MOST_PSS_MB}}
    return list(_contenders(place, _ways(place, box, port), _watch, aims))


def _contenders(
    place: Place,
    ways: Mapping[str, str],
    measure: Callable[[list[str], Path, Mapping[str, str]], Mapping[str, float]],
    aims: Mapping[str, Mapping[str, float]],
) -> Iterator[Contender]:
    for name, script in ways.items():
        tool = script.split()[0]
        if shutil.which(tool) is None:
            yield Contender(name=name, sample=None, absent=f"{tool} is not here")
            continue
        sample = _sampler(place, script, measure)
        yield Contender(name=name, sample=sample, aims=aims.get(name, {}))


def _ways(place: Place, box: Box, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}/{box.path.name}"
    pull = f"{place.prefix}/bin/vm-pull"
    add = f"vagrant box add --no-color --provider {box.provider} --name bench {url}"
    there = f"boxes/bench/0/{box.provider}/{box.disk}"
    kind = "vmdk" if box.provider == "virtualbox" else "qcow2"
    ways = {
        "vm-pull": f"{pull} {url} --name bench --quiet",
        ADD: add,
        ADD_AND_CONVERT: f"{add} && qemu-img convert -O raw {there} bench.img",
        VMMAN: f"curl -sSfo box {url} && mkdir x && tar xf box -C x && "
        f"qemu-img convert -f {kind} -O raw x/{box.disk} bench.img",
        "limit: curl": f"curl -sSfo /dev/null {url}",
        "limit: curl | gunzip": f"curl -sSf {url} | gzip -dc >/dev/null",
    }
    if shutil.which("igzip"):
        ways["limit: curl | igzip"] = f"curl -sSf {url} | igzip -dc >/dev/null"
    return ways


def _sampler(
    place: Place,
    script: str,
    measure: Callable[[list[str], Path, Mapping[str, str]], Mapping[str, float]],
) -> Callable[[], Mapping[str, float]]:
    def sample() -> Mapping[str, float]:
        folder = place.folder / "fetched"
        folder.mkdir()
        changed = {"VMCONF_DIR": str(folder), "VAGRANT_HOME": str(folder)}
        try:
            return measure(["sh", "-ec", script], folder, {**place.environment, **changed})
        finally:
            shutil.rmtree(folder)

    return sample


def _time(argv: list[str], folder: Path, environment: Mapping[str, str]) -> Mapping[str, float]:
    """Seconds by the clock, and of the processors."""
    os.sync()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=folder, env=environment, check=False, capture_output=True, timeout=TIMEOUT_S
    )
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall s": wall, "CPU s": cpu}


def _watch(argv: list[str], folder: Path, environment: Mapping[str, str]) -> Mapping[str, float]:
    """The most memory of the whole group of processes, and the most disk, looked at often."""
    pss = disk = 0
    process = subprocess.Popen(
        argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    watch = os.pidfd_open(process.pid)
    try:
        while not select.select([watch], [], [], LOOK_S)[0]:
            pss = max(pss, _pss(process.pid))
            disk = max(disk, _disk(folder))
    finally:
        os.close(watch)
    assert process.wait() == 0
    return {"PSS MB": pss / 1e6, "disk MB": max(disk, _disk(folder)) / 1e6}


def _pss(session: int) -> int:
    """Bytes of all processes of a session, each shared page divided by its users."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.getsid(int(entry)) == session:
                text = Path("/proc", entry, "smaps_rollup").read_text()
                total += 1024 * int(text.partition("\nPss:")[2].split()[0])
        except (OSError, IndexError):
            continue  # it has just ended
    return total


def _disk(folder: Path) -> int:
    """Bytes that the files of a folder take."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total
