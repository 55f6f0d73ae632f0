"""Laws of `vm_spec.lines`."""

import json
from collections.abc import Iterator
from itertools import count

import pytest
import tomli
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from vm_spec import lines
from vm_spec.lines import DEPTH, Path

Scalar = str | int | float | bool
Value = Scalar | list["Value"] | dict[str, "Value"]
Table = dict[str, Value]

KIB = 1024
NESTING = ["[", "]", "{", "a.", "a=", "a = [", "a={a=", '{"a":', '[{"a":', "[[a]]\n", "[[a.a]]\n"]
REPEATING = ['"', "'", "\\", '"\\', '"""\\', "'''\n", '""\n', '"" ', "#", " ", "\n", "a", "[a.a]\n"]

TOML: dict[str, tuple[str, dict[Path, int]]] = {
    "a bare key": ("a = 1\n\nb-_2 = 2", {("a",): 1, ("b-_2",): 3}),
    "a number with a point": ("a = 1.5\nb = -1e+3", {("a",): 1, ("b",): 2}),
    "a key of digits": ("1.5 = 2", {("1",): 1, ("1", "5"): 1}),
    "dates and times": (
        "a = 1979-05-27 07:32:00.5-01:00\nb = [07:32:00, 1979-05-27]",
        {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 1): 2},
    ),
    "quoted keys": (
        "\"a b\" = 1\n'c\\d' = 2\n\"\" . x = 3\n'' . 'y' = 4",
        {("a b",): 1, ("c\\d",): 2, ("",): 3, ("", "x"): 3, ("", "y"): 4},
    ),
    "signs within quoted keys": (
        "\"a.b\" = 1\n'[=]' = 2\n\"#{\" = 3\n'.' = 4\n['['.\"]\".'.']",
        {
            ("a.b",): 1,
            ("[=]",): 2,
            ("#{",): 3,
            (".",): 4,
            ("[",): 5,
            ("[", "]"): 5,
            ("[", "]", "."): 5,
        },
    ),
    "escapes in keys": (
        '"\\u0041" = 1\n"\\"" = 2\n"\\\\" = 3\n"\\t\\U0001F600" = 4\n"\\e\\x412" = 5',
        {("A",): 1, ('"',): 2, ("\\",): 3, ("\t\U0001f600",): 4, ("\x1bA2",): 5},
    ),
    "dotted keys": (
        "a.b = 1\na . \"c\" .\t'd' = 2\n",
        {("a",): 1, ("a", "b"): 1, ("a", "c"): 2, ("a", "c", "d"): 2},
    ),
    "tables": (
        "# head\n[a.b] # tail\nc = 1\n[ a . 'd' ]\n  [a]\ne = 1",
        {
            ("a",): 2,
            ("a", "b"): 2,
            ("a", "b", "c"): 3,
            ("a", "d"): 4,
            ("a", "e"): 6,
        },
    ),
    "arrays of tables": (
        "[[a]]\nb = 1\n[[a]] # second\n\n[[ a ]]",
        {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 1): 3, ("a", 2): 5},
    ),
    "an array of tables below the last table of another": (
        "[[a]]\n[[a.b]]\n[[a.b]]\n[[a]]\n[[a.b]]\nx = 1\n[a.b.c]\ny = 1\n[a.d]",
        {
            ("a",): 1,
            ("a", 0): 1,
            ("a", 0, "b"): 2,
            ("a", 0, "b", 0): 2,
            ("a", 0, "b", 1): 3,
            ("a", 1): 4,
            ("a", 1, "b"): 5,
            ("a", 1, "b", 0): 5,
            ("a", 1, "b", 0, "x"): 6,
            ("a", 1, "b", 0, "c"): 7,
            ("a", 1, "b", 0, "c", "y"): 8,
            ("a", 1, "d"): 9,
        },
    ),
    "inline tables": (
        "a = {b = 1, c.d = { e = [2] }, 'f' = {}}\ng = 1",
        {
            ("a",): 1,
            ("a", "b"): 1,
            ("a", "c"): 1,
            ("a", "c", "d"): 1,
            ("a", "c", "d", "e"): 1,
            ("a", "c", "d", "e", 0): 1,
            ("a", "f"): 1,
            ("g",): 2,
        },
    ),
    "an inline table over lines, as in TOML 1.1": (
        "a = {\n b = 1, # one\n c = 2,\n}",
        {("a",): 1, ("a", "b"): 2, ("a", "c"): 3},
    ),
    "arrays over lines": (
        "a = [ # [\n\n  1, # ], one\n  # two,\n  [3, 4],\n  [\n  ]\n  ,\n {b = 5},\n]\nc = []",
        {
            ("a",): 1,
            ("a", 0): 3,
            ("a", 1): 5,
            ("a", 1, 0): 5,
            ("a", 1, 1): 5,
            ("a", 2): 6,
            ("a", 3): 9,
            ("a", 3, "b"): 9,
            ("c",): 11,
        },
    ),
    "strings on one line": (
        'a = "x # = [ \\" {"\nb = \'y # = [ \\\'\nc = ["", \'\', ","]',
        {("a",): 1, ("b",): 2, ("c",): 3, ("c", 0): 3, ("c", 1): 3, ("c", 2): 3},
    ),
    "strings over lines": (
        'a = """\nx = 1\n"y" ""z\\""""""\n'
        "b = '''\n[t]\n'x' ''y\\'''''\nc = \"\"\"\\\n  \"\"\"\nd = 1",
        {("a",): 1, ("b",): 4, ("c",): 7, ("d",): 9},
    ),
    "strings of quotes alone": (
        'a = """"""\nb = """""""\nc = """"""""\nd = \'\'\'\'\'\'\'\'\ne = \'\'\'x\'\'\'\'\nf = 1',
        {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4, ("e",): 5, ("f",): 6},
    ),
    "CRLF": (
        'a = [\r\n 1, # one\r\n]\r\n[b]\r\nc = """\r\n\\\r\n"""\r\nd = 1\r\n',
        {("a",): 1, ("a", 0): 2, ("b",): 4, ("b", "c"): 5, ("b", "d"): 8},
    ),
    "nothing": (" \n# a = 1\n", {}),
}

