"""XML from a stranger: what is read of it, and everything that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_spec import VmError, xml

SECRET = "root:canary:0:0"


def problem(data: bytes) -> str:
    with pytest.raises(VmError) as caught:
        xml.read(data, "box.ovf")
    assert caught.value.status == 65
    return caught.value.faults[0].problem


def test_an_element_has_its_name_attributes_text_and_children() -> None:
    root = xml.read(b'<a xmlns="urn:x" b="1">two<c/> words<c d="2"/></a>', "it")
    assert (root.namespace, root.name, root.get("b"), root.get("z")) == ("urn:x", "a", "1", "")
    assert root.text == "two words"
    assert [child.get("d") for child in root.all("c")] == ["", "2"]
    assert root.one("c") == next(root.all("c"))
    assert not root.one("z")


def test_who_is_refused_is_told_the_next_step() -> None:
    with pytest.raises(VmError) as caught:
        xml.read(b"<a>", "box.ovf", "ask who made the box")
    assert caught.value.faults[0].hint == "ask who made the box"


def test_a_name_is_the_same_with_any_prefix_and_without() -> None:
    plain = xml.read(b'<a xmlns="urn:x"><b c="1"/></a>', "it")
    prefixed = xml.read(b'<p:a xmlns:p="urn:x"><p:b p:c="1"/></p:a>', "it")
    assert plain == prefixed


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", ["", ' encoding="UTF-8"', ' encoding="utf-16"'])
def test_utf_8_and_utf_16_with_a_mark_are_read_whatever_is_declared(
    encoding: str, declared: str
) -> None:
    text = f'<?xml version="1.0"{declared}?><a>\u00e9\u4e2d</a>'
    assert xml.read(text.encode(encoding), "it").text == "\u00e9\u4e2d"


DOCTYPES = {
    "a bare one": '<!DOCTYPE a><a/>',
    "an internal subset": '<!DOCTYPE a [<!ELEMENT a ANY>]><a/>',
    "an external subset": '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
    "an external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{canary}">]><a>&x;</a>',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file://{canary}"> %x;]><a/>',
    "an entity of its own": '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
}  # fmt: skip


@pytest.mark.parametrize("kind", DOCTYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_threat_b12_a_doctype_is_refused_in_every_encoding(
    kind: str, encoding: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text(SECRET)
    told = problem(DOCTYPES[kind].replace("{canary}", str(canary)).encode(encoding))
    assert told == "box.ovf has a DOCTYPE, and none is read"


def test_threat_b12_a_billion_laughs_are_not_laughed() -> None:
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{lines}]><a>&l9;</a>'
    assert problem(bomb.encode()).endswith("has a DOCTYPE, and none is read")


def test_threat_b12_an_entity_that_is_not_declared_is_no_text() -> None:
    assert "undefined entity" in problem(b"<a>&x;</a>")


@pytest.mark.parametrize("name", ["UTF-7", "EBCDIC-CP-US", "ISO-8859-1", "windows-1252", "x"])
def test_threat_b12_another_encoding_is_refused_by_its_name(name: str) -> None:
    told = problem(f'<?xml version="1.0" encoding="{name}"?><a/>'.encode())
    assert told == f"box.ovf says that it is in {name}, and only UTF-8 is read"


def test_threat_b12_a_doctype_in_utf_7_is_no_xml() -> None:
    hidden = b'<?xml version="1.0"?>+ADw-!DOCTYPE a+AD4-<a/>'
    assert hidden.decode("utf-7").endswith("<!DOCTYPE a><a/>")
    assert "is not well-formed XML" in problem(hidden)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_threat_b12_utf_16_without_its_mark_and_utf_32_are_refused(encoding: str) -> None:
    told = problem('<?xml version="1.0"?><a/>'.encode(encoding))
    assert told in ("box.ovf has a NUL in it", "box.ovf is not text in utf-16-le")


def test_threat_b12_bytes_that_are_no_text_are_refused() -> None:
    assert problem(b"<a>\xff</a>") == "box.ovf is not text in utf-8"
    assert problem(b"\xff\xfe<\x00\x00\xd8") == "box.ovf is not text in utf-16-le"


@pytest.mark.parametrize("closed", [False, True])
def test_threat_b12_200_000_nested_tags_are_refused(closed: bool) -> None:
    told = problem(b"<a>" * 200_000 + b"</a>" * (100_000 if closed else 0))
    assert told == "box.ovf is nested deeper than 64 elements"


def test_threat_b12_100_mb_are_refused_unread() -> None:
    assert problem(b"<a>" + bytes(100_000_000)) == "box.ovf is longer than 1 MiB"


def test_threat_b12_a_flat_flood_of_elements_is_refused() -> None:
    assert problem(b"<a>" + b"<b/>" * 200_000 + b"</a>").endswith("more than 20000 elements")


def test_the_depth_and_the_number_of_elements_that_are_allowed_are_read() -> None:
    deep = xml.read(b"<a>" * 64 + b"</a>" * 64, "it")
    assert deep.one("a").one("a")
    assert problem(b"<a>" * 65 + b"</a>" * 65).endswith("nested deeper than 64 elements")
    wide = xml.read(b"<a>" + b"<b/>" * 19_999 + b"</a>", "it")
    assert len(wide.children) == 19_999


@pytest.mark.parametrize(
    "text", ["", "<a>", "<a></b>", "<a/><b/>", "<a b=1/>", "x", "<a b='1' b='2'/>"]
)
def test_what_is_not_well_formed_is_refused_with_its_line(text: str) -> None:
    assert "is not well-formed XML: line 1: " in problem(text.encode())


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        root = xml.read(data, "it")
    except VmError as error:
        assert error.status == 65
    else:
        assert root.name
