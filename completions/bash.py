"""The completion of bash."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from completions.words import Command

__all__ = ["text"]

BEGIN = """\
# bash completion of vmman's commands; made from their parsers by completions/generate.py.

# Takes lines that are names and begin with what is typed. They are never expanded: a file's name
# in somebody's folder must not become a command.
_vmman_take() {
    local line
    while IFS= read -r line; do
        if [[ $line == [A-Za-z0-9]* && $line != *[!A-Za-z0-9_.-]* && $line == "$current"* ]]; then
            COMPREPLY+=("$line")
        fi
    done
}

_vmman() {
    local command=${COMP_WORDS[0]##*/} current=${COMP_WORDS[COMP_CWORD]}
    local options='' valued='' operands='' words='' before='' option='' kind='' file='' word i
    local -a kinds=()
    local -i place=0
    local -a given=()
    COMPREPLY=()
    [[ $current == '=' ]] && current=''
"""
MIDDLE = """\
    for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            option=$before place=${#given[@]} before=''
        elif [[ $word == '=' ]]; then
            continue
        elif [[ $before && " $valued " == *" $before "* ]]; then
            [[ $before == -c || $before == --config ]] && file=${word/#\\~\\//$HOME/}
            before=''
        elif [[ $word == -* ]]; then
            before=$word
        else
            given+=("$word") before=''
        fi
    done
    if [[ $option && " $valued " == *" $option "* ]]; then
        kind=anything
        case "$command $option" in
"""
END = """\
        esac
    elif [[ $current == -* ]]; then
        kind=words words=$options
    else
        read -ra kinds <<<"$operands"
        kind=${kinds[place]-}
        [[ -z $kind && $operands == *... ]] && kind=${kinds[-1]}
        kind=${kind%...}
    fi
    case $kind in
    name) _vmman_take < <(vm-list --names 2>/dev/null </dev/null) ;;
    target)
        if [[ $file ]]; then
            _vmman_take < <(vm-run -c "$file" --targets 2>/dev/null </dev/null)
        elif [[ ${given[0]-} ]]; then
            _vmman_take < <(vm-run "${given[0]}" --targets 2>/dev/null </dev/null)
        fi
        ;;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
    anything) ;;
    *) compopt -o default ;;
    esac
}
"""


def text(commands: Iterable[Command]) -> str:
    """The whole file."""
    known = list(commands)
    names = " ".join(command.name for command in known)
    cases = "".join(f"        {line}\n" for command in known for line in _values(command))
    return f"{BEGIN}{_tables(known)}{MIDDLE}{cases}{END}complete -F _vmman {names}\n"


def _tables(commands: Iterable[Command]) -> str:
    """What each command has."""
    lines = ["case $command in"]
    for command in commands:
        options = " ".join(string for option in command.options for string in option.strings)
        operands = " ".join(command.operands) + ("..." if command.many else "")
        lines += [
            f"{command.name})",
            f"    options='{options}'",
            f"    valued='{' '.join(command.valued)}'",
            f"    operands='{operands}'",
            *([f"    words='{' '.join(command.words)}'"] if command.words else []),
            "    ;;",
        ]
    return "".join(f"    {line}\n" for line in [*lines, "esac"])


def _values(command: Command) -> Iterator[str]:
    """What stands behind each option of a command."""
    for option in command.options:
        if option.takes in ("", "anything"):
            continue
        pattern = " | ".join(f"'{command.name} {string}'" for string in option.strings)
        words = f" words='{' '.join(option.words)}'" if option.words else ""
        yield f"{pattern}) kind='{option.takes}'{words} ;;"
