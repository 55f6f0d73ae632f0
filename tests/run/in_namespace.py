"""Run inside a network namespace of its own: a guest on a tap or a macvtap answers over it.

unshare -n python in_namespace.py tap|macvtap GUEST FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from tests.vm import Vm

NETWORK = '[net.lan]\nname = "{name}"\ntype = "{kind}"\nmac = "02:00:00:00:09:02"\n'


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def tap() -> str:
    ip("tuntap add dev vmtap9 mode tap")
    ip("addr add 10.9.9.1/24 dev vmtap9")
    ip("link set vmtap9 up")
    return "vmtap9"


def macvtap() -> str:
    """A macvtap on one end of a pair whose other end is the network."""
    ip("link add vmouter9 type veth peer name vminner9")
    ip("addr add 10.9.9.1/24 dev vmouter9")
    ip("link set vmouter9 up")
    ip("link set vminner9 up")
    ip("link add link vminner9 name vmmac9 address 02:00:00:00:09:02 type macvtap mode bridge")
    ip("link set vmmac9 up")
    node = Path(
        f"/sys/class/net/vmmac9/tap{Path('/sys/class/net/vmmac9/ifindex').read_text().strip()}"
    )
    major, minor = (node / "dev").read_text().split(":")
    device = Path(f"/dev/{node.name}")
    found = os.stat(device).st_rdev if device.exists() else 0
    assert found == os.makedev(int(major), int(minor)), f"{device} is another namespace's"
    return "vmmac9"


def main(kind: str, guest: Path, folder: Path) -> None:
    ip("link set lo up")
    name = tap() if kind == "tap" else macvtap()
    vm = Vm(folder)
    vm.direct(guest, "net", NETWORK.format(name=name, kind=kind))
    vm.file.write_text(vm.file.read_text().replace("do=net", "do=net vmman.ip=10.9.9.2/24"))
    process = vm.start()
    try:
        vm.until("guest: net up")
        with build_opener(ProxyHandler({})).open("http://10.9.9.2/", timeout=30) as answer:
            sys.stdout.write(answer.read().decode())
        busy = Vm(folder, "other")
        busy.describe('mem = "64M"\n' + NETWORK.format(name=name, kind="tap"))
        sys.stdout.write(busy.run("--check").stderr)
        process.terminate()
        sys.stdout.write(f"{vm.finish(process).returncode}\n")
    finally:
        vm.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