JSON: dict[str, tuple[str, dict[Path, int]]] = {
    "an object": ('{"a": 1,\n "b": {"c": null}}', {("a",): 1, ("b",): 2, ("b", "c"): 2}),
    "an array": (
        '{"a": [\n1.5e+3,\n\n"x,y", [{"b"\n:\n2}]]}',
        {
            ("a",): 1,
            ("a", 0): 2,
            ("a", 1): 4,
            ("a", 2): 4,
            ("a", 2, 0): 4,
            ("a", 2, 0, "b"): 4,
        },
    ),
    "an array as the document": ("[\n1,\n2]", {(0,): 2, (1,): 3}),
    "a string as the document": ('"a"', {}),
    "escapes in keys": (
        '{"\\u0041": 1,\n"\\/\\"\\\\": 2,\n"\\ud83d\\ude00": 3,\n"\\ud83d": 4, "": 5}',
        {("A",): 1, ('/"\\',): 2, ("\U0001f600",): 3, ("\ud83d",): 4, ("",): 4},
    ),
    "an object given after blank lines": ('\n\r\n{\r\n"a": 1}', {("a",): 4}),
    "an apostrophe and a hash": ('{"it\'s #1": "#\'",\n"b": 1}', {("it's #1",): 1, ("b",): 2}),
}


@pytest.mark.parametrize(("text", "expected"), TOML.values(), ids=TOML.keys())
def test_when_toml_is_given_then_each_key_has_its_line(
    text: str, expected: dict[Path, int]
) -> None:
    assert lines.toml(text) == expected
    assert set(expected) == set(_paths(_parsed(text)))


