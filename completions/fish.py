"""The completion of fish."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from completions.words import Command, Option

__all__ = ["text"]

BEGIN = """\
# fish completion of vmman's commands; made from their parsers by completions/generate.py.

function __vmman_given --description 'The operands so far; arguments: the options with a value'
    set -l before
    for word in (commandline -opc)[2..-1]
        if set -q before[1]; and contains -- $before $argv
            set -e before
        else if string match -q -- '-*' $word
            set before $word
        else
            set -e before
            echo $word
        end
    end
end

function __vmman_place --description 'Whether operand number $argv[1] is typed'
    test (count (__vmman_given $argv[2..-1])) -eq (math $argv[1] - 1)
end

function __vmman_targets --description 'The targets of -c FILE, else of the NAME'
    set -l words (commandline -opc)
    set -l call
    for number in (seq (count $words))
        if contains -- $words[$number] -c --config
            set call -c (string replace -r '^~/' "$HOME/" -- $words[(math $number + 1)])
        end
    end
    set -q call[1]; or set call (__vmman_given $argv)[1]
    set -q call[1]; and vm-run $call --targets 2>/dev/null </dev/null
end
"""
_VALUES = {
    "name": "-xa '(vm-list --names 2>/dev/null </dev/null)'",
    "user": "-xa '(__fish_complete_users)'",
    "file": "-rF",
    "anything": "-x",
}
_OPERANDS = {
    "name": "-a '(vm-list --names 2>/dev/null </dev/null)'",
    "file": "-F",
}


def text(commands: Iterable[Command]) -> str:
    """The whole file."""
    return BEGIN + "".join(f"{line}\n" for command in commands for line in _lines(command))


def _lines(command: Command) -> Iterator[str]:
    yield ""
    yield f"complete -c {command.name} -e"  # each command's link loads the whole file again
    yield f"complete -c {command.name} -f"
    last = len(command.operands)
    for number, kind in enumerate(command.operands, 1):
        words = _OPERANDS.get(kind) or f"-a '{' '.join(command.words)}'"
        valued = " ".join(command.valued)
        if command.many and number == last:
            yield f"complete -c {command.name} {words}"
        else:
            yield f"complete -c {command.name} -n '__vmman_place {number} {valued}' {words}"
    for option in command.options:
        yield f"complete -c {command.name} {_option(option, command)}"


def _option(option: Option, command: Command) -> str:
    names = " ".join(
        f"-l {string[2:]}" if string.startswith("--") else f"-s {string[1:]}"
        for string in option.strings
    )
    about = option.help.replace("\\", "\\\\").replace("'", "\\'")
    return " ".join(filter(None, [names, _value(option, command), f"-d '{about}'" * bool(about)]))


def _value(option: Option, command: Command) -> str:
    if not option.takes:
        return ""
    if option.takes == "words":
        return f"-xa '{' '.join(option.words)}'"
    if option.takes == "target":
        return f"-xa '(__vmman_targets {' '.join(command.valued)})'"
    return _VALUES[option.takes]
