# ruff: noqa: E501  a row of a table is one line
"""The small values: what each takes, and in which words it refuses."""

from collections.abc import Callable

import pytest

from vm_spec.machine import Com, Gdb, Outcome, Uuid
from vm_spec.types import FilePath, Forward, IfName, Label, Mac, PciId, PciSlot, Size, VmName

READ: list[tuple[Callable[[object], object], object, str]] = [
    (Size.parse, "512M", "512M"),
    (Size.parse, "2g", "2G"),
    (Size.parse, "1TB", "1T"),
    (Size.parse, "1024K", "1M"),
    (Size.parse, 4096, "4K"),
    (Size.parse, "1000", "1000"),
    (PciSlot.parse, 5, "0:5:0"),
    (PciSlot.parse, "5", "0:5:0"),
    (PciSlot.parse, "5:1", "0:5:1"),
    (PciSlot.parse, "255:31:7", "255:31:7"),
    (PciId.parse, "0000:0A:00.1", "0000:0a:00.1"),
    (PciId.parse, "0a:1f.7", "0000:0a:1f.7"),
    (PciId.parse, "10:0:1", "0000:0a:00.1"),
    (PciId.parse, "10/0/1", "0000:0a:00.1"),
    (Forward.parse, "2222:22", "tcp:127.0.0.1:2222:22"),
    (Forward.parse, "udp:0.0.0.0:53:53", "udp:0.0.0.0:53:53"),
    (Mac, "BE:EF:00:00:00:01", "be:ef:00:00:00:01"),
    (Outcome, 3, "triple-fault"),
    (Outcome, "crash", "triple-fault"),
    (VmName, "0-web.example_1", "0-web.example_1"),
    (Gdb, "w127.0.0.1:1234", "w127.0.0.1:1234"),
    (Com, "/dev/nmdm0A", "/dev/nmdm0A"),
]

REFUSED: list[tuple[Callable[[object], object], list[object]]] = [
    (Size.parse, ["", "M", "-1", "1.5G", "1P", "1 G", "0", 0, -1, True, 1.5, None, "9999999T", "٣M", 2**63]),
    (PciSlot.parse, [32, -1, "", "a", "1:8", "256:0:0", "0:0:0:0", "1.0", True, None, "1:", "٣", 1.0]),
    (PciId.parse, ["", "1:0", "0000:00:20.0", "00:00.8", "256:0:0", "0:32:0", "x", None, "../..:00.0"]),
    (Forward.parse, ["", "22", "0:22", "22:0", "65536:1", "sctp:1:1", "1.2.3:1:1", "256.0.0.1:1:1", "1:1,x", 22]),
    (Mac, ["", "01:00:00:00:00:00", "00:00:00:00:00:00", "02:00:00:00:00", "02-00-00-00-00-00", 1, "02:00:00:00:00:0g"]),
    (VmName, ["", ".", "-a", "a/b", "a b", "a" * 65, "a\n", "ä", None, 1]),
    (Label, ["", "1a", "a,b", "a=b", "a" * 49, "a\n", None]),
    (IfName, ["", "all", "default", "0tap", "a" * 16, "a/b", "a b", "a\n"]),
    (FilePath, ["", "a\0b", "\ud800", "a" * 4096, None, 1]),
    (Outcome, [6, "7", "crashed", None, True, ""]),
    (Uuid, ["", "0f3dbd4a-3a5e-11ee-be56", "0f3dbd4a3a5e11eebe560242ac120002"]),
    (Com, ["tty", "", "dev/tty", "/dev/\0"]),
]  # fmt: skip


@pytest.mark.parametrize(("read", "given", "shown"), READ)
def test_what_is_read_is_kept_in_one_form(
    read: Callable[[object], object], given: object, shown: str
) -> None:
    assert str(read(given)) == shown
    assert read(str(read(given))) == read(given)


@pytest.mark.parametrize(
    ("read", "given"), [(read, given) for read, all_given in REFUSED for given in all_given]
)
def test_what_is_none_is_refused_with_a_sentence(
    read: Callable[[object], object], given: object
) -> None:
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        read(given)
    assert not str(caught.value).endswith(".")
