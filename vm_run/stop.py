"""vm-stop: asks running VMs to power off, and tells how they ended."""

from __future__ import annotations

import sys

from vm_spec.fault import Fault, VmError, printable
from vm_spec.guard import guarded
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from vm_run.stopping import Answer

__all__ = ["entry", "main", "parser"]

EXAMPLES = """\
examples:
  vm-stop my-vm                   press its power button; forced after its stop_timeout
  vm-stop --timeout 300 db web    both at once, and five minutes for each
  vm-stop --force my-vm           now
  vm-stop --all                   everything of yours that runs on this host

exit status: 0 nothing runs any more, 64 wrong command line, 66 no such VM, 70 our bug,
74 the state folder cannot be written, 75 another host has it, 130 interrupted;
of several the highest
"""


def parser() -> argparse.ArgumentParser:
    """The parser; vm-stop(1) has the same words."""
    import argparse

    made = argparse.ArgumentParser(
        prog="vm-stop",
        usage="vm-stop NAME... [--timeout S | --force] [--no-wait] [--json]\n"
        "       vm-stop --all [--timeout S | --force] [--no-wait] [--json]",
        description="Ask running virtual machines to power off, and tell how they ended.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("names", metavar="NAME", nargs="*", help="what vm-run calls it")
    made.add_argument("--all", action="store_true", help="all of yours that run on this host")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--timeout", metavar="S", type=_seconds, help="force it after so many seconds")
    how.add_argument("-f", "--force", action="store_true", help="force it at once")
    made.add_argument("--no-wait", action="store_true", help="ask, and do not wait for the end")
    made.add_argument("--json", action="store_true", help="for programs; described in vm-stop(1)")
    made.add_argument("--version", action="store_true", help="which version this is")
    return made


def _seconds(text: str) -> float:
    import argparse

    if text.isascii() and text.isdigit() and int(text) <= 86400:
        return float(text)
    raise argparse.ArgumentTypeError("must be a whole number of seconds, from 0 to 86400")


def _mistake(message: str) -> NoReturn:
    raise VmError(Fault(problem=message, hint="vm-stop --help"), status=64)


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return guarded("vm-stop", _stop, argv)


def _stop(argv: list[str]) -> int:
    made = parser()
    made.error = _mistake  # type: ignore[method-assign]
    call = made.parse_args(argv)
    if call.version:
        from vm_run.version import version

        print(f"vm-stop {version()}")
        return 0
    if call.all and call.names:
        _mistake("--all and names cannot be had at once")
    if not (call.all or call.names):
        _mistake("the name of a VM is missing")
    from vm_run.stopping import Wish, running, stop

    answers: list[Answer] = []

    def done(answer: Answer) -> None:
        answers.append(answer)
        if not call.json:
            _show(answer)

    names: list[str] = running() if call.all else call.names
    if not names and not call.json:
        print("nothing of yours runs on this host")
    stop(
        names,
        Wish(timeout_s=0.0 if call.force else call.timeout, wait=not call.no_wait),
        _tell,
        done,
    )
    if call.json:
        print(_json(answers))
    return max((answer.status for answer in answers), default=0)


def _tell(name: str, text: str) -> None:
    print(f"{name}: {printable(text)}", file=sys.stderr, flush=True)


def _show(answer: Answer) -> None:
    stream = sys.stderr if answer.status else sys.stdout
    print(f"{printable(answer.name)}: {printable(answer.said)}", file=stream, flush=True)
    if answer.hint:
        print(f"  hint: {printable(answer.hint)}", file=stream, flush=True)


def _json(answers: list[Answer]) -> str:
    from json import dumps

    from vm_spec.value import items

    return dumps({"version": 1, "vms": [items(answer) for answer in answers]}, indent=1)


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
