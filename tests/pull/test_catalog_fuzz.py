"""Whatever a catalog consists of, it becomes a catalog or a fault."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pull.catalogs import oraclelinux
from vm_pull.catalogs.catalog import Catalog, read
from vm_pull.catalogs.choose import Choice, Wishes, choose
from vm_pull.catalogs.listing import listing, table
from vm_pull.net.urls import is_web
from vm_spec.fault import VmError

WEB = "https://example.org/boxes/8.json"
FILE = "/home/me/boxes/8.json"
WORDS = ["me/box", "1.0", "v1", "virtualbox", "amd64", "unknown", "b.box", "active", "../x"]
HOSTILE = ["file:///etc/passwd", "http://[", "\x1b[2J", "\ud800", "\u202e", "/" * 300]
NAMES = [
    "name", "versions", "version", "providers", "url", "status", "tag", "current_version", "size",
    "checksum", "checksum_type", "architecture", "default_architecture", "description",
    "download_url",
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(WORDS + HOSTILE)
)  # fmt: skip
KEYS = st.sampled_from(NAMES)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=6),
    max_leaves=30,
)
OFFERS = st.lists(st.dictionaries(KEYS, LEAVES, max_size=6) | LEAVES, max_size=3) | TREES
VERSIONS = st.lists(
    st.fixed_dictionaries({"version": LEAVES, "providers": OFFERS}) | TREES, max_size=3
)
CATALOGS = st.fixed_dictionaries({"name": st.just("me/box") | LEAVES, "versions": VERSIONS | TREES})


def attempt(data: bytes, base: str, wish: str) -> None:
    """Reads, lists and chooses; only a fault that can be shown may come of it."""
    found = None
    try:
        found = read(data, base=base, asked="")
        taken = choose(found, Wishes(version=wish), "amd64")
    except VmError as error:
        assert str(error).replace("\n", "").isprintable()
    else:
        assert isinstance(taken, Choice)
        assert base != WEB or is_web(taken.offer.url)
    if isinstance(found, Catalog):
        assert table(listing(found)).replace("\n", "").isprintable()
        assert all(sentence.isprintable() for sentence in found.skipped)
        places = [one.url for release in found.releases for one in release.offers]
        assert base != WEB or all(is_web(place) for place in places)


@settings(max_examples=400, deadline=None)
@given(
    CATALOGS | TREES, st.sampled_from([WEB, FILE, ""]), st.sampled_from(["", "1.0", ">= 0", "v1"])
)
def test_threat_b4_any_json_becomes_a_catalog_or_a_fault(raw: object, base: str, wish: str) -> None:
    attempt(json.dumps(raw).encode(), base, wish)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 500))
def test_any_bytes_become_a_catalog_or_a_fault(junk: bytes, at: int) -> None:
    whole = oraclelinux()
    for data in (
        junk,
        whole[:at] + junk + whole[at:],
        whole[:at] + junk,
        whole[:at] + whole[at + 1 :],
    ):
        attempt(data, WEB, "")
