"""The completion of zsh."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from completions.words import Command, Option

__all__ = ["text"]

BEGIN = """\
# zsh completion of vmman's commands; made from their parsers by completions/generate.py.

_vmman_names() {
    local -a names
    names=(${(f)"$(vm-list --names 2>/dev/null </dev/null)"})
    compadd "$@" -a names
}

_vmman_targets() { # of -c FILE, else of the NAME
    local -a targets call
    local file=${opt_args[-c]:-${opt_args[--config]}}
    call=(${file:+-c} ${file:+${(Q)file/#\\~\\//$HOME/}})
    (( $#call )) || call=(${line[1]})
    (( $#call )) || return 1
    targets=(${(f)"$(vm-run $call --targets 2>/dev/null </dev/null)"})
    compadd -a targets
}

local curcontext="$curcontext" state
local -a line
local -A opt_args
case $service in
"""
END = """\
esac
[[ $state == targets ]] && _vmman_targets
"""
_ACTIONS = {
    "name": "_vmman_names",
    "target": "->targets",
    "file": "_files",
    "user": "_users",
    "anything": " ",
}


def text(commands: Iterable[Command]) -> str:
    """The whole file."""
    known = list(commands)
    names = " ".join(command.name for command in known)
    cases = "".join(f"{line}\n" for command in known for line in _case(command))
    return f"#compdef {names}\n{BEGIN}{cases}{END}"


def _case(command: Command) -> Iterator[str]:
    yield f"{command.name})"
    specs = [spec for option in command.options for spec in _option(option)]
    specs += _operands(command)
    yield "    _arguments -s -S -C \\"
    yield " \\\n".join(f"        {_quoted(spec)}" for spec in specs)
    yield "    ;;"


def _option(option: Option) -> Iterator[str]:
    about = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    told = f"[{about}]" if about else ""
    others = "*" if option.many else f"({' '.join(option.strings)})"
    value = f":value:{_action(option.takes, option.words)}" if option.takes else ""
    for string in option.strings:
        joint = "=" if value and option.joined and string.startswith("--") else ""
        yield f"{others}{string}{joint}{told}{value}"


def _operands(command: Command) -> Iterator[str]:
    last = len(command.operands)
    for number, kind in enumerate(command.operands, 1):
        place = "*" if command.many and number == last else number
        yield f"{place}:{kind}:{_action(kind, command.words)}"


def _action(kind: str, words: tuple[str, ...]) -> str:
    return f"({' '.join(words)})" if kind == "words" else _ACTIONS[kind]


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"
