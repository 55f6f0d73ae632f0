# ruff: noqa: E501  a row of a table is one line
"""Catalogs: what is read from them, what they cannot make us do."""

import json

import pytest

from tests.pull.catalogs import catalog, offer, oraclelinux, registry_entry, version
from vm_pull.catalogs.catalog import MOST_BYTES, Offer, architecture_of, read
from vm_pull.net.urls import is_web
from vm_spec.fault import VmError

WEB = "https://example.org/boxes/8.json"
FILE = "/home/me/boxes/8.json"


def only(data: bytes, base: str = WEB) -> Offer:
    (release,) = read(data, base=base, asked="").releases
    (found,) = release.offers
    return found


def refused(data: bytes, base: str = WEB, asked: str = "") -> str:
    with pytest.raises(VmError) as caught:
        read(data, base=base, asked=asked)
    assert caught.value.status == 65
    return str(caught.value)


def test_a_catalog_is_read_whole() -> None:
    found = read(oraclelinux(), base=WEB, asked="oraclelinux/8")
    assert found.name == "oraclelinux/8"
    assert [release.version for release in found.releases] == [
        "8.10.694", "8.9.511", "8.10.696", "8.10.695", "8.9.510",
    ]  # fmt: skip
    assert found.releases[2].offers == (
        Offer(provider="libvirt", url="https://example.org/boxes/ol8-696.box", size=900_000_000),
    )
    assert found.skipped == ()


def test_the_registrys_own_entries_are_read() -> None:
    found = only(catalog(version("1", registry_entry("virtualbox", "unknown", default=True))))
    assert (found.checksum, found.checksum_type) == ("", "none")
    assert (found.architecture, found.default_architecture) == ("unknown", True)


def test_nulls_mean_that_nothing_is_told() -> None:
    keys = ("checksum", "checksum_type", "architecture", "default_architecture", "size")
    entry = offer() | dict.fromkeys(keys)
    found = only(catalog(version("1", entry), description=None))
    assert found == Offer(provider="virtualbox", url="https://example.org/boxes/b.box")


def test_the_other_api_of_the_registry_is_read_too() -> None:
    entry = {
        "name": "libvirt",
        "download_url": "https://example.org/l.box",
        "architecture": "amd64",
    }
    one = {"version": "1.2", "status": "active", "providers": [entry]}
    for body in ({"versions": [one]}, {"current_version": one}):
        found = read(
            json.dumps({"tag": "me/box", "name": "box", **body}).encode(), base=WEB, asked="me/box"
        )
        assert found.name == "me/box"
        assert found.releases[0].offers[0].url == "https://example.org/l.box"


def test_a_version_written_as_a_number_keeps_its_last_zero() -> None:
    found = read(b'{"name":"a/b","versions":[{"version":8.10,"providers":[]},{"version":9,"providers":[]}]}',
                 base=WEB, asked="")  # fmt: skip
    assert [release.version for release in found.releases] == ["8.10", "9"]


@pytest.mark.parametrize(
    ("url", "located"),
    [
        ("b.box", "https://example.org/boxes/b.box"),
        ("../b.box", "https://example.org/b.box"),
        ("/etc/passwd", "https://example.org/etc/passwd"),
        ("//cdn.example.org/b.box", "https://cdn.example.org/b.box"),
        ("http://example.org/b.box", "http://example.org/b.box"),
        ("https:///etc/passwd", "https://example.org/etc/passwd"),
        ("?v=2", "https://example.org/boxes/8.json?v=2"),
        ("https://app.vagrantup.com/a/b.box", "https://vagrantcloud.com/a/b.box"),
        (" b.box\n", "https://example.org/boxes/b.box"),
    ],
)
def test_a_relative_address_is_relative_to_the_catalog(url: str, located: str) -> None:
    assert only(catalog(version("1", offer(url=url)))).url == located


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "FILE:/etc/passwd", "file:etc/passwd", "ftp://example.org/b", "data:,x",
     "https://", "http://[::1", "https://a\\b/", "b\x00.box", "\ud800", "http:"],
)  # fmt: skip
def test_threat_b1_a_catalog_from_the_web_cannot_name_a_file_of_this_host(url: str) -> None:
    found = read(catalog(version("1", offer(url=url), offer("libvirt"))), base=WEB, asked="")
    places = [one.url for release in found.releases for one in release.offers]
    assert all(is_web(place) and place.startswith(("https://example.org/", "https://a"))
               for place in places)  # fmt: skip
    assert "https://example.org/boxes/b.box" in places
    assert not any("passwd" in place for place in places)


