"""Whatever compressed a box, the same archive comes out, or an error."""

import gzip
import os
import sys
from importlib import import_module

import pytest

from tests.pull import boxes
from vm_pull.archive import accel
from vm_pull.archive.inflate import inflated
from vm_spec.fault import VmError

CONTENT = os.urandom(100_000) + bytes(700_000) + b"the end"
WAYS = ["plain", "gzip", "multi-gzip", "xz", "bzip2"]
CHECKED = ["gzip", "multi-gzip", "xz", "bzip2"]
LIBRARIES = ["zlib", "zlib_ng.zlib_ng", "isal.isal_zlib"]


def content(data: bytes, size: int = 65536) -> bytes:
    return b"".join(inflated(boxes.blocks(data, size)))


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each library that can inflate gzip in turn."""
    try:
        module = import_module(request.param)
    except ImportError:
        if request.param.startswith("isal") and os.environ.get("CI"):
            raise
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setattr(accel, "_library", lambda: module)


@pytest.mark.parametrize("size", [1000, 65536, 1 << 20])
@pytest.mark.parametrize("how", WAYS)
def test_the_content_comes_out_as_it_went_in(how: str, size: int) -> None:
    assert content(boxes.packed(CONTENT, how), size) == CONTENT


@pytest.mark.parametrize("how", WAYS)
def test_blocks_of_one_byte_do_too(how: str) -> None:
    assert content(boxes.packed(b"abc" * 99, how), 1) == b"abc" * 99


@pytest.mark.parametrize("size", [1, 999, 65536])
@pytest.mark.usefixtures("library")
def test_every_library_inflates_gzip_alike(size: int) -> None:
    begin = CONTENT[-30_000:] if size == 1 else CONTENT
    assert content(gzip.compress(begin) + gzip.compress(b"more"), size) == begin + b"more"


@pytest.mark.usefixtures("library")
def test_every_library_notices_a_wrong_checksum() -> None:
    data = bytearray(gzip.compress(CONTENT))
    data[-6] ^= 1
    with pytest.raises(VmError, match="damaged: its gzip stream"):
        content(bytes(data))


@pytest.mark.usefixtures("library")
def test_threat_b10_a_bomb_comes_in_small_blocks() -> None:
    data = boxes.gzip_of_zeros(b"", 64 << 20)
    sizes = [len(block) for block in inflated(boxes.blocks(data, 1 << 20))]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 256 << 10


@pytest.mark.parametrize("how", CHECKED)
@pytest.mark.parametrize("missing", [1, 7, 9000])
def test_a_stream_that_is_cut_short_is_refused(how: str, missing: int) -> None:
    data = boxes.packed(CONTENT, how)
    with pytest.raises(VmError, match=r"cut short|something follows"):
        content(data[:-missing])


@pytest.mark.parametrize("how", CHECKED)
def test_a_damaged_stream_is_refused(how: str) -> None:
    data = bytearray(boxes.packed(CONTENT, how))
    data[len(data) // 2] ^= 0x40
    with pytest.raises(VmError):
        content(bytes(data))


@pytest.mark.parametrize("how", CHECKED)
@pytest.mark.parametrize("tail", [b"x", b"\0" * 99 + b"x", b"PK\3\4", b"\x1f"])
def test_what_follows_a_stream_is_refused(how: str, tail: bytes) -> None:
    with pytest.raises(VmError, match="something follows"):
        content(boxes.packed(CONTENT, how) + tail)


@pytest.mark.parametrize("how", CHECKED)
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_zeros_may_follow_a_stream(how: str, size: int) -> None:
    assert content(boxes.packed(b"abc", how) + bytes(1000), size) == b"abc"


@pytest.mark.parametrize(
    ("magic", "name"), [(b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!\x1a\x07", "RAR")]
)
def test_other_archives_are_refused_by_name(magic: bytes, name: str) -> None:
    with pytest.raises(VmError, match=name):
        content(magic + bytes(99))


def test_nothing_is_nothing() -> None:
    assert content(b"") == b""


RAW_FRAME = b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello"


def test_zstd_without_its_package_is_told_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(VmError, match=r"install the Python package backports\.zstd") as caught:
        content(RAW_FRAME)
    assert caught.value.status == 69


def test_zstd_frames_come_out_as_they_went_in() -> None:
    assert content(RAW_FRAME) == b"hello"
    assert content(RAW_FRAME + RAW_FRAME, 3) == b"hellohello"
    with pytest.raises(VmError, match="cut short"):
        content(RAW_FRAME[:-1])
    with pytest.raises(VmError, match="something follows"):
        content(RAW_FRAME + b"x")
    with pytest.raises(VmError, match="damaged"):
        content(RAW_FRAME[:6] + b"\x2f" + RAW_FRAME[7:])


def test_a_large_lzma_window_is_refused() -> None:
    import lzma

    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    data = lzma.compress(b"abc", filters=filters, check=lzma.CHECK_CRC32)
    with pytest.raises(VmError, match="damaged: its xz stream"):
        content(data)
