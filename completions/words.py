"""What can be typed behind each command: its options, their values, its operands."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import vm_console.__main__
import vm_import.__main__
import vm_pull.cli
import vm_run.cli
import vm_stop.__main__
from vm_init.__main__ import ACTS, FLAGS, VALUES
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.machine import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Command", "Option", "commands"]

NAME, TARGET, FILE, USER, WORDS, ANYTHING = "name", "target", "file", "user", "words", "anything"
_BY_METAVAR = {"FILE": FILE, "USER": USER, "TARGET": TARGET}
_OPERANDS = {"NAME": NAME, "PORT": WORDS, "FILE": FILE, "USER/BOX": FILE}
_PORTS = ("com1", "com2", "com3", "com4")
_IN_HELP = re.compile(r"^  (-\w)?(?:, )?(--[\w-]+) +(.*)$", re.MULTILINE)


class Option(Value):
    """An option of a command.

    Attributes:
        strings: how it is written, the short form first.
        help: what it does.
        takes: the kind of its value: name, target, file, user, words, anything; empty for none.
        words: the words that its value can be, where these are known.
        many: whether it may be given again.
        joined: whether --option=VALUE is understood.
    """

    strings: tuple[str, ...]
    help: str = ""
    takes: str = ""
    words: tuple[str, ...] = ()
    many: bool = False
    joined: bool = True


class Command(Value):
    """A command.

    Attributes:
        name: what is typed.
        options: in the order of its help.
        operands: the kind of each.
        words: of an operand whose kind is words.
        many: whether its last operand may be given again.
    """

    name: str
    options: tuple[Option, ...]
    operands: tuple[str, ...] = (NAME,)
    words: tuple[str, ...] = ()
    many: bool = False

    @property
    def valued(self) -> tuple[str, ...]:
        """Every string behind which a value stands."""
        return tuple(string for option in self.options if option.takes for string in option.strings)


def commands() -> tuple[Command, ...]:
    """All of vmman's commands, by name."""
    return (
        _parsed(vm_console.__main__.parser()),
        _parsed(vm_import.__main__.parser()),
        _init(),
        _list(),
        _parsed(vm_pull.cli.parser()),
        _parsed(vm_run.cli.parser()),
        _parsed(vm_stop.__main__.parser()),
    )


def _parsed(parser: argparse.ArgumentParser) -> Command:
    """A command from its parser."""
    actions = [one for one in _actions(parser) if one.help != argparse.SUPPRESS]
    operands = [action for action in actions if not action.option_strings]
    kinds = tuple(_OPERANDS[str(action.metavar)] for action in operands)
    return Command(
        name=parser.prog,
        options=tuple(_option(action) for action in actions if action.option_strings),
        operands=kinds,
        words=_PORTS if WORDS in kinds else (),
        many=operands[-1].nargs == "*",
    )


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage]


def _option(action: argparse.Action) -> Option:
    words = tuple(map(str, action.choices or ()))
    if action.dest == "reboot_on":
        words = tuple(Outcome.pattern.split("|"))
    takes = (
        WORDS if words else _BY_METAVAR.get(str(action.metavar or action.dest).upper(), ANYTHING)
    )
    return Option(
        strings=tuple(sorted(action.option_strings, key=len)),
        help=" ".join(str(action.help).split()),
        takes="" if action.nargs in (0, "?") else takes,
        words=words,
        many=isinstance(action.default, list),
    )


def _init() -> Command:
    values = {"--for-user": USER}
    plain = [Option(strings=(string,)) for string in sorted(ACTS | FLAGS)]
    valued = [
        Option(strings=(string,), takes=values.get(string, ANYTHING), joined=False)
        for string in sorted(VALUES)
    ]
    return Command(name="vm-init", options=(*plain, *valued))


def _list() -> Command:
    """vm-list, which has no parser unless it is asked for help."""
    asked = subprocess.run(
        [sys.executable, "-m", "vm_list", "--help"], capture_output=True, text=True, check=True
    ).stdout
    usage = asked.partition("\n\n")[0]
    return Command(name="vm-list", options=tuple(_helped(asked)), many="NAME..." in usage)


def _helped(text: str) -> Iterator[Option]:
    for short, long, about in _IN_HELP.findall(text):
        yield Option(strings=(short, long) if short else (long,), help=about)