@pytest.mark.parametrize(("text", "expected"), JSON.values(), ids=JSON.keys())
def test_when_json_is_given_then_each_key_has_its_line(
    text: str, expected: dict[Path, int]
) -> None:
    assert lines.json(text) == expected
    assert set(expected) == set(_paths(json.loads(text)))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 1),
        (("a", "b", 0), 3),
        (("a", "b", 1), 2),
        (("a", "b", 0, "x", "y"), 3),
        (("a", "x"), 1),
        (("a",) * (64 * KIB), 1),
        (("x", "a"), None),
        ((), None),
    ],
)
def test_when_a_path_is_sought_then_its_longest_known_prefix_is_found(
    path: Path, line: int | None
) -> None:
    assert lines.find({("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3}, path) == line


# Any document, written by a program. Each key has a mark that occurs nowhere else.

LETTERS = st.text("ab Zé.#='\"[]{},\\\n\r\t\x7f\u2028😀", max_size=4)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    LETTERS,
    st.sampled_from(["#", '"""', "'''", "\\", "a\n[b]\nc = 1\n"]),
)


def _nested(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    lists: st.SearchStrategy[Value] = st.lists(values, max_size=4).map(list)
    return lists | _tables(values) | st.lists(_tables(values), max_size=3).map(list)


def _tables(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.dictionaries(st.sampled_from(["a", "b-"]) | LETTERS, values, max_size=4)


VALUES: st.SearchStrategy[Value] = st.recursive(SCALARS, _nested, max_leaves=30)
DOCUMENTS: st.SearchStrategy[Table] = st.dictionaries(LETTERS, VALUES, max_size=5).map(
    lambda document: _marked(document, count())
)


@given(DOCUMENTS, st.booleans(), st.integers(0, 4))
def test_when_tomli_w_wrote_the_text_then_each_line_shows_its_key(
    document: Table, multiline: bool, indent: int
) -> None:
    text = tomli_w.dumps(document, multiline_strings=multiline, indent=indent)
    found = lines.toml(text)
    shown = text.split("\n")
    assert set(found) == set(_paths(_parsed(text)))
    for path, line in found.items():
        key = path[-1]
        if isinstance(key, str):
            assert line == _first(shown, key[key.index("_") :])
        else:
            assert _begins(shown[line - 1], _at(document, path), multiline)


@given(DOCUMENTS, st.integers(0, 4), st.booleans())
def test_when_json_wrote_the_text_then_each_line_is_as_counted(
    document: Table, indent: int, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert lines.json(text) == dict(_counted(document, (), count(2)))
    everything_on_one = json.dumps(document, ensure_ascii=ascii_only)
    assert lines.json(everything_on_one) == dict.fromkeys(_paths(document), 1)


# Any text, put together from pieces and statements of TOML, which are often accepted.

PIECES = st.sampled_from(
    [
        *("[", "]", "[[", "]]", "{", "}", "=", " = ", ":", ",", ".", " . ", "\n", "\r\n", " ", "#"),
        *('"', "'", '"""', "'''", "\\", '\\"', "a", "b", "1", "1.5", "07:32:00", '"a.b"', "é", ""),
        *("[a]\n", "[[a]]\n", "[[a.b]]\n", "[a.b]\n", "a = 1\n", "b.'c' = [1, {a = 2}]\n"),
        *(
            "'' = '''\n'''\n",
            '"\\u0061" = """\n"""\n',
            "c = [\n",
            "# c\n",
            "x = { a = 1, b.c = 2 }\n",
        ),
        *('"\\ud83d"', '"\\U00110000"', '"\\x4"', "[" * 40, "{a=" * 40, "a." * 40),
    ]
)
KEYS = st.sampled_from(
    ["a", "b", "a.b", "'a' . \"\\u0062\"", '"a.b"', "''.c", "c", "1.5", "d", "e"]
)
ELEMENTS = st.recursive(
    st.sampled_from(["1", "-1.5", "07:32:00", '"]"', "'}\"#'", '"""\n]=,\n"""', "'''\r\n'''''"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(",\n # ]\n ".join).map("[{}]".format)
        | st.lists(inner, max_size=3).map(" , ".join).map("[ # [\n{}\r\n]".format)
        | st.builds("{{ {} = {}, f . g={} }}".format, KEYS, inner, inner)
    ),
    max_leaves=6,
)
STATEMENTS = (
    st.builds("{} = {} # [\n".format, KEYS, ELEMENTS)
    | st.builds(" [ {} ]\r\n".format, KEYS)
    | st.builds("[[{}]]#\n".format, KEYS)
)

TEXTS = (
    st.text()
    | st.lists(STATEMENTS, max_size=6).map("".join)
    | st.lists(PIECES, max_size=30).map("".join)
)


@given(TEXTS)
def test_when_the_text_is_odd_then_what_was_found_is_given(text: str) -> None:
    for found in (lines.toml(text), lines.json(text)):
        assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
        assert all(path[:-1] in found for path in found if len(path) > 1)


@given(TEXTS)
@example("[[a]]\n[[a.b]]\n[[a]]\nb = [1, {a = 2}]\n")
def test_when_tomli_accepts_the_text_then_its_paths_are_the_ones_found(text: str) -> None:
    try:
        document = _parsed(text)
    except (tomli.TOMLDecodeError, RecursionError):
        return
    expected = {path for path in _paths(document) if len(path) <= DEPTH}
    assert set(lines.toml(text)) == expected


@pytest.mark.parametrize("piece", NESTING + REPEATING)
def test_when_a_long_text_nests_or_repeats_then_the_result_is_bounded(piece: str) -> None:
    for start in ("", "a = ", 'a = """', "a = '", "[[a]]\n"):
        text = (start + piece * (64 * KIB))[: 64 * KIB] + "=1"
        for found in (lines.toml(text), lines.json(text)):
            assert len(found) <= len(text)
            assert all(len(path) <= DEPTH for path in found)


def test_when_arrays_nest_deeper_than_told_then_the_outer_line_is_found() -> None:
    text = "a = " + "[\n" * 500 + "]" * 500 + "\nb = 1"
    found = lines.toml(text)
    assert lines.find(found, ("a", *[0] * 400)) == DEPTH
    assert found["b",] == 502


def _parsed(text: str) -> Table:
    document: Table = tomli.loads(text)
    return document


def _paths(value: Value, at: Path = ()) -> Iterator[Path]:
    for key, child in _children(value):
        yield (*at, key)
        yield from _paths(child, (*at, key))


def _children(value: Value) -> list[tuple[str | int, Value]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _counted(value: Value, at: Path, line: Iterator[int]) -> Iterator[tuple[Path, int]]:
    """Each path and its line as `json.dumps(indent=…)` writes: one line each, one for an end."""
    for key, child in _children(value):
        yield (*at, key), next(line)
        yield from _counted(child, (*at, key), line)
    if _children(value):
        next(line)


def _marked(document: Table, number: Iterator[int]) -> Table:
    return {f"{key}_{next(number)}_": _marked_value(v, number) for key, v in document.items()}


def _marked_value(value: Value, number: Iterator[int]) -> Value:
    match value:
        case dict():
            return _marked(value, number)
        case list():
            return [_marked_value(element, number) for element in value]
        case _:
            return value


def _first(shown: list[str], mark: str) -> int:
    return next(number for number, line in enumerate(shown, 1) if mark in line)


def _begins(line: str, element: Value, multiline: bool) -> bool:
    """Whether the line begins the element: its own header, or the same text as in other company."""
    if isinstance(element, dict) and line.startswith("[["):
        return True
    alone = tomli_w.dumps({"k": [0, element]}, multiline_strings=multiline).split("\n")[2]
    return line.lstrip(" ") == alone.lstrip(" ")


def _at(value: Value, path: Path) -> Value:
    for key in path:
        value = dict(_children(value))[key]
    return value
