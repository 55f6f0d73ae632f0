"""vm-stop: asks running VMs to power off, and reports how they ended."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError

from vm_spec.fault import printable
from vm_spec.frozen import items
from vm_state.cli import run_command
from vm_state.parser import Parser
from vm_stop.stopping import Answer, list_running, stop

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
    """The parser; vm-stop(1) has the same options."""
    made = Parser(
        "vm-stop",
        "vm-stop NAME... [--timeout S | --force] [--no-wait] [--json]\n"
        "       vm-stop --all [--timeout S | --force] [--no-wait] [--json]",
        "Ask running virtual machines to power off, and report how they ended.",
        EXAMPLES,
    )
    made.add_version()
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("names", metavar="NAME", nargs="*", default=[], help="a running VM")
    which.add_argument("--all", action="store_true", help="all your running VMs on this host")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--timeout", metavar="S", type=_seconds, help="force it after S seconds")
    how.add_argument("-f", "--force", action="store_true", help="force it at once")
    made.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    made.add_argument("--json", action="store_true", help="print JSON; see vm-stop(1)")
    return made


def _seconds(text: str) -> float:
    if text.isascii() and text.isdigit() and int(text) <= 86400:
        return float(text)
    raise ArgumentTypeError("must be a whole number of seconds, from 0 to 86400")


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    return run_command("vm-stop", _stop, argv)


def _stop(argv: list[str]) -> int:
    call = parser().parse_args(argv)
    names: list[str] = list_running() if call.all else call.names
    if not names and not call.json:
        print("no VM of yours runs on this host")
    answers: list[Answer] = []

    def done(answer: Answer) -> None:
        answers.append(answer)
        if not call.json:
            _print(answer)

    stop(names, 0.0 if call.force else call.timeout, _report, done, wait=not call.no_wait)
    if call.json:
        from json import dumps

        print(dumps({"version": 1, "vms": list(map(items, answers))}, indent=1))
    return max((answer.status for answer in answers), default=0)


def _report(name: str, text: str) -> None:
    print(f"{name}: {printable(text)}", file=sys.stderr, flush=True)


def _print(answer: Answer) -> None:
    stream = sys.stderr if answer.status else sys.stdout
    print(f"{printable(answer.name)}: {printable(answer.said)}", file=stream, flush=True)
    if answer.hint:
        print(f"  hint: {printable(answer.hint)}", file=stream, flush=True)


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
