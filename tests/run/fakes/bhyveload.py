"""A bhyveload and a grub-bhyve: the VM is made and loaded, or what the file `loader` says happens.

wait            it shows its menu until a signal ends it
N [MESSAGE]     it says the message and exits with status N
"""

from __future__ import annotations

import signal
import sys

from tests.run.fakes.bhyve import die
from tests.run.fakes.kernel import Kernel, kernel
from vm_import.bhyve_memory import memory


def options(argv: list[str], with_value: str) -> tuple[dict[str, str], str]:
    """The options with their values, and the VM's name."""
    found: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return found, word
        found[word[1]] = next(words) if word[1] in with_value else ""
    die("usage: bhyveload [-S] [-m memsize] [-d disk-path] vmname", 1)


def menu(vmm: Kernel) -> None:
    """Does what the file `loader` says."""
    path = vmm.folder / "loader"
    does, _, message = (path.read_text().strip() if path.exists() else "").partition(" ")
    if does == "wait":
        (vmm.folder / "menu").touch()
        signal.pause()
    elif does:
        die(message, int(does))


def load(vmm: Kernel, name: str, size: str, *, wired: bool) -> None:
    """Makes the VM unless it is there, and puts a kernel into it."""
    state = {"memory": memory(size), "wired": wired}
    found = vmm.read(name)
    if found is not None and not vmm.fits(found, memory(size), wired=wired):
        die("vm_setup_memory: Invalid argument", 1)
    vmm.write(name, state | {"loaded": True})


def main(program: str, argv: list[str]) -> None:
    vmm = kernel()
    vmm.note(program, argv)
    found, name = options(argv, "mdceh" if program == "bhyveload" else "mMrcd")
    if program == "grub-bhyve":
        with open(found["m"]) as devices:
            (vmm.folder / "device.map").write_text(devices.read())
        (vmm.folder / "commands").write_text(sys.stdin.read())
    sys.stdout.write("Loading the kernel\n")
    sys.stdout.flush()
    menu(vmm)
    load(vmm, name, found["m" if program == "bhyveload" else "M"], wired="S" in found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