@pytest.mark.parametrize(
    ("url", "located"),
    [
        ("b.box", "/home/me/boxes/b.box"),
        ("../b.box", "/home/me/boxes/../b.box"),
        ("/srv/b.box", "/srv/b.box"),
        ("file:///srv/b%20c.box", "/srv/b c.box"),
        ("file://localhost/srv/b.box", "/srv/b.box"),
        ("https://example.org/b.box", "https://example.org/b.box"),
    ],
)
def test_in_a_catalog_that_is_a_file_paths_are_relative_to_its_folder(
    url: str, located: str
) -> None:
    assert only(catalog(version("1", offer(url=url))), FILE).url == located


@pytest.mark.parametrize(
    "url", ["file://example.org/x", "ftp://example.org/x", "//x/y", "a\0b", "\ud800"]
)
def test_a_catalog_that_is_a_file_names_files_and_addresses_only(url: str) -> None:
    found = read(catalog(version("1", offer(url=url))), base=FILE, asked="")
    assert found.releases[0].offers == ()
    assert "cannot be asked for" in found.skipped[0]


@pytest.mark.parametrize(
    "name",
    ["../../x/y", "..", "../x", "x/..", "/x", "x/", "a/b/c", ".", "a\\b", "a/b\x1b[2J", "a/\u202eb", "a\nb",
     "", None, True, ["me/box"], "x" * 201],
)  # fmt: skip
def test_threat_b4_a_catalog_whose_name_is_a_path_or_no_name_is_refused(name: object) -> None:
    said = refused(catalog(version("1"), name=name))
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_threat_b4_a_catalog_of_another_box_is_refused_and_named() -> None:
    said = refused(catalog(version("1"), name="bento/ubuntu"), asked="chef/ubuntu")
    assert "is of bento/ubuntu, not of chef/ubuntu" in said
    assert "hint" in said


def test_upper_and_lower_case_of_a_boxs_name_are_one_as_in_the_registry() -> None:
    # The registry answers to manageiq/euwe with "ManageIQ/euwe" (ManageIQ/manageiq.org PR 390).
    assert read(catalog(version("1"), name="Me/Box"), base=WEB, asked="me/box").name == "Me/Box"


@pytest.mark.parametrize(
    "entry",
    [
        version("../"), version(".."), version("../../1.0"), version(""), version(None), version(["1"]),
        version("1 0"), version("1\x1b]8;;x\x07"), version("1\u202e"), version("1" * 201), version(True),
        "1.0", None, 7, [], {}, {"providers": [offer()]},
    ],
)  # fmt: skip
def test_threat_b4_a_version_that_is_no_word_is_left_out_and_said_so(entry: object) -> None:
    found = read(catalog(entry, version("1.0")), base=WEB, asked="")
    assert [release.version for release in found.releases] == ["1.0"]
    assert found.skipped[0].startswith("skipped: versions[0]")
    assert found.skipped[0].isprintable()


@pytest.mark.parametrize(
    "providers", [None, "virtualbox", {}, 5, {"name": "virtualbox", "url": "b.box"}]
)
def test_threat_b4_a_list_of_providers_that_is_none_is_left_out(providers: object) -> None:
    found = read(catalog({"version": "1", "providers": providers}), base=WEB, asked="")
    assert found.releases[0].offers == ()
    assert "no list of providers" in found.skipped[0]


