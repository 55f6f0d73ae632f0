"""The command line of vm-run, for every call but the plain `vm-run NAME`."""

from __future__ import annotations

import argparse

from vm_run.options import Options
from vm_run.reboot import Policy
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.machine import Outcome
from vm_state.parser import Parser

if TYPE_CHECKING:
    pass

__all__ = ["is_of_host", "options", "parse"]

EXAMPLES = """\
examples:
  vm-run my-vm                    run ~/vm/my-vm.toml until its guest powers off
  vm-run my-vm -t install         the same machine with what its target install adds
  vm-run my-vm -d                 print the command line; nothing is looked at or started
  vm-run my-vm --check            tell what this host lacks for it
  vm-run --check                  tell what this host has and lacks for any
  vm-run web --screenshot a.png   what the screen of a running machine shows
  vm-run -c web.toml -o mem=4G    another file, with one key changed
  uclcmd get -c -f x.conf | vm-run -c -
  vm-run --import web.xml         print what another tool's file is in our language

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
    """The parser; vm-run(1) has the same words."""
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
    _what(made.add_argument_group("what is run"))
    _look(made.add_argument_group("looking without running"))
    _restarts(made.add_argument_group("restarts"))
    _start(made.add_argument_group("start and end"))
    return made


def _what(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("name", metavar="NAME", nargs="?", default="", help="a VM of $VMCONF_DIR")
    group.add_argument("-c", "--config", metavar="FILE", help="a description; - is standard input")
    group.add_argument("-t", "--target", default="default", help="which target boots first")
    group.add_argument(
        "-o", dest="overrides", metavar="KEY=VALUE", type=_override, action="append", default=[],
        help="lay one key over the description, such as mem=2G or cpu.cores=4",
    )  # fmt: skip


def _look(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("-d", "--dry-run", action="store_true", help="print the command line")
    group.add_argument(
        "--format", choices=("shell", "json", "bhyve-config"),
        help="how --dry-run prints it; shell when left out",
    )  # fmt: skip
    group.add_argument("--explain", action="store_true", help="print argument <- key, line by line")
    group.add_argument("--debug", action="store_true", help="print the description as it was read")
    group.add_argument("--check", action="store_true", help="tell what this host lacks")
    group.add_argument("--targets", action="store_true", help="print the names of its targets")
    group.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of descriptions"
    )
    group.add_argument(
        "--import", dest="imports", action="store_true",
        help="print the description of another tool's FILE, or of `-- bhyve ARGS...`",
    )  # fmt: skip
    group.add_argument(
        "--screenshot", metavar="FILE",
        help="write what the screen of a running VM shows to a PNG file; - is standard output",
    )  # fmt: skip


def _restarts(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("--no-reboot", action="store_true", help="never start the guest again")
    group.add_argument("--reboot-count", metavar="N", type=_count, help="at most N restarts")
    group.add_argument(
        "--reboot-on", metavar="LIST", type=_outcomes,
        help="restart after these: reboot,poweroff,halt,triple-fault,error,suspend or 0 to 5",
    )  # fmt: skip


def _start(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("-f", "--force", action="store_true", help="end what is left over first")
    group.add_argument("--recover", action="store_true", help="take over a guest left running")
    group.add_argument("--detach", action="store_true", help="go on in the background once it runs")
    group.add_argument(
        "--autostart", action="store_true",
        help="start in the background, in order, every VM whose description says autostart",
    )  # fmt: skip
    group.add_argument(
        "--names", action="store_true", help="with --autostart: only print them, a line per order"
    )
    group.add_argument("--fix", action="store_true", help="apply the known repair for what lacks")
    group.add_argument("--no-requirement-check", action="store_true", help="start without looking")
    group.add_argument("--events", metavar="FILE", help="append events as JSON lines")
    group.add_argument("-p", dest="pid_file", metavar="FILE", help="pid of the hypervisor")
    group.add_argument("-P", dest="own_pid_file", metavar="FILE", help="pid of vm-run itself")
    group.add_argument(
        "--panic-on-failed-cleanup", action="store_true", help="fail if a leftover stays"
    )


class Call(argparse.Namespace):
    """What was typed."""

    name: str
    config: str | None
    target: str
    overrides: list[tuple[str, str]]
    extra: list[str]
    dry_run: bool
    format: str | None
    explain: bool
    debug: bool
    check: bool
    targets: bool
    schema: bool
    imports: bool
    screenshot: str | None
    no_reboot: bool
    reboot_count: int | None
    reboot_on: tuple[Outcome, ...] | None
    force: bool
    recover: bool
    detach: bool
    autostart: bool
    names: bool
    fix: bool
    no_requirement_check: bool
    events: str | None
    pid_file: str | None
    own_pid_file: str | None
    panic_on_failed_cleanup: bool


def parse(argv: list[str]) -> Call:
    """What was typed, checked.

    Raises:
        VmError: it is a mistake (64).
    """
    made = parser()
    ours, _, extra = _split(argv)
    call = made.parse_args(ours, namespace=Call())
    call.extra = extra
    for_all = call.schema or call.imports or call.autostart or is_of_host(call)
    if not (call.name or call.config or for_all):
        made.error("the name of a VM is missing")
    if call.imports and (call.config or bool(call.name) == bool(call.extra)):
        made.error("--import wants a FILE, or -- and the words of a command line of bhyve")
    if call.format and not call.dry_run:
        made.error("--format is for --dry-run")
    _autostart_stands_alone(made, call)
    if call.screenshot is not None and (call.config or call.extra or not call.name):
        made.error("--screenshot is of a VM that runs: say its name")
    return call


def _autostart_stands_alone(made: Parser, call: Call) -> None:
    """--autostart is for all of a folder, so nothing that is for one VM goes with it."""
    if call.names and not call.autostart:
        made.error("--names is for --autostart; vm-list --names lists every VM")
    one = call.name or call.config or call.extra or call.overrides or call.target != "default"
    looks = call.dry_run or call.explain or call.debug or call.check or call.targets
    if call.autostart and (one or looks or call.pid_file or call.own_pid_file or call.recover):
        made.error("--autostart is for all VMs that have it: what is for one cannot go with it")


def is_of_host(call: Call) -> bool:
    """Whether all of the host is to be looked at: --check alone."""
    of_one = call.name or call.config or call.extra or call.overrides or call.target != "default"
    looks = call.dry_run or call.explain or call.debug or call.targets or call.schema
    return call.check and not (of_one or looks or call.autostart)


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    """Our own words, and those behind -- that are the hypervisor's."""
    if "--" not in argv:
        return argv, "", []
    at = argv.index("--")
    return argv[:at], "--", argv[at + 1 :]


def options(call: Call, terminal: str = "") -> Options:
    """How a session is run, from what was typed."""
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
