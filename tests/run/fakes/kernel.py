"""A stand-in for vmm(4): a folder in which each VM is a file, whose text is its state.

The fake programs and the tests meet in the folder that FAKE_VMM names: `vmm` stands for /dev/vmm,
`calls` has each program's arguments, `plan` a line for each guest to come.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vm_state.process import started_at

State = dict[str, Any]


class Kernel:
    """The VMs of a FreeBSD that is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = folder / "vmm"
        self.nodes.mkdir(exist_ok=True)

    def note(self, program: str, argv: list[str]) -> None:
        """Writes down that a program was called."""
        with (self.folder / "calls").open("a") as calls:
            calls.write(json.dumps([program, *argv]) + "\n")

    def calls(self, *programs: str) -> list[list[str]]:
        """How programs were called so far; of all when none is named."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [call for call in found if not programs or call[0] in programs]

    def plan(self, *guests: str) -> None:
        """Says what the guests to come will do, a line for each."""
        (self.folder / "plan").write_text("".join(f"{line}\n" for line in guests))

    def next_guest(self) -> str:
        """What the next guest does; `wait` when nothing was said."""
        path = self.folder / "plan"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("".join(f"{line}\n" for line in lines[1:]))
        return lines[0] if lines else "wait"

    def vms(self) -> list[str]:
        """The names of the VMs in the kernel."""
        return sorted(path.name for path in self.nodes.iterdir() if "," not in path.name)

    def read(self, name: str) -> State | None:
        """A VM's state; None when there is none of this name."""
        try:
            found: State = json.loads((self.nodes / name).read_text())
        except FileNotFoundError:
            return None
        return found

    def write(self, name: str, state: State) -> None:
        """Keeps a VM's state, made when it is not there."""
        temporary = self.nodes / f"{name},{os.getpid()}"
        temporary.write_text(json.dumps(state))
        temporary.replace(self.nodes / name)

    def fits(self, found: State, memory: int, *, wired: bool) -> bool:
        """Whether memory of a size is what a VM has: it is given once, and outlasts each reset."""
        return not found["memory"] or (found["memory"], found["wired"]) == (memory, wired)

    def destroy(self, name: str) -> None:
        """Removes a VM."""
        (self.nodes / name).unlink(missing_ok=True)

    def runs(self, name: str) -> int:
        """The process in which a VM runs; 0 for none."""
        pid = int((self.read(name) or {}).get("pid", 0))
        return pid if started_at(pid) else 0


def kernel() -> Kernel:
    """The one that FAKE_VMM names."""
    return Kernel(Path(os.environ["FAKE_VMM"]))
