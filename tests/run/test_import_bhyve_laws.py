"""Any command line that bhyve takes is imported, and what was imported means the same to bhyve."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.run.bhyve_lines import FILES, LINES, PAIRS, PIECES, WORDS, Words
from tests.run.bhyve_meaning import emitted, filed, meaning, with_bridges
from tests.vm import HOUSE
from vm_import import detect
from vm_import.bhyve import imported
from vm_import.bhyve_model import Answer, answer
from vm_import.bhyve_options import options
from vm_run.pci_slots import place
from vm_spec import Context, loads
from vm_spec.fault import VmError


def firmware_files(args: Sequence[str]) -> Words:
    """The values of -f, the one option that leaves nothing in bhyve's configuration."""
    return [value for letter, value in options(args)[0] if letter == "f"]


def means_the_same(text: str, theirs: Answer) -> bool:
    """Looks whether a description gives bhyve what it has of a command line or a file."""
    description = loads(text, Context(name="x"))
    placed = place(description, description.machine)
    again = emitted(placed)
    ours, bhyves = meaning(again), meaning(theirs)
    empty = {key for key, value in bhyves.items() if not value}  # no line can say these
    assert ours == with_bridges({k: v for k, v in bhyves.items() if k not in empty}, ours)
    assert again.unread == ()
    assert again.preloaded == theirs.preloaded
    return meaning(filed(placed)) == ours


@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.lists(WORDS, max_size=9), FILES)
@example([["-s", "3,virtio-blk,/a,ser="], ["-o", "system.sku=\\%(name)"]], "")
@example([["-s", "29,fbuf,tcp=5900,password=a%b"], ["-s", "31,lpc"], ["-l", "com1,nmdm"]], "")
def test_any_command_line_that_bhyve_takes_means_the_same_when_it_was_imported(
    words: list[Words], file: str
) -> None:
    args = [*(word for group in words for word in group), "vm"]
    read = {"it.conf": file}.__getitem__
    try:
        theirs = answer(args, read, shows=False)
    except VmError:
        assume(False)
        raise
    try:
        text = imported(["bhyve", *args], read)
    except VmError as error:  # there is no room for the two bridges
        assert "and vm-run gives each machine" in error.faults[0].problem
        return
    assert means_the_same(text, theirs)
    assert firmware_files(loads(text).machine.bhyve.args) == firmware_files(args)
    assert detect.is_native(text.encode(), "vm.toml")


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(FILES)
def test_any_flat_file_that_bhyve_takes_means_the_same_when_it_was_imported(file: str) -> None:
    text = f"memory.size=1G\n{file}\n"
    named = [] if "\nname=" in text else ["web"]
    try:
        theirs = answer(["-k", "it", *named], {"it": text}.__getitem__, shows=False)
    except VmError:
        assume(False)
        raise
    try:
        written = detect.imported(text.encode(), "/a/web.conf")
    except VmError as error:
        assert "and vm-run gives each machine" in error.faults[0].problem
        return
    assert means_the_same(written, theirs)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(PIECES | st.text(max_size=4), max_size=3).map("".join), max_size=6),
    st.text(max_size=40) | st.lists(PIECES, max_size=12).map("".join),
)
def test_any_words_are_a_description_or_a_fault(words: Words, file: str) -> None:
    try:
        loads(imported(["bhyve", *words], lambda _: file))
    except VmError as error:
        assert error.status in (64, 65, 66)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PAIRS | LINES | st.text(max_size=8), max_size=8)
    .map(lambda lines: "\n".join(["memory.size=1G", *lines]).encode(errors="replace"))
    .flatmap(lambda text: st.binary(max_size=3).map(lambda junk: text + junk))
)
def test_any_flat_file_is_a_description_or_a_fault(data: bytes) -> None:
    try:
        loads(detect.imported(data, "web.conf"))
    except VmError as error:
        assert error.status == 65


FLAT = "memory.size=1G\nname=x\n"
LONG = f"a=%{'x' * 12_000}\n"
OWN = 'hypervisor = "bhyve"\n[net.a]\nname = "tap0"\n[net.a.bhyve]\n'
HOSTILE = [
    FLAT + "system.sku=" + "%(" * 32_000,
    FLAT + "a" + ".b" * 32_000 + "=1",
    FLAT + LONG + "".join(f"a{number}=%(a)\n" for number in range(3_900)),
    FLAT
    + LONG
    + "".join(f"pci.{bus}.1.0.device=hda\npci.{bus}.1.0.rec=%(a)\n" for bus in range(256)),
    FLAT + "".join(f"pci.{n // 240}.{n // 8 % 30 + 1}.{n % 8}.device=hda\n" for n in range(2_400)),
    FLAT
    + "pci.0.3.0.device=ahci\n"
    + "".join(f"pci.0.3.0.port.{n}.path=/\n" for n in range(2_300)),
    OWN + "".join(f'"a{number}" = "1"\n' for number in range(4_500)),
    OWN + "".join(f'"mtu{number}" = "1"\n' for number in range(3_800)),
]
READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from vm_run.bhyve import argv
from vm_import import detect
from vm_run.pci_slots import place
from vm_spec import Context, loads
from vm_spec.fault import VmError
for text in sys.stdin.read().split("\\0"):
    try:
        made = text if "hypervisor" in text else detect.imported(text.encode(), "x")
        description = loads(made, Context(name="x"))
        print(bool(argv(place(description, description.machine))))
    except VmError as error:
        print(error.status)
"""


def test_threat_b7_64_kib_that_are_hostile_cost_little_time() -> None:
    """It was 50 seconds; of the 20 that the kernel leaves it, it takes two."""
    assert max(map(len, HOSTILE)) <= 1 << 16
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input="\0".join(HOSTILE),
        stdout=subprocess.PIPE,
        cwd=HOUSE,
        timeout=300,
        check=False,
        text=True,
    )
    assert done.stdout.split() == ["65"] * len(HOSTILE)
