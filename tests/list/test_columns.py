"""How rows are shown to people and to programs."""

import json
import re
import time
from itertools import pairwise

import jsonschema
import pytest

from vm_list import columns, look
from vm_list.look import Look
from vm_list.survey import Row
from vm_spec.frozen import replace

WEB = Row(
    name="web", file="/vm/web.toml", state="running", target="default", targets=("install",),
    hypervisor="qemu", cpus=2, memory=1 << 30, pid=12, supervisor=11, uptime=3725, host="here",
    network=({"interface": "tap0", "mac": "52:00:00:00:00:01"}, {"type": "user"}),
    consoles=({"name": "com1"}, {"name": "com2"}), vnc="127.0.0.1:5900",
)  # fmt: skip
AWAY = Row(name="db", file="/vm/db.toml", state="elsewhere", supervisor=7, host="node7", seen=1)
BAD = Row(name="x", file="/vm/x.toml", state="broken", fault="/vm/x.toml:3: mem: is\x1b[2J odd")
TERMINAL = Look(width=200, colour=True, rules=True)


def cells(text: str) -> list[list[str]]:
    return [re.split(" {2,}", line) for line in text.splitlines()]


def test_without_vms_there_is_no_text() -> None:
    assert columns.table([]) == ""


def test_every_column_is_there_and_what_is_not_known_is_a_dash() -> None:
    assert cells(columns.table([WEB, BAD])) == [
        ["NAME", "STATE", "TARGET", "CPUS", "MEMORY", "PID", "UPTIME", "HYPERVISOR", "NETWORK",
         "CONSOLE", "VNC", "FILE"],
        ["web", "running", "default", "2", "1G", "12", "1h2m", "qemu",
         "tap0/52:00:00:00:00:01,user/?", "com1,com2", "127.0.0.1:5900", "/vm/web.toml"],
        ["x", "broken", *["-"] * 9, "/vm/x.toml:3: mem: is\\x1b[2J odd"],
    ]  # fmt: skip


def test_columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_blanks() -> None:
    lines = columns.table([WEB, Row(name="a-longer-name", file="/vm/a.toml")]).splitlines()
    states = zip(lines, ("STATE", "running", "stopped"), strict=True)
    assert {line.index(state) for line, state in states} == {len("a-longer-name  ")}
    assert [line.rstrip() for line in lines] == lines
    assert [line.index("/vm/") for line in lines[1:]] == [lines[0].index("FILE")] * 2


def test_the_host_is_shown_when_one_is_another_and_its_last_sign_of_life() -> None:
    now = int(time.time())
    away = replace(AWAY, seen=now - 7300)
    table = cells(columns.table([away, WEB, replace(AWAY, seen=now)]))
    assert table[0][7] == "HOST"
    assert [line[7] for line in table[1:]] == ["node7", "here", "node7"]
    assert table[1][1] == "on node7"
    assert [line[6] for line in table[1:]] == ["seen 2h1m ago", "1h2m", "seen now"]


def test_a_file_does_not_say_when_another_host_gave_a_sign_of_life_in_the_future() -> None:
    away = replace(AWAY, seen=int(time.time()) + 10**6)
    assert "seen now" in columns.table([away])


def test_plain_text_has_no_tabs_colours_or_drawn_lines() -> None:
    text = columns.table([WEB, AWAY, BAD])
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("state", sorted(set(look.COLOURS) - {"heading"}))
def test_on_a_terminal_a_state_has_its_colour_and_nothing_else_has(state: str) -> None:
    row = replace(WEB, state=state)
    plain = columns.table([row], Look(width=200)).splitlines()
    head, rule, line = columns.table([row], TERMINAL).splitlines()
    assert head == f"\x1b[1m{plain[0]}\x1b[0m"
    assert set(rule) == {"\u2500"}
    assert len(rule) == max(map(len, plain))
    shown = "on here" if state == "elsewhere" else state
    assert re.sub(r"\x1b\[[0-9]+m", "", line) == plain[1]
    found = re.fullmatch(r"web +\x1b\[[0-9]+m(.*?) *\x1b\[0m  .*", line)
    assert found
    assert found[1] == shown


def test_a_colour_is_never_cut_in_two() -> None:
    for width in range(1, 60):
        for line in columns.table([WEB], Look(width=width, colour=True)).splitlines():
            assert line.count("\x1b[") in (0, 2)
            assert "\x1b" not in re.sub(r"\x1b\[[0-9]+m", "", line)


def test_on_a_terminal_empty_columns_are_left_out() -> None:
    head = columns.table([Row(name="a", file="/a")], Look(width=200)).splitlines()[0]
    assert head.split() == ["NAME", "STATE", "FILE"]


