"""A bhyvectl that acts on the stand-in for the kernel."""

from __future__ import annotations

import os
import sys

from tests.run.fakes.bhyve import POWER, RESET, die
from tests.run.fakes.kernel import kernel


def main(argv: list[str]) -> None:
    vmm = kernel()
    vmm.note("bhyvectl", argv)
    name = argv[0].removeprefix("--vm=")
    if argv[1] == "--create":
        if vmm.read(name) is not None:
            die("VM:" + name + " could not be created: File exists", 1)
        vmm.write(name, {"memory": 0, "wired": False})
        return
    if vmm.read(name) is None:
        die("vm_open: No such file or directory", 1)
    pid = vmm.runs(name)
    match argv[1]:
        case "--destroy":
            vmm.destroy(name)
        case "--force-poweroff" | "--force-reset" if pid:
            os.kill(pid, POWER if argv[1] == "--force-poweroff" else RESET)
        case _:
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
