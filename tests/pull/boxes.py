"""Boxes for tests: archives written byte by byte, so that they may be wrong in every way.

`box(file("metadata.json", b"..."), file("box.img", disk))` is a good one. Each member is bytes: a
header and what follows it; put them in any order, and anything between them.
"""

import bz2
import gzip
import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence

BLOCK = 512
END = bytes(2 * BLOCK)
FILE, HARD_LINK, LINK, CHARACTER, DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
SPARSE, LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, SOLARIS = b"S", b"L", b"K", b"x", b"g", b"X"
USTAR, GNU = b"ustar\x0000", b"ustar  \0"

Map = Sequence[tuple[int, bytes]]
"""The pieces of a sparse file: where each belongs, and its bytes."""


def padded(data: bytes) -> bytes:
    """The data, with zeros up to a whole block."""
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    """A number as headers have it; those that are too large or negative in binary."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80 if value >= 0 else 0xFF]) + (value % (1 << 8 * (width - 1))).to_bytes(
        width - 1, "big"
    )


def header(
    name: str | bytes,
    size: int = 0,
    kind: bytes = FILE,
    *,
    target: str = "",
    mode: int = 0o644,
    magic: bytes = USTAR,
    rest: bytes = b"",
) -> bytes:
    """One header, its checksum right. `rest` is what stands behind the names of the owners."""
    raw = name.encode() if isinstance(name, str) else name
    block = b"".join(
        (
            raw[:100].ljust(100, b"\0"),
            octal(mode, 8),
            octal(0, 8),
            octal(0, 8),
            octal(size, 12),
            octal(0, 12),
            b" " * 8,
            kind,
            target.encode()[:100].ljust(100, b"\0"),
            magic,
            b"root".ljust(32, b"\0"),
            b"root".ljust(32, b"\0"),
            octal(8, 8),
            octal(1, 8),
            rest,
        )
    ).ljust(BLOCK, b"\0")
    return summed(block)


def summed(block: bytes) -> bytes:
    """A header with the checksum that it should have."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def file(name: str | bytes, content: bytes = b"", *, mode: int = 0o644) -> bytes:
    """A file."""
    return header(name, len(content), mode=mode) + padded(content)


def folder(name: str) -> bytes:
    """A folder."""
    return header(name, kind=FOLDER, mode=0o755)


def pax(records: Mapping[str, str | bytes] | bytes, kind: bytes = PAX) -> bytes:
    """An extended header about the next member: keys and values, or the content itself."""
    content = records if isinstance(records, bytes) else b"".join(map(_record, records.items()))
    return header("PaxHeaders/x", len(content), kind) + padded(content)


def _record(item: tuple[str, str | bytes]) -> bytes:
    """A record of an extended header, its length counted with its own digits."""
    key, value = item
    raw = value.encode() if isinstance(value, str) else value
    body = b" " + key.encode() + b"=" + raw + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def long_name(name: str | bytes, kind: bytes = LONG_NAME) -> bytes:
    """A long name for the next member, as GNU tar writes it."""
    raw = (name.encode() if isinstance(name, str) else name) + b"\0"
    return header("././@LongLink", len(raw), kind, magic=GNU) + padded(raw)


def old_sparse(name: str, pieces: Map, size: int, *, stored: int | None = None) -> bytes:
    """A sparse file in the old GNU format: the map in the header and in blocks behind it."""
    fields = [octal(at, 12) + octal(len(data), 12) for at, data in pieces]
    inside, outside = fields[:4], fields[4:]
    rest = b"".join(inside).ljust(96, b"\0") + bytes([bool(outside)]) + octal(size, 12)
    content = b"".join(data for _, data in pieces)
    written = len(content) if stored is None else stored
    block = header(name, written, SPARSE, magic=GNU)
    block = summed(block[:386] + rest + block[386 + len(rest) :])
    more = [outside[at : at + 21] for at in range(0, len(outside), 21)]
    blocks = [
        (b"".join(part).ljust(504, b"\0") + bytes([part is not more[-1]])).ljust(BLOCK, b"\0")
        for part in more
    ]
    return block + b"".join(blocks) + padded(content)


def pax_sparse(name: str, pieces: Map, size: int, **changed: str) -> bytes:
    """A sparse file in the PAX 1.0 format: the map in front of the content."""
    lines = [len(pieces), *(number for at, data in pieces for number in (at, len(data)))]
    content = padded(b"".join(b"%d\n" % line for line in lines))
    content += b"".join(data for _, data in pieces)
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
        **{f"GNU.sparse.{key}": value for key, value in changed.items()},
    }
    return pax(records) + file(f"GNUSparseFile.1/{name}"[:100], content)


def tar(*members: bytes, end: bytes = END) -> bytes:
    """A tar archive of these members."""
    return b"".join(members) + end


def box(*members: bytes, how: str = "gzip") -> bytes:
    """A box of these members: gzip, multi-gzip, xz, bzip2 or plain."""
    return packed(tar(*members), how)


def packed(data: bytes, how: str) -> bytes:
    """Data, compressed in one of several ways."""
    match how:
        case "gzip":
            return gzip.compress(data, 1)
        case "multi-gzip":
            parts = [data[at : at + 1000] for at in range(0, len(data), 1000)]
            return b"".join(gzip.compress(part, 1) for part in parts)
        case "xz":
            return lzma.compress(data)
        case "bzip2":
            return bz2.compress(data)
        case "plain":
            return data
        case _:
            raise ValueError(how)


def gzip_of_zeros(begin: bytes, count: int, end: bytes = b"") -> bytes:
    """A gzip stream of some bytes, many zeros and some bytes, made without holding them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(begin)]
    chunk = bytes(1 << 20)
    parts.extend(packer.compress(chunk) for _ in range(count // len(chunk)))
    parts.append(packer.compress(bytes(count % len(chunk)) + end))
    return b"".join((*parts, packer.flush()))


def zipped(files: Iterable[tuple[str, bytes]], *, mode: int = stat.S_IFREG | 0o644) -> bytes:
    """A zip archive; `mode` is what Unix says each file is."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return target.getvalue()


def blocks(data: bytes, size: int = 65536) -> Iterable[bytes]:
    """Data in blocks, as they come from a server."""
    return (data[at : at + size] for at in range(0, len(data), size))


def boot_disk(size: int, seed: bytes = b"disk") -> bytes:
    """A raw disk with a boot sector, something in it and a large hole."""
    content = bytearray(size)
    content[510:512] = b"\x55\xaa"
    content[:8] = seed[:8].ljust(8, b"\x90")
    content[-4096:] = (seed * 4096)[:4096]
    return bytes(content)


METADATA = file("metadata.json", b'{"provider": "libvirt", "format": "raw"}')
VAGRANTFILE = file("Vagrantfile", b'Vagrant.configure("2") do |config|\nend\n')