def test_a_narrow_terminal_keeps_what_matters_most() -> None:
    heads = [
        columns.table([WEB], Look(width=width)).splitlines()[0].split()
        for width in (200, 110, 80, 60, 30)
    ]
    for wider, narrower in pairwise(heads):
        assert set(narrower) < set(wider)
    assert {"NAME", "STATE", "CPUS", "MEMORY", "PID", "UPTIME", "FILE"} <= set(heads[2])
    assert heads[-1] == ["NAME", "STATE", "FILE"]


def test_a_fault_on_a_terminal_has_room_for_what_is_wrong() -> None:
    line = columns.table([BAD], Look(width=50)).splitlines()[1]
    assert line.split(maxsplit=2)[2] == "x.toml:3: mem: is\\x1b[2J odd"
    assert "/vm/x.toml:3: " in columns.table([BAD])


def test_the_host_in_the_state_is_enough_where_room_is_scarce() -> None:
    widths = range(200, 100, -1)
    heads = [columns.table([AWAY, WEB], Look(width=n)).splitlines()[0] for n in widths]
    assert "HOST" in heads[0]
    assert "HYPERVISOR" in next(head for head in heads if "HOST" not in head)


def test_a_long_name_is_shortened_before_the_state_is() -> None:
    line = columns.table([Row(name="n" * 60, file="/vm/n")], Look(width=40)).splitlines()[1]
    assert line.split()[:2] == ["n" * 21 + "...", "stopped"]


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a\udcffb", "a\x9bb"])
def test_a_row_stays_one_printable_line(name: str) -> None:
    text = columns.table([Row(name=name, file=f"/vm/{name}.toml")])
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert text.encode()


@pytest.mark.parametrize("width", [1, 2, 20, 40, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [WEB, Row(name="long", file="/vm/" + "x" * 200), Row(name="wide", file="/" + "机" * 90)]
    for line in columns.table(rows, Look(width=width)).splitlines():
        assert sum(2 if ord(character) > 0x2000 else 1 for character in line) <= width


def test_what_was_cut_ends_in_dots() -> None:
    last = columns.table([Row(name="long", file="/vm/" + "x" * 200)], Look(width=50)).splitlines()[
        1
    ]
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
    unknown = dict.fromkeys(Row.fields)
    assert json.loads(columns.json([WEB, BAD])) == {
        "version": 1,
        "vms": [
            {
                "name": "web", "file": "/vm/web.toml", "state": "running", "target": "default",
                "targets": ["install"], "hypervisor": "qemu", "cpus": 2, "memory": 1073741824,
                "pid": 12, "supervisor": 11, "uptime": 3725, "host": "here", "seen": None,
                "network": [{"interface": "tap0", "mac": "52:00:00:00:00:01"}, {"type": "user"}],
                "consoles": [{"name": "com1"}, {"name": "com2"}], "vnc": "127.0.0.1:5900",
                "fault": None, "hint": None,
            },
            unknown | {"name": "x", "file": "/vm/x.toml", "state": "broken", "fault": BAD.fault},
        ],
    }  # fmt: skip


def test_json_tells_nothing_from_not_known() -> None:
    row = Row(name="x", uptime=0, network=(), consoles=(), targets=())
    (vm,) = json.loads(columns.json([row]))["vms"]
    assert (vm["uptime"], vm["network"], vm["consoles"], vm["targets"]) == (0, [], [], [])
    assert vm["pid"] is None


# What programs lean on. A change here that is no addition needs another `version`.
FIRST_VERSION = {
    "name": "string", "file": "string", "state": "string", "target": "string",
    "targets": "array", "hypervisor": "string", "cpus": "integer", "memory": "integer",
    "pid": "integer", "supervisor": "integer", "uptime": "integer", "host": "string",
    "seen": "integer", "network": "array", "consoles": "array", "vnc": "string",
    "fault": "string", "hint": "string",
}  # fmt: skip


def test_the_first_version_of_the_json_keeps_its_keys_and_their_types() -> None:
    row = {"properties": {k: {"type": [t, "null"]} for k, t in FIRST_VERSION.items()}}
    schema = {
        "properties": {
            "version": {"const": 1},
            "vms": {"items": row | {"required": sorted(FIRST_VERSION)}},
        },
        "required": ["version", "vms"],
    }
    listed = json.loads(columns.json([WEB, AWAY, BAD, Row(name="y")]))
    jsonschema.validate(listed, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "vms": [{"name": "x"}]}, schema)


def test_json_is_one_vm_a_line() -> None:
    assert len(columns.json([WEB, BAD]).splitlines()) == 4


def test_json_of_no_vm_is_an_empty_list_and_odd_names_survive() -> None:
    assert json.loads(columns.json([])) == {"version": 1, "vms": []}
    text = columns.json([Row(name="a\udcffb")])
    assert text.isascii()
    assert json.loads(text)["vms"][0]["name"] == "a\udcffb"
