"""What inflates, whichever libraries are installed."""

from __future__ import annotations

import gzip
import importlib.util
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.lacking import lacking
from vm_pull.archive import accel

CHECKOUT = Path(__file__).parent.parent.parent
LIBRARIES = ("deflate", "isal.isal_zlib", "zlib_ng.zlib_ng", "zlib")
NOISE = random.Random(1).randbytes(20_000)  # noqa: S311 - the same each time
CONTENT = NOISE + b"vmman " * 5_000
PACKED = zlib.compress(CONTENT)
BAD_SUM = PACKED[:-1] + bytes([PACKED[-1] ^ 1])

CHOSEN = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
from vm_pull.archive import accel
content = accel.grain_inflater()(bytes.fromhex("{}"), 99)
print(type(accel.gunzip()).__module__.rpartition(".")[2], type(content).__name__)
""".format(zlib.compress(b"grain").hex())


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """One library after the other; one that is missing is an error in CI."""
    name: str = request.param
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        lacking(f"{name} is missing")
    return name


@pytest.mark.parametrize("most", [len(CONTENT), len(CONTENT) + 1, 1 << 20])
def test_each_library_inflates_what_is_small_enough(library: str, most: int) -> None:
    inflate = accel.grain_inflater(library)
    assert inflate(PACKED, most) == CONTENT
    assert inflate(memoryview(bytearray(PACKED)), most) == CONTENT
    assert inflate(zlib.compress(b""), most) == b""


def test_bytes_after_the_stream_change_nothing(library: str) -> None:
    assert accel.grain_inflater(library)(PACKED + b"rest", len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (PACKED, len(CONTENT) - 1),
        (zlib.compress(bytes(50_000_000)), 65536),
        (BAD_SUM, len(CONTENT)),
        (PACKED[:-1], len(CONTENT)),
        (PACKED[:-4], len(CONTENT)),
        (PACKED[:100], len(CONTENT)),
        (PACKED[:2], len(CONTENT)),
        (b"", len(CONTENT)),
        (PACKED[2:-4], len(CONTENT)),
        (gzip.compress(CONTENT), len(CONTENT)),
        (b"\x78\x9c" + bytes(range(7, 200)), len(CONTENT)),
    ],
    ids=[
        "one byte more", "a bomb", "another sum", "a byte less", "no sum", "cut", "a header",
        "nothing", "bare deflate", "gzip", "noise",
    ],
)  # fmt: skip
def test_each_library_refuses_what_is_corrupt_or_too_large(
    library: str, data: bytes, most: int
) -> None:
    with pytest.raises(ValueError, match=r"."):
        accel.grain_inflater(library)(data, most)


def test_a_library_that_is_not_there_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deflate", None)
    with pytest.raises(ImportError):
        accel.grain_inflater("deflate")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (["deflate", "isal", "zlib_ng"], "zlib bytes"),
        (["isal.isal_zlib", "zlib_ng.zlib_ng", "deflate"], "zlib bytes"),
        (["deflate", "zlib_ng"], "isal_zlib bytes"),
        (["deflate", "isal"], "zlib_ng bytes"),
        (["isal", "zlib_ng"], "zlib bytearray"),
        ([], "isal_zlib bytearray"),
    ],
)
def test_the_fastest_that_is_installed_is_used(missing: list[str], expected: str) -> None:
    for name in {"deflate", "isal", "zlib_ng"} - set(missing):
        if importlib.util.find_spec(name) is None:
            lacking(f"{name} is missing")
    said = subprocess.run(
        [sys.executable, "-c", CHOSEN, *missing],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == expected.split()


def test_a_gzip_stream_is_checked_to_its_end() -> None:
    data = gzip.compress(CONTENT)
    stream = accel.gunzip()
    assert stream.decompress(data + b"rest") == CONTENT
    assert stream.eof
    assert stream.unused_data == b"rest"
    with pytest.raises(accel.stream_error()):
        accel.gunzip().decompress(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
