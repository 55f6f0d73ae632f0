"""Disk images as QEMU makes them, and the gate's judgement over a file."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.lacking import need
from vm_pull.images.image import FIRST, Image, judge, sniff
from vm_pull.images.vmdk_files import split
from vm_spec.fault import VmError

MOST = 1 << 40
MIB = 1 << 20

KINDS = {
    "qcow2": ("qcow2", ""),
    "qcow2-v2": ("qcow2", "compat=0.10"),
    "qcow2-512": ("qcow2", "cluster_size=512"),
    "qcow2-4k": ("qcow2", "cluster_size=4k"),
    "qcow2-2m": ("qcow2", "cluster_size=2M"),
    "qcow2-extended": ("qcow2", "extended_l2=on"),
    "qcow2-allocated": ("qcow2", "preallocation=metadata"),
    "qcow2-lazy": ("qcow2", "lazy_refcounts=on"),
    "qcow2-1bit": ("qcow2", "refcount_bits=1"),
    "qcow2-compressed": ("qcow2", "compressed"),
    "qcow2-compressed-v2": ("qcow2", "compressed,compat=0.10"),
    "qcow2-compressed-512": ("qcow2", "compressed,cluster_size=512"),
    "qcow2-compressed-2m": ("qcow2", "compressed,cluster_size=2M"),
    "qcow2-compressed-extended": ("qcow2", "compressed,extended_l2=on"),
    "qcow2-zstd": ("qcow2", "compressed,compression_type=zstd"),
    "vdi": ("vdi", ""),
    "vdi-static": ("vdi", "static=on"),
    "vhd": ("vpc", "force_size=on"),
    "vhd-fixed": ("vpc", "subformat=fixed,force_size=on"),
    "vhd-cylinders": ("vpc", ""),
    "vhdx": ("vhdx", "block_size=1M,log_size=1M"),
    "vhdx-fixed": ("vhdx", "subformat=fixed"),
    "vmdk": ("vmdk", "subformat=monolithicSparse"),
    "vmdk-zeroed": ("vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    "raw": ("raw", ""),
}
"""Each name with QEMU's format and options."""


def qemu_img(*words: str | Path, check: bool = True) -> str:
    done = subprocess.run(
        [need("qemu-img"), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def disk(size: int = 3 * MIB + 1536, seed: int = 1) -> bytes:
    """A bootable disk of random data and holes; its last cluster is not a whole one."""
    some = random.Random(seed)  # noqa: S311 - the same disk each time
    data = bytearray(size)
    for _ in range(6):
        at = some.randrange(0, max(1, size - 200000), 512)
        data[at : at + 150000] = some.randbytes(150000)
    del data[size:]
    data[510:512] = b"\x55\xaa"
    data[-1000:] = b"end " * 250
    return bytes(data)


def make(folder: Path, name: str, content: bytes) -> Path:
    """An image of the kind called `name`, with `content` as its disk."""
    source, made = folder / "source", folder / name
    source.write_bytes(content)
    fmt, options = KINDS[name]
    words = [word for word in options.split(",") if word not in {"", "compressed"}]
    given = ["-c"] * ("compressed" in options) + ["-o", ",".join(words)] * bool(words)
    qemu_img("convert", "-f", "raw", "-O", fmt, *given, source, made)
    source.unlink()
    return made


def judged(path: Path, *, most_bytes: int = MOST) -> Image:
    """What the gate says of a file, asked as the unpacking does."""
    fd = os.open(path, os.O_RDONLY)
    try:
        first = os.pread(fd, FIRST, 0)
        kind = sniff(first)
        if kind == "vmdk-text":
            return Image(kind="vmdk-split", size=sum(each.size for each in split(first)))
        return judge(fd, kind, most_bytes=most_bytes)
    finally:
        os.close(fd)


def judged_content(folder: Path, content: bytes) -> Image:
    """What the gate says of a file with this in it."""
    path = folder / "image"
    path.write_bytes(content)
    return judged(path)


def complaint(folder: Path, content: bytes) -> str:
    """Why the gate refuses a file with this in it."""
    with pytest.raises(VmError) as caught:
        judged_content(folder, content)
    return caught.value.faults[0].problem


def ignore(text: str) -> None:
    """Hears what is told."""
    del text
