"""Checksums: typed, published, absent, wrong."""

import hashlib

import pytest

from vm_pull.catalogs.checksum import KINDS, Checksum, parse, published, remark
from vm_spec.fault import VmError

SHA256 = hashlib.sha256(b"box").hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_checksum_in_any_case_is_read_and_meets_its_file(kind: str) -> None:
    digits = hashlib.new(kind, b"box").hexdigest()
    for read in (parse(f"{kind.upper()}:{digits.upper()}"), published(kind.upper(), f" {digits} ")):
        assert read is not None
        assert read == Checksum(kind=kind, digits=digits)
        hasher = read.new()
        hasher.update(b"b")
        hasher.update(memoryview(b"ox"))
        read.compare(hasher.hexdigest().upper(), "box.box")
        assert parse(str(read)) == read


def test_threat_b5_a_wrong_checksum_is_refused_and_both_values_are_shown() -> None:
    found = hashlib.sha256(b"bax").hexdigest()
    with pytest.raises(VmError) as caught:
        parse(f"sha256:{SHA256}").compare(found, "trusty64.box")
    assert caught.value.status == 65
    assert SHA256 in str(caught.value)
    assert found in str(caught.value)
    assert "trusty64.box" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "digits"),
    [("", ""), ("none", ""), ("NONE", "abc"), ("sha256", ""), ("", SHA256), ("null", "null")],
)
def test_threat_b5_an_absent_checksum_is_unpublished_and_that_is_said(
    kind: str, digits: str
) -> None:
    assert published(kind, digits) is None
    assert "unpublished" in remark(None)


def test_threat_b5_a_weak_checksum_is_used_and_called_weak() -> None:
    for kind in ("md5", "sha1"):
        read = published(kind, hashlib.new(kind, b"box").hexdigest())
        assert read is not None
        assert "weak" in remark(read)
    assert remark(published("sha256", SHA256)) == ""


@pytest.mark.parametrize(
    ("kind", "digits", "words"),
    [
        ("crc32", "00000000", "known are md5, sha1, sha256, sha384, sha512"),
        ("sha256", SHA256[:-1], "64 hexadecimal digits"),
        ("sha256", SHA256 + "0", "64 hexadecimal digits"),
        ("sha256", "g" * 64, "64 hexadecimal digits"),
        ("sha1", SHA256, "40 hexadecimal digits"),
        ("sha256", "\N{FULLWIDTH DIGIT ZERO}" * 64, "64 hexadecimal digits"),
        ("shake_128", "00", "known are"),
    ],
)
def test_threat_b5_a_published_checksum_that_cannot_be_verified_is_refused(
    kind: str, digits: str, words: str
) -> None:
    with pytest.raises(VmError, match=words) as caught:
        published(kind, digits)
    assert caught.value.status == 65
    assert "--checksum TYPE:HEX" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SHA256, f"--checksum sha256:{SHA256}"),
        ("abc", "say TYPE:HEX"),
        ("", "say TYPE:HEX"),
        ("sha3:00", "known are md5"),
        (f"sha256:{SHA256[:-2]}", "64 hexadecimal digits"),
        (f"sha256:{SHA256}:", "64 hexadecimal digits"),
        ("none:", "known are md5"),
    ],
)
def test_a_checksum_typed_wrongly_is_refused_with_the_right_form(text: str, words: str) -> None:
    with pytest.raises(VmError, match=words) as caught:
        parse(text)
    assert caught.value.status == 64
