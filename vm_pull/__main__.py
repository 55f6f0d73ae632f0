"""vm-pull: a Vagrant box as a disk image and a description."""

from __future__ import annotations

import signal
import sys

from vm_pull.cli import parse
from vm_pull.progress import progress
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING
from vm_state.cli import run_command
from vm_state.parser import version_line

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from vm_pull.cli import Call
    from vm_pull.pull import Pulled

_SOON_S = 0.01
_UNITS = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-pull", _main, argv)


def _main(argv: list[str]) -> int:
    call = parse(argv)
    if not call.words:
        print(version_line("vm-pull"), end="")
        return 0
    try:
        return _list(call) if call.list else _pull(call)
    except KeyboardInterrupt:
        print("vm-pull: interrupted; nothing is left", file=sys.stderr)
        raise


def _list(call: Call) -> int:
    from vm_pull.catalogs.listing import listing, table
    from vm_pull.pull import catalog

    with progress(quiet=call.quiet) as shown:
        found = catalog(call, shown)
    print(table(listing(found)), end="")
    return 0


def _pull(call: Call) -> int:
    from vm_pull.pull import pull

    with progress(quiet=call.quiet) as shown:
        done = pull(call, shown)
    if not call.quiet:
        print("\n".join(printable(line) for line in _summary(done)))
    return 0


def _summary(done: Pulled) -> list[str]:
    """What there is now, and what to type next."""
    lines = [
        f"disk         {path}  ({kind}, {_shown(size)}, {_shown(here)} here)"
        for path, kind, size, here in done.disks
    ]
    digest = f"{done.digest} (verified)" if done.digest else "none was published"
    lines.append(f"checksum     {digest}")
    if not done.file:
        return lines
    return [
        f"description  {done.file}",
        *lines,
        f"next: vm-run {done.name} --detach",
        f"then: ssh -p {done.port} {done.hardware.user}@localhost",
    ]


def _shown(count: int) -> str:
    for bits, unit in _UNITS:
        if count >= 1 << bits:
            number = count / (1 << bits)
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count} bytes"


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Python drops what a signal raises while it runs a weak reference's callback, say.

    It would drop it here too, so a timer raises it when this has returned.
    """
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, _SOON_S, _SOON_S)
    else:
        sys.__unraisablehook__(lost)


def _interrupt_by_timer(_: int, frame: FrameType | None) -> None:
    """Raises the interrupt and stops the timer, unless `_interrupt_again` has not returned yet."""
    while frame:
        if frame.f_code is _interrupt_again.__code__:
            return
        frame = frame.f_back
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise KeyboardInterrupt


def entry() -> None:
    """The console script; a hang-up or a polite end is an interrupt, and leaves nothing either."""
    sys.unraisablehook = _interrupt_again
    signal.signal(signal.SIGALRM, _interrupt_by_timer)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
