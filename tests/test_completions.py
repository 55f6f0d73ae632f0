"""The completions: made from the parsers, and tried in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from completions.generate import files
from completions.words import Command, commands
from tests.lacking import need
from vm_run.dry_run import targets
from vm_spec import Context, loads

CHECKOUT = Path(__file__).parent.parent
FOLDER = CHECKOUT / "completions"
MODULES = {"vm-list": "vm_list", "vm-run": "vm_run"}
WEB = '[targets.install]\nmem = "1G"\n[targets.rescue]\nmem = "2G"\n'

# Sourced, then called as bash does; compopt works only within a real completion.
BASH = """
compopt() { COMPREPLY+=("compopt $*"); }
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_vmman
printf '%s\\n' "${COMPREPLY[@]}"
"""
SHOW = """PS1=; source ~/vmman.bash; bind -x '"\\C-g": echo "<$READLINE_LINE>"'; echo '<'ready'>'
"""
# Ctrl-G shows the line as it is by now.
ZSH = r"""PS1=; fpath=(~ $fpath); autoload -U compinit; compinit -D
show() { print -r -- "<$BUFFER>" }; zle -N show; bindkey '^G' show; print '<'ready'>'
"""
Complete = Callable[..., list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder of two descriptions, and the commands that a completion asks."""
    confdir, programs = tmp_path / "vm", tmp_path / "bin"
    confdir.mkdir()
    programs.mkdir()
    (confdir / "web.toml").write_text(WEB)
    (confdir / "my-vm.toml").write_text("")
    for name, module in MODULES.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "VMCONF_DIR": str(confdir),
        "PYTHONPATH": str(CHECKOUT),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


