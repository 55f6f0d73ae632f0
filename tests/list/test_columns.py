"""How rows are shown to people and to programs."""

import json

import pytest

from vm_list import columns
from vm_list.survey import Row

WEB = Row(name="web", file="/vm/web.toml", state="running", target="default", pid=12, host="here")
AWAY = Row(name="db", file="/vm/db.toml", state="elsewhere", supervisor=7, host="node7")
BAD = Row(name="x", file="/vm/x.toml", state="broken", fault="/vm/x.toml:3: mem: is\x1b[2J odd")


def test_without_vms_there_is_no_text() -> None:
    assert columns.table([]) == ""


def test_columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_blanks() -> None:
    assert columns.table([WEB, Row(name="a-longer-name", file="/vm/a.toml")]) == (
        "NAME           STATE    TARGET   PID  FILE\n"
        "web            running  default  12   /vm/web.toml\n"
        "a-longer-name  stopped  -        -    /vm/a.toml\n"
    )


def test_the_host_is_shown_when_one_is_another() -> None:
    assert columns.table([AWAY, WEB]) == (
        "NAME  STATE     TARGET   PID  HOST   FILE\n"
        "db    on node7  -        -    node7  /vm/db.toml\n"
        "web   running   default  12   here   /vm/web.toml\n"
    )


def test_a_broken_description_shows_its_fault_with_nothing_that_moves_the_cursor() -> None:
    assert columns.table([BAD]) == (
        "NAME  STATE   TARGET  PID  FILE\n"
        "x     broken  -       -    /vm/x.toml:3: mem: is\\x1b[2J odd\n"
    )


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a\udcffb", "a\x9bb"])
def test_a_row_stays_one_printable_line(name: str) -> None:
    text = columns.table([Row(name=name, file=f"/vm/{name}.toml")])
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert text.encode()


@pytest.mark.parametrize("width", [1, 2, 20, 40, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [WEB, Row(name="long", file="/vm/" + "x" * 200), Row(name="wide", file="/" + "机" * 90)]
    for line in columns.table(rows, width).splitlines():
        assert sum(2 if ord(character) > 0x2000 else 1 for character in line) <= width


def test_what_was_cut_ends_in_dots() -> None:
    last = columns.table([Row(name="long", file="/vm/" + "x" * 200)], 50).splitlines()[1]
    assert last.endswith("xxx...")
    assert len(last) == 50


def test_only_the_last_column_is_ever_long() -> None:
    rows = [Row(name="n" * 250, file="/vm/n.toml"), WEB]
    assert columns.table(rows).splitlines()[2].index("running") == 66


def test_wide_characters_do_not_shift_the_next_column() -> None:
    lines = columns.table([Row(name="机器", file="/a"), Row(name="abcd", file="/b")]).splitlines()
    assert lines[1].index("stopped") == lines[2].index("stopped") - 2


def test_hints_are_told_but_for_broken_descriptions() -> None:
    rows = [
        Row(name="a", state="orphaned", hint="do this"),
        Row(name="b", state="broken", hint="x"),
    ]
    assert columns.hints([*rows, WEB]) == ["a: do this"]


def test_json_has_every_field_of_every_vm_and_null_for_the_unknown() -> None:
    assert json.loads(columns.json([WEB, BAD])) == {
        "version": 1,
        "vms": [
            {
                "name": "web", "file": "/vm/web.toml", "state": "running", "target": "default",
                "pid": 12, "supervisor": None, "host": "here", "fault": None, "hint": None,
            },
            {
                "name": "x", "file": "/vm/x.toml", "state": "broken", "target": None,
                "pid": None, "supervisor": None, "host": None, "fault": BAD.fault, "hint": None,
            },
        ],
    }  # fmt: skip


def test_json_of_no_vm_is_an_empty_list_and_odd_names_survive() -> None:
    assert json.loads(columns.json([])) == {"version": 1, "vms": []}
    text = columns.json([Row(name="a\udcffb")])
    assert text.isascii()
    assert json.loads(text)["vms"][0]["name"] == "a\udcffb"
