"""A hypervisor that notes when it was executed, and ends."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from bench.measure import ended, started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Fake"]

# libvirt asks a new emulator what it can do (-machine none,...): that is for the real one to say.
C = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char path[4096];
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i - 1], "-machine") && !strncmp(argv[i], "none", 4)) {
            snprintf(path, sizeof path, "%s.real", argv[0]);
            execv(path, argv);
            return 69;
        }
    snprintf(path, sizeof path, "%s.at", argv[0]);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dprintf(fd, "%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    return 0;
}
"""
BASH = r"""#!/bin/bash
now=$EPOCHREALTIME
case " $* " in *" -machine none"*) exec "$0.real" "$@" ;; esac
echo "$now" >"$0.at"
"""


class Fake:
    """The fake hypervisor in a folder.

    It is a static C program, and its clock the monotonic one, where there is a C compiler;
    else a bash script, which costs each contender the same two or three milliseconds.

    Attributes:
        program: its path.
        kind: what it is made of.
    """

    def __init__(self, folder: Path) -> None:
        self.program = folder / "qemu-fake"
        self.kind = "static C" if _compile(folder, self.program) else "bash"
        if self.kind == "bash":
            self.program.write_text(BASH)
            self.program.chmod(0o755)
        real = shutil.which("qemu-system-x86_64")
        if real:
            (folder / "qemu-fake.real").symlink_to(real)

    def until_exec(self, argv: list[str], environment: Mapping[str, str]) -> Mapping[str, float]:
        """Milliseconds from a command to the execution of this hypervisor by it."""
        stamp = self.program.with_name("qemu-fake.at")
        stamp.unlink(missing_ok=True)
        began = self._now()
        ended(started(argv, environment))
        assert stamp.exists(), f"{argv} did not start the hypervisor"
        return {"ms": (float(stamp.read_text()) - began) * 1000}

    def _now(self) -> float:
        return time.time() if self.kind == "bash" else time.monotonic()


def _compile(folder: Path, program: Path) -> bool:
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    source = folder / "fake.c"
    source.write_text(C)
    call = [compiler, "-O2", "-static", "-o", str(program), str(source)]
    return subprocess.run(call, capture_output=True, check=False).returncode == 0