def output(argv: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        argv,
        cwd=environment["HOME"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return sorted(line for line in done.stdout.split("\n") if line)


@pytest.fixture
def bash(environment: dict[str, str]) -> Complete:
    """What bash offers for the last of some words."""
    script, program = str(FOLDER / "vmman.bash"), need("bash")

    def complete(*words: str) -> list[str]:
        return output([program, "-uc", BASH, "bash", script, *words], environment)

    return complete


@pytest.fixture
def fish(environment: dict[str, str]) -> Complete:
    """What fish offers for a line, without its descriptions."""
    program = need("fish")
    call = 'source $argv[1]; complete -C "$argv[2]"'

    def complete(*words: str) -> list[str]:
        argv = [program, "-N", "-c", call, str(FOLDER / "vmman.fish"), " ".join(words)]
        return sorted({line.partition("\t")[0] for line in output(argv, environment)})

    return complete


@pytest.fixture(params=["bash", "fish"])
def complete(request: pytest.FixtureRequest) -> Complete:
    """What each of the two offers."""
    found: Complete = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", files())
def test_what_is_kept_is_what_the_generator_prints(name: str) -> None:
    assert (FOLDER / name).read_text() == files()[name], "python -m completions.generate"


def test_every_command_has_its_completions() -> None:
    lines = (CHECKOUT / "pyproject.toml").read_text().splitlines()
    installed = {line.split()[0] for line in lines if line.endswith(':entry"')}
    assert {command.name for command in commands()} == installed


@pytest.mark.parametrize(
    "words",
    [
        ("vm-run", ""),
        ("vm-stop", ""),
        ("vm-console", ""),
        ("vm-init", ""),
        ("vm-list", ""),
        ("vm-stop", "web", ""),
    ],
    ids=" ".join,
)
def test_a_name_is_offered_where_a_vm_is_meant(complete: Complete, words: tuple[str, ...]) -> None:
    assert complete(*words) == ["my-vm", "web"]


def test_only_what_begins_as_typed_is_offered(complete: Complete) -> None:
    assert complete("vm-run", "we") == ["web"]


def test_the_targets_are_those_of_the_description(complete: Complete) -> None:
    assert complete("vm-run", "web", "-t", "") == ["default", "install", "rescue"]
    assert complete("vm-run", "web", "--target", "re") == ["rescue"]
    assert complete("vm-run", "-d", "my-vm", "-t", "") == ["default"]


def test_the_targets_of_a_file_are_its_own(complete: Complete, environment: dict[str, str]) -> None:
    file = f"{environment['VMCONF_DIR']}/web.toml"
    assert complete("vm-run", "-c", file, "-t", "in") == ["install"]


def test_the_values_of_an_option_are_offered(complete: Complete) -> None:
    assert complete("vm-run", "web", "--format", "") == ["bhyve-config", "json", "shell"]
    assert complete("vm-pull", "a/b", "--format", "r") == ["raw"]
    assert complete("vm-console", "web", "") == ["com1", "com2", "com3", "com4"]
    assert complete("vm-console", "-n", "20", "web", "com2") == ["com2"]


def test_the_value_that_a_person_must_know_is_left_alone(complete: Complete) -> None:
    assert complete("vm-stop", "--timeout", "") == []


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_option_is_offered(bash: Complete, fish: Complete, command: Command) -> None:
    long = {text for option in command.options for text in option.strings if text[:2] == "--"}
    assert long <= set(bash(command.name, "--"))
    assert long <= set(fish(command.name, "--"))


def test_a_file_is_left_to_bash_itself(bash: Complete) -> None:
    assert bash("vm-run", "-c", "") == ["compopt -o default"]
    assert bash("vm-pull", "./") == ["compopt -o default"]


def test_bash_takes_an_option_and_its_value_apart(bash: Complete) -> None:
    assert bash("vm-run", "web", "--format", "=", "js") == ["json"]
    assert bash("vm-run", "web", "--target", "=") == ["default", "install", "rescue"]


def test_the_name_of_a_file_never_becomes_a_command(
    complete: Complete, environment: dict[str, str]
) -> None:
    confdir = Path(environment["VMCONF_DIR"])
    for name in ("$(touch got)", "`touch got`", "a;touch got", "w*"):
        (confdir / f"{name}.toml").write_text("")
    assert "web" in complete("vm-run", "")
    assert complete("vm-run", "web", "-t", "ins") == ["install"]
    assert list(Path(environment["HOME"]).rglob("got")) == []


class Typist:
    """Somebody who types to an interactive shell, and reads what it shows."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(environment["HOME"])
            os.execve(words[0], words, environment)  # noqa: S606
        self.seen = ""

    def types(self, keys: str) -> None:
        """Types."""
        os.write(self.terminal, keys.encode())

    def reads(self, what: str, timeout_s: float = 30) -> None:
        """Waits until a text has come, and forgets what came up to it."""
        deadline = time.monotonic() + timeout_s
        while what not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, self.seen
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        self.seen = self.seen.partition(what)[2]

    def leaves(self) -> None:
        """Ends the shell."""
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def test_zsh_completes_names_targets_and_values(environment: dict[str, str]) -> None:
    (Path(environment["HOME"]) / "_vmman").symlink_to(FOLDER / "_vmman")
    person = Typist([need("zsh"), "-f", "-i"], environment)
    try:
        person.types(ZSH)
        person.reads("<ready>")
        for typed, then in [
            ("vm-run we\t", "vm-run web "),
            ("vm-run web -t res\t", "vm-run web -t rescue "),
            ("vm-run -c vm/web.toml --target=ins\t", "vm-run -c vm/web.toml --target=install "),
            ("vm-run web --format bh\t", "vm-run web --format bhyve-config "),
            ("vm-console my\tcom3\t", "vm-console my-vm com3 "),
            ("vm-stop web my\t", "vm-stop web my-vm "),
            ("vm-init --dry\t", "vm-init --dry-run "),
        ]:
            person.types(f"{typed}\x07")
            person.reads(f"<{then}>")
            person.types("\x15")  # the line is thrown away
    finally:
        person.leaves()


def test_bash_completes_as_it_is_typed(environment: dict[str, str]) -> None:
    (Path(environment["HOME"]) / "vmman.bash").symlink_to(FOLDER / "vmman.bash")
    person = Typist([need("bash"), "--norc", "-i"], environment)
    try:
        person.types(SHOW)
        person.reads("<ready>")
        for typed, then in [
            ("vm-run we\t", "vm-run web "),
            ("vm-run web -t res\t", "vm-run web -t rescue "),
            ("vm-run web --target=ins\t", "vm-run web --target=install "),
            ("vm-run -c vm/we\t", "vm-run -c vm/web.toml "),
        ]:
            person.types(f"{typed}\x07")
            person.reads(f"<{then}>")
            person.types("\x15")
    finally:
        person.leaves()


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("vmman.bash", ["shellcheck", "-s", "bash"]),
        ("_vmman", ["zsh", "-n"]),
        ("vmman.fish", ["fish", "-n"]),
    ],
)
def test_a_completion_is_sound(name: str, argv: list[str]) -> None:
    checked = subprocess.run(
        [need(argv[0]), *argv[1:], FOLDER / name], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_default_of_ones_own_is_listed_once() -> None:
    description = loads("[targets.b]\n[targets.default]\n", Context(name="web"))
    assert targets(description) == "default\nb"
