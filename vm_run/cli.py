"""The command line of vm-run, for every call but the plain `vm-run NAME`."""

from __future__ import annotations

import argparse

from vm_run.options import Options
from vm_run.reboot import Policy
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Outcome
from vm_state.parser import Parser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["options", "parse", "parser"]

EXAMPLES = """\
examples:
  vm-run my-vm                    run ~/vm/my-vm.toml until its guest powers off
  vm-run my-vm -t install         the same machine with its target install
  vm-run my-vm -d                 print the command line; start nothing
  vm-run my-vm --check            report what this host lacks for it
  vm-run --check                  report what this host has and lacks for any VM
  vm-run web --screenshot a.png   save the screen of a running VM
  vm-run -c web.toml -o mem=4G    another file, with one key changed
  uclcmd get -c -f x.conf | vm-run -c -
  vm-run --import web.xml         print a description of another tool's file

exit status: 0 orderly end, 3 guest crashed, 4 hypervisor failed, 64 wrong command line,
65 wrong description, 66 no such VM, 69 the host lacks something, 70 our bug, 75 busy, 77 refused
"""


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError("must be KEY=VALUE")
    return key, value


def _outcomes(text: str) -> tuple[Outcome, ...]:
    try:
        return tuple(Outcome(word) for word in text.split(",") if word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError("must be a whole number from 0")
    return int(text)


def parser() -> Parser:
    """The parser; vm-run(1) has the same options."""
    made = Parser(
        "vm-run",
        "vm-run NAME [OPTION...] [-- ARGS...]\n"
        "       vm-run -c FILE [NAME] [OPTION...] [-- ARGS...]\n"
        "       vm-run --autostart [--names]\n"
        "       vm-run --check",
        "Run a virtual machine from its description, and supervise it.",
        EXAMPLES,
    )
    made.add_version()
    _add_what_to_run(made.add_argument_group("what to run").add_argument)
    _add_inspection(made.add_argument_group("inspect without starting").add_argument)
    _add_running(made.add_argument_group("start, restarts and end").add_argument)
    return made


def _add_what_to_run(add: Callable[..., object]) -> None:
    add("name", metavar="NAME", nargs="?", default="", help="a VM of $VMCONF_DIR")
    add("-c", "--config", metavar="FILE", help="a description; - is standard input")
    add("-t", "--target", default="default", help="the target to boot first")
    add(
        "-o", dest="overrides", metavar="KEY=VALUE", type=_override, action="append", default=[],
        help="override a key of the description, such as mem=2G or cpu.cores=4",
    )  # fmt: skip


def _add_inspection(add: Callable[..., object]) -> None:
    add("-d", "--dry-run", action="store_true", help="print the command line")
    add("--format", choices=("shell", "json", "bhyve-config"), help="of --dry-run; default shell")
    add("--explain", action="store_true", help="print each argument <- its key, line by line")
    add("--debug", action="store_true", help="print the description as it was read")
    add("--check", action="store_true", help="report what this host lacks")
    add("--targets", action="store_true", help="print the names of its targets")
    add("--schema", action="store_true", help="print the JSON Schema of descriptions")
    add(
        "--import", dest="imports", action="store_true",
        help="print a description of another tool's FILE, or of `-- bhyve ARGS...`",
    )  # fmt: skip
    add("--screenshot", metavar="FILE", help="save a running VM's screen as PNG; - is stdout")


def _add_running(add: Callable[..., object]) -> None:
    add("--no-reboot", action="store_true", help="never restart the guest")
    add("--reboot-count", metavar="N", type=_count, help="restart it at most N times")
    add(
        "--reboot-on", metavar="LIST", type=_outcomes,
        help="restart it after: reboot,poweroff,halt,triple-fault,error,suspend or 0 to 5",
    )  # fmt: skip
    add("-f", "--force", action="store_true", help="kill an unsupervised guest, then start")
    add("--recover", action="store_true", help="supervise a guest whose vm-run is gone")
    add("--detach", action="store_true", help="run in the background once the guest runs")
    add("--autostart", action="store_true", help="start, in order, each VM with autostart = true")
    add("--names", action="store_true", help="with --autostart: print them, a line per order")
    add("--fix", action="store_true", help="apply known repairs for what this host lacks")
    add("--no-requirement-check", action="store_true", help="start without checking this host")
    add("--events", metavar="FILE", help="append events as JSON lines")
    add("-p", dest="pid_file", metavar="FILE", help="write the hypervisor's pid")
    add("-P", dest="own_pid_file", metavar="FILE", help="write vm-run's own pid")
    add("--panic-on-failed-cleanup", action="store_true", help="fail if a leftover stays")


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses and checks a command line.

    Raises:
        VmError: it is wrong (64).
    """
    made = parser()
    at = argv.index("--") if "--" in argv else len(argv)
    call = made.parse_args(argv[:at])
    call.extra = argv[at + 1 :]
    one = call.name or call.config or call.extra or call.overrides or call.target != "default"
    inspects = call.dry_run or call.explain or call.debug or call.targets
    call.check_host = call.check and not (one or inspects or call.schema or call.autostart)
    needs_name = not (call.config or call.schema or call.imports or call.autostart)
    mistakes = {
        "the name of a VM is missing": needs_name and not (call.name or call.check_host),
        "--import needs a FILE, or -- and the arguments of a bhyve command line": call.imports
        and (call.config or bool(call.name) == bool(call.extra)),
        "--format is for --dry-run": call.format and not call.dry_run,
        "--names is for --autostart; vm-list --names lists every VM": call.names
        and not call.autostart,
        "--autostart is for all VMs that have it: remove the options for one VM": call.autostart
        and (one or inspects or call.check or call.pid_file or call.own_pid_file or call.recover),
        "--screenshot needs the name of a running VM, and no -c": call.screenshot is not None
        and (call.config or call.extra or not call.name),
    }
    for message, is_made in mistakes.items():
        if is_made:
            made.error(message)
    return call


def options(call: argparse.Namespace, terminal: str = "") -> Options:
    """How a session is run, from its command line."""
    return Options(
        handle="" if call.config else call.name,
        target=call.target,
        policy=Policy(reboot=not call.no_reboot, most=call.reboot_count, on=call.reboot_on),
        force=call.force,
        recover=call.recover,
        check=not call.no_requirement_check,
        fix=call.fix,
        detached=call.detach,
        terminal=terminal,
        pid_file=call.pid_file or "",
        supervisor_pid_file=call.own_pid_file or "",
        panic_on_failed_cleanup=call.panic_on_failed_cleanup,
        extra=tuple(call.extra),
    )
