"""The parser that every command's words go through."""

from __future__ import annotations

import pytest

from vm_spec.fault import VmError
from vm_state.parser import Parser, version_line


def a_parser() -> Parser:
    parser = Parser("vm-sing", "vm-sing NAME", "Sings.", "examples:\n  vm-sing alto")
    parser.add_argument("name")
    parser.add_argument("--volume", type=int)
    return parser


@pytest.mark.parametrize("words", [[], ["alto", "--loud"], ["alto", "--vol", "3"], ["a", "b"]])
def test_a_wrong_line_is_a_fault_that_names_the_help(words: list[str]) -> None:
    with pytest.raises(VmError) as raised:
        a_parser().parse_args(words)
    assert raised.value.status == 64
    assert raised.value.faults[0].hint == "vm-sing --help"


def test_a_whole_word_is_taken() -> None:
    assert a_parser().parse_args(["alto", "--volume", "3"]).volume == 3


def test_help_keeps_the_examples_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        a_parser().parse_args(["--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert told.startswith("usage: vm-sing NAME\n")
    assert "examples:\n  vm-sing alto\n" in told


def test_the_version_is_told_for_the_command_that_was_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = a_parser()
    parser.add_version()
    with pytest.raises(SystemExit) as left:
        parser.parse_args(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == version_line("vm-sing")
    assert version_line("vm-sing").startswith("vm-sing ")
