"""The model of bhyve's configuration, against records of its own parser.

`data/bhyve-argv.json` was recorded by running the parser of FreeBSD main (first half of 2026) over
118 command lines: what `config.dump` shows, or its error and exit status.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vm_run.imports.bhyve_model import Answer, answer
from vm_run.imports.bhyve_options import filed
from vm_run.imports.bhyve_tree import Tree, flat, get
from vm_spec.fault import VmError

RECORDS: dict[str, Any] = json.loads((Path(__file__).parent / "data/bhyve-argv.json").read_text())
FILES: dict[str, str] = RECORDS["files"]
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDS["cases"]}
TAKEN = [name for name, case in CASES.items() if "error" not in case]
REFUSED = [name for name, case in CASES.items() if "error" in case]


def made(name: str) -> Answer:
    return answer(CASES[name]["argv"], FILES.__getitem__)


def test_there_are_118_records() -> None:
    assert (len(TAKEN), len(REFUSED), len(RECORDS["cases"])) == (66, 52, 118)


@pytest.mark.parametrize("name", TAKEN)
def test_a_command_line_gives_the_configuration_that_bhyve_makes_of_it(name: str) -> None:
    case, found = CASES[name], made(name)
    assert found.tree == case["config"]
    assert list(found.unread) == case.get("never_read", [])
    assert list(found.messages) == case.get("messages", [])
    assert found.dumped == (case.get("exit") == 1)
    assert found.dumped or found.preloaded == case.get("needs_preloaded_vm", False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_bhyve_refuses_is_refused_in_its_words_and_with_its_status(name: str) -> None:
    with pytest.raises(VmError) as raised:
        made(name)
    (fault,) = raised.value.faults
    # the recorder read bhyve's output as text, in which a carriage return became a line feed
    assert fault.problem.replace("\r", "\n") == CASES[name]["error"]
    assert raised.value.status == CASES[name]["exit"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_configuration_written_as_a_file_reads_back_to_the_same(name: str) -> None:
    tree: Tree = {}
    filed(tree, flat(made(name).keys), "it.conf")
    assert tree == CASES[name]["config"]


@pytest.mark.parametrize(("key", "text"), [("a", ""), ("", "b"), ("#a", "b"), ("a", "b\nc")])
def test_what_no_line_of_a_file_can_carry_is_not_written(key: str, text: str) -> None:
    with pytest.raises(VmError, match="cannot be said in one line"):
        flat({key: text})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("/vm/%(name).img", "/vm/x.img"),
        ("%(both)", "x-x"),
        ("%(none)", ""),
        (r"\%(name)\\b", r"%(name)\b"),
        (r"a\b", r"a\b"),
        ("100%", "100%"),
    ],
)
def test_a_variable_stands_for_its_key_where_it_is_read(text: str, read: str) -> None:
    tree = {"name": "x", "both": "%(name)-%(name)", "it": text}
    assert get(tree, "it") == read