@pytest.mark.parametrize(
    "entry",
    ["virtualbox", None, 5, [], {}, {"name": "virtualbox"}, {"url": "b.box"}, offer(url=""), {"name": "virtualbox", "url": None},
     offer(""), offer("../x"), offer("a/b"), offer("x\x1b"), offer(architecture="\x1b[2J"), offer(architecture="a b"), {"name": 5.5, "url": ["b.box"]}, {"name": "virtualbox", "url": ["b"]}],
)  # fmt: skip
def test_threat_b4_an_entry_that_is_no_box_is_left_out_and_said_so(entry: object) -> None:
    found = read(catalog(version("1", entry, offer("libvirt"))), base=WEB, asked="")
    assert found.releases[0].offers[-1].provider == "libvirt"
    assert len(found.releases[0].offers) == 1
    assert "providers[0]" in found.skipped[0]


def test_threat_b4_of_two_entries_for_one_thing_the_first_is_kept() -> None:
    twice = version(
        "1", offer(url="a.box"), offer(url="b.box"), offer(url="c.box", architecture="arm64")
    )
    found = read(catalog(twice, version("1")), base=WEB, asked="")
    assert [one.url[-5:] for one in found.releases[0].offers] == ["a.box", "c.box"]
    assert len(found.releases) == 1
    assert found.skipped == (
        "skipped: 1, providers[1]: a second virtualbox",
        "skipped: versions[1], a second 1",
    )


@pytest.mark.parametrize("size", [-1, 0, True, "5", 10**30, 1.5, None, [5]])
def test_a_size_that_is_none_is_unknown(size: object) -> None:
    assert only(catalog(version("1", offer(size=size)))).size == 0


def test_a_checksum_that_is_no_text_is_none() -> None:
    found = only(catalog(version("1", offer(checksum=["x"], checksum_type={"a": 1}))))
    assert (found.checksum, found.checksum_type) == ("", "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no catalog"),
        (b"<html>", "is no catalog"),
        (b"[]", "no table"),
        (b'"x"', "no table"),
        (b"null", "no table"),
        (b"\xff\xfe\x00", "is no catalog"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"name":"a/b","versions":[],"size":NaN}', "NaN is no number"),
        (b'{"name":"a/b","versions":[],"versions":[]}', "'versions' stands twice"),
        (b'{"name":"a/b"}', "no list of versions"),
        (b'{"name":"a/b","versions":{}}', "no list of versions"),
        (b'{"errors":["not found"],"success":false}', "no list of versions"),
        (b'{"name":"a/b","versions":[]' + b" " * MOST_BYTES + b"}", "too much for a catalog"),
    ],
)
def test_what_is_no_catalog_is_refused_with_its_address(data: bytes, words: str) -> None:
    said = refused(data, base="https://me:hunter2@example.org/8.json")
    assert words in said
    assert "https://example.org/8.json" in said
    assert "hunter2" not in said


def test_a_number_of_a_million_digits_is_no_size() -> None:
    data = catalog(version("1", offer(size=5))).replace(b"5", b"9" * 1_000_000)
    assert only(data).size == 0


def test_an_address_as_long_as_a_catalog_is_left_out() -> None:
    # Patterns that go back and forth over it would take days.
    for text in ("a:" * 400_000, "https:" + "/" * 800_000, "../" * 300_000, "//" + "@" * 800_000):
        found = read(catalog(version("1", offer(url=text))), base=WEB, asked="")
        assert found.releases[0].offers == ()
        assert len(found.skipped[0]) < 300


def test_sentences_about_what_was_left_out_are_bounded() -> None:
    found = read(catalog(*[None] * 6000), base=WEB, asked="")
    assert found.releases == ()
    assert len(found.skipped) == 21
    assert found.skipped[-1] == "skipped: 4981 more"


def test_threat_b22_no_sentence_about_a_catalog_can_steer_a_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\r\u202e"
    found = read(catalog(version(hostile), version("1", offer(url=f"ftp://{hostile}"), offer(hostile)),
                         description=hostile), base=WEB, asked="")  # fmt: skip
    assert found.skipped
    assert all(sentence.isprintable() for sentence in found.skipped)


@pytest.mark.parametrize(
    ("text", "word"),
    [("x86_64", "amd64"), ("AARCH64", "arm64"), ("i686", "i386"), ("i386", "i386"), ("s390x", "s390x"),
     ("riscv64", "riscv64"), ("", ""), (" amd64 ", "amd64")],
)  # fmt: skip
def test_an_architecture_has_one_name(text: str, word: str) -> None:
    assert architecture_of(text) == word
