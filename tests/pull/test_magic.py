"""What came, by its first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pull.net import magic
from vm_spec.fault import VmError


def tar(form: int) -> bytes:
    """A tar archive with one member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        member = tarfile.TarInfo("metadata.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    return out.getvalue()


def v7_tar() -> bytes:
    """The same as Unix V7 wrote it: no magic, only a sum."""
    archive = bytearray(tar(tarfile.USTAR_FORMAT))
    archive[257:512] = bytes(255)
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\x00 " % sum(archive[:512])
    return bytes(archive)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", "{}")
    return out.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(tar(tarfile.USTAR_FORMAT), id="ustar"),
        pytest.param(tar(tarfile.GNU_FORMAT), id="gnu tar"),
        pytest.param(tar(tarfile.PAX_FORMAT), id="pax"),
        pytest.param(v7_tar(), id="v7 tar"),
        pytest.param(gzip.compress(b"x"), id="gzip"),
        pytest.param(bz2.compress(b"x"), id="bzip2"),
        pytest.param(lzma.compress(b"x"), id="xz"),
        pytest.param(bytes.fromhex("28b52ffd2001010000"), id="zstd"),
        pytest.param(zipped(), id="zip"),
    ],
)
def test_an_archive_is_a_box(body: bytes) -> None:
    assert magic.kind(body) == "box"
    assert magic.kind(memoryview(bytearray(body))) == "box"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"name":"a/b"}', "catalog"),
        (b'\xef\xbb\xbf \r\n\t{"name":"a/b"}', "catalog"),
        (b"<!DOCTYPE html><title>x</title>", "html"),
        (b"\n\n <HTML>", "html"),
        (b"<?xml version='1.0'?><Error>", "html"),
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"[1]", "unknown"),
        (b"Not Found", "unknown"),
        (b"QFI\xfb" + bytes(600), "unknown"),
        (bytes(4096), "unknown"),
        (b"BZh9 is a nice text", "unknown"),
    ],
)
def test_a_body_is_known_by_its_first_bytes(body: bytes, kind: str) -> None:
    assert magic.kind(body) == kind


def test_a_tar_whose_sum_is_wrong_is_no_box() -> None:
    body = bytearray(tar(tarfile.USTAR_FORMAT))
    body[0] ^= 1
    assert magic.kind(body) == "unknown"


def test_a_tar_cut_within_its_first_header_is_no_box() -> None:
    assert magic.kind(tar(tarfile.USTAR_FORMAT)[:511]) == "unknown"


@given(st.binary(max_size=700))
def test_any_bytes_have_a_kind_and_a_title(body: bytes) -> None:
    assert magic.kind(body) in {"catalog", "box", "html", "empty", "unknown"}
    title = magic.html_title(body)
    assert len(title) <= 80
    assert "\n" not in title


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<html><title>503 &amp; out</title>", "503 & out"),
        (b'<html><TITLE lang="en">\n  Log\n in </TITLE>', "Log in"),
        (b"<html><body><h1>Maintenance</h1>", "Maintenance"),
        (b"<Error><Code>x</Code><Message>Access Denied</Message></Error>", "Access Denied"),
        (b"<html><title>" + b"x" * 300 + b"</title>", "x" * 80),
        (b"<html><title>never closed", ""),
        (b"<html>" + b"<title" * 600, ""),
        (b"<title>\xff\xfe</title>", "\ufffd\ufffd"),
    ],
)
def test_a_page_has_a_title_on_one_line(page: bytes, title: str) -> None:
    assert magic.html_title(page) == title


def refused(first: bytes, url: str = "https://u:secret@x.example/a.box") -> VmError:
    with pytest.raises(VmError) as caught:
        magic.refuse(first, url)
    return caught.value


def test_a_page_instead_of_a_box_is_told_with_its_title_and_without_a_password() -> None:
    error = refused(b"<html><title>Down for maintenance</title></html>")
    assert error.status == 69
    assert str(error) == (
        'got an HTML page (title "Down for maintenance") instead of a box'
        " from https://x.example/a.box\n"
        "  hint: look at it in a browser; the server may be out of order"
    )


def test_threat_b22_a_title_cannot_write_on_the_terminal() -> None:
    shown = str(refused(b"<html><title>a\x1b]8;;http://x\x07\xe2\x80\xae</title>"))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b]8;;" in shown


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"", "got nothing, not a byte, from https://x.example/a.box"),
        (b"QFI\xfb\0\0\0\x03", "https://x.example/a.box is a qcow2 disk image, not a box"),
        (b"KDMV\x03\0\0\0", "https://x.example/a.box is a VMDK disk image, not a box"),
        (b"hello", "https://x.example/a.box is neither a box nor a catalog"),
    ],
)
def test_what_is_no_box_is_told(first: bytes, words: str) -> None:
    assert words in str(refused(first))
