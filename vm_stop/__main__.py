"""vm-stop: asks running VMs to power off, and reports how they ended."""

from __future__ import annotations

import sys

from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING
from vm_state.cli import run_command

if TYPE_CHECKING:
    from typing import NoReturn

    from vm_state.parser import Parser
    from vm_stop.stopping import Answer

__all__ = ["entry", "main", "parser"]

EXAMPLES = """\
examples:
  vm-stop my-vm                   press its power button; force it after its stop_timeout
  vm-stop --timeout 300 db web    both at once, five minutes for each
  vm-stop --force my-vm           now
  vm-stop --all                   all your VMs on this host

exit status: 0 stopped or not running, 64 wrong command line, 66 no such VM, 70 our bug,
74 the state directory cannot be written, 75 another host has it, 130 interrupted;
of several the highest
"""


def parser() -> Parser:
    """The parser; vm-stop(1) has the same words."""
    from vm_state.parser import Parser

    made = Parser(
        "vm-stop",
        "vm-stop NAME... [--timeout S | --force] [--no-wait] [--json]\n"
        "       vm-stop --all [--timeout S | --force] [--no-wait] [--json]",
        "Ask running virtual machines to power off, and report how they ended.",
        EXAMPLES,
    )
    made.add_version()
    made.add_argument("names", metavar="NAME", nargs="*", help="a running VM")
    made.add_argument("--all", action="store_true", help="all your running VMs on this host")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--timeout", metavar="S", type=_seconds, help="force it after S seconds")
    how.add_argument("-f", "--force", action="store_true", help="force it at once")
    made.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    made.add_argument("--json", action="store_true", help="print JSON; see vm-stop(1)")
    return made


def _seconds(text: str) -> float:
    import argparse

    if text.isascii() and text.isdigit() and int(text) <= 86400:
        return float(text)
    raise argparse.ArgumentTypeError("must be a whole number of seconds, from 0 to 86400")


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-stop", _stop, argv)


def _stop(argv: list[str]) -> int:
    made = parser()
    call = made.parse_args(argv)
    if call.all and call.names:
        made.error("--all and names exclude each other")
    if not (call.all or call.names):
        made.error("the name of a VM is missing")
    from vm_stop.stopping import Wish, list_running, stop

    answers: list[Answer] = []

    def done(answer: Answer) -> None:
        answers.append(answer)
        if not call.json:
            _show(answer)

    names: list[str] = list_running() if call.all else call.names
    if not names and not call.json:
        print("no VM of yours runs on this host")
    stop(
        names,
        Wish(timeout_s=0.0 if call.force else call.timeout, wait=not call.no_wait),
        _report,
        done,
    )
    if call.json:
        print(_json(answers))
    return max((answer.status for answer in answers), default=0)


def _report(name: str, text: str) -> None:
    print(f"{name}: {printable(text)}", file=sys.stderr, flush=True)


def _show(answer: Answer) -> None:
    stream = sys.stderr if answer.status else sys.stdout
    print(f"{printable(answer.name)}: {printable(answer.said)}", file=stream, flush=True)
    if answer.hint:
        print(f"  hint: {printable(answer.hint)}", file=stream, flush=True)


def _json(answers: list[Answer]) -> str:
    from json import dumps

    from vm_spec.frozen import items

    return dumps({"version": 1, "vms": [items(answer) for answer in answers]}, indent=1)


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
