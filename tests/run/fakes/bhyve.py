"""A bhyve that runs no guest but keeps the kernel's state as the real one does.

Its command line is judged by the model of the real one's parser. What its guest does is the next
line of the plan:

wait            the guest has enabled ACPI: SIGTERM is its power button
boot            it has not: SIGTERM ends bhyve at once, and the VM stays in the kernel
deaf            it does not follow its power button
dead            it does not even lose its power: SIGKILL alone helps
N [MESSAGE]     bhyve says the message and exits with status N; 134 is an assertion that fails
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from tests.run.fakes.kernel import Kernel, kernel
from vm_import.bhyve_memory import memory
from vm_import.bhyve_model import Answer, answer
from vm_spec.fault import VmError

USAGE = """Usage: bhyve [-AaCDeHhMPSuWwxY]
             [-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]
             [-m mem] [-s <pci>] [-U uuid] vmname
       -A: create ACPI tables
       -M: monitor mode
"""
POWER, RESET = signal.SIGUSR1, signal.SIGUSR2  # how the fake bhyvectl reaches us


def die(message: str, status: int = 4) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    if status == 134:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.SIGABRT)
    sys.exit(status)


def judged(argv: list[str]) -> Answer:
    """What the real parser makes of the arguments; it ends us where the real one would."""
    try:
        return answer(argv, lambda path: Path(path).read_text())
    except VmError as error:
        said = error.faults[0].problem.replace("Usage: ...", USAGE.rstrip())
        die(said, error.status)


def opened(vmm: Kernel, name: str, told: Answer) -> None:
    """Opens the VM in the kernel, as do_open() in bhyverun.c does."""
    tree = told.tree
    size, wired = memory(tree["memory.size"]), tree.get("memory.wired") == "true"
    found = vmm.read(name)
    if found is None:
        if told.preloaded:
            die("bhyve: no bootrom was configured")
        found = {"memory": size, "wired": wired}
    elif vmm.runs(name):
        die("bhyve: vm_openf: Device busy")
    elif told.preloaded and not found.get("loaded"):
        die("bhyve: no bootrom was configured")
    if not vmm.fits(found, size, wired=wired):
        die("Unable to setup memory (22)")
    now = {"memory": size, "wired": wired, "loaded": False, "pid": os.getpid(), "acpi": False}
    vmm.write(name, now)


def consoles(told: Answer) -> list[socket.socket]:
    """Binds the sockets of virtio consoles, and never removes them."""
    made: list[socket.socket] = []
    for key, path in told.keys:
        device, port, number = key.partition(".port.")
        has_port = port and number.endswith(".path")
        if has_port and told.tree.get(f"{device}.device") == "virtio-console":
            listener = socket.socket(socket.AF_UNIX)
            made.append(listener)
            try:
                listener.bind(path)
            except OSError:
                die("cannot create port 0: Address already in use\nDevice emulation error")
            listener.listen()
    return made


def guest(vmm: Kernel, name: str, told: Answer) -> NoReturn:
    """One guest, from its start to its end."""
    opened(vmm, name, told)
    listeners = consoles(told)
    does, _, message = vmm.next_guest().partition(" ")
    status = int(does) if does.isdigit() else waits(vmm, name, does)
    for listener in listeners:
        listener.close()
    if status == 1 and told.tree.get("destroy_on_poweroff") == "true":
        vmm.destroy(name)
    if message or status == 134:
        die(message, status)
    sys.exit(status)


def waits(vmm: Kernel, name: str, does: str) -> int:
    """Waits for signals; the exit status that follows."""
    heard = {POWER, RESET} | (set[signal.Signals]() if does == "boot" else {signal.SIGTERM})
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    state = vmm.read(name) or {}
    vmm.write(name, state | {"acpi": does != "boot", "waits": True})
    while True:
        number = signal.sigwait(heard)
        if does != "dead" and number == RESET:
            return 0
        if does != "dead" and (number == POWER or does == "wait"):
            return 1


def monitored(vmm: Kernel, name: str, told: Answer) -> NoReturn:
    """The monitor mode: the VM goes with this process, which starts its guest again by itself."""
    if vmm.read(name) is not None:
        die("bhyve: vm_openf: File exists")
    tree = told.tree
    size, wired = memory(tree["memory.size"]), tree.get("memory.wired") == "true"
    vmm.write(name, {"memory": size, "wired": wired})
    child, status = 0, 0

    def gone(number: int, _: object) -> None:
        """Nothing catches it in the real one: the process ends, and with it the VM."""
        vmm.destroy(name)
        os.kill(child, signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    while status == 0:
        child = os.fork()
        if child == 0:
            guest(vmm, name, told)
        signal.signal(signal.SIGTERM, gone)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        status = code if code >= 0 else 4
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    vmm.destroy(name)
    sys.exit(status)


def main(argv: list[str]) -> None:
    vmm = kernel()
    if argv == ["-h"]:
        monitor = (vmm.folder / "vmmctl").exists()
        sys.stderr.write(USAGE if monitor else USAGE.replace("       -M: monitor mode\n", ""))
        sys.exit(0)
    vmm.note("bhyve", argv)
    told = judged(argv)
    for message in told.messages:
        sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    if told.dumped:
        sys.stdout.write("".join(f"{key}={text}\n" for key, text in told.keys))
        sys.exit(1)
    name = told.tree["name"]
    (monitored if told.tree.get("monitor") == "true" else guest)(vmm, name, told)


def guarded(argv: list[str]) -> None:
    """A fault of the fake's own looks like no end of a guest."""
    try:
        main(argv)
    except Exception:  # noqa: BLE001  whatever it is
        traceback.print_exc()
        sys.exit(99)


if __name__ == "__main__":
    guarded(sys.argv[1:])
