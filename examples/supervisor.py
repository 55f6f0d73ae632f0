"""A supervisor of one's own: restarts a crashed guest a few times, and keeps a diary.

    python3 examples/supervisor.py my-vm.toml diary.txt

The library decides nothing that a program may want to decide itself: this one turns crashes into
restarts by its own count, which no description has to mention.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any

import vm_run
import vm_spec
from vm_run.reboot import Policy
from vm_spec.machine import Outcome


def main(file: str, diary: str, most: int = 3) -> int:
    """Runs a description until its guest powers off; returns the exit status."""
    description = vm_spec.load(file)
    machine = vm_spec.select(description)
    print("would run:", shlex.join(vm_run.qemu.argv(vm_run.place(description, machine))))

    with open(diary, "a", encoding="utf-8") as book:

        def note(event: dict[str, Any]) -> None:
            if event["event"] in ("started", "ended"):
                what = event.get("outcome", f"pid {event.get('pid')}")
                book.write(f"{event['event']} {event['target']}: {what}\n")

        wanted = Policy(most=most, on=(Outcome("triple-fault"), Outcome("reboot")))
        ending = vm_run.run(description, vm_run.Options(policy=wanted), note)
    print(f"{description.name}: {ending.outcome} after {ending.starts} starts, as {ending.why}")
    return ending.status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except vm_spec.VmError as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)
