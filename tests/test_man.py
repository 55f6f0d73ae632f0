"""The manual pages say what the programs have: no more and no less."""

import argparse
import ast
import os
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from vm_console import __main__ as console
from vm_console import attach
from vm_import import __main__ as importer
from vm_init import __main__ as init
from vm_init import ask, inspect
from vm_init.errors import InitError
from vm_list import __main__ as lister
from vm_list.survey import Row
from vm_run.cli import parser
from vm_run.dry_run import dry_run
from vm_run.pci_slots import BANDS
from vm_spec import Context, Machine, loads, select
from vm_spec.devices import KINDS, Device, Graphic, Lookup
from vm_spec.frozen import Value
from vm_spec.machine import Bhyve, CloudInit, Outcome, Qemu
from vm_spec.types import Cpu
from vm_stop import __main__ as stop
from vm_stop.stopping import Answer

MAN = Path(__file__).parent.parent / "man"
RUN, LIST, TOML = (MAN / page for page in ("vm-run.1", "vm-list.1", "vm.toml.5"))
INIT = MAN / "vm-init.8"
STOP, CONSOLE = (MAN / page for page in ("vm-stop.1", "vm-console.1"))
STATUSES = {0, 3, 4, 64, 65, 66, 69, 70, 74, 75, 77, 130}  # design, Commands; 130 is an interrupt
HEADING = re.compile(r"^\.S[hs] (.*)$", re.MULTILINE)


def part(page: Path, title: str) -> str:
    """What stands under the headings of one title, each up to the next heading."""
    _, *pieces = HEADING.split(page.read_text())
    found = [text for head, text in zip(pieces[::2], pieces[1::2], strict=True) if head == title]
    assert found, f"{page.name} has no {title}"
    return "".join(found)


def items(text: str, macro: str) -> set[str]:
    """What the tags of lists name: `.It Va com1 , com2` is both."""
    return {
        word
        for line in re.findall(rf"^\.It {macro} (.*)$", text, re.MULTILINE)
        for word in line.split(" ")
        if word != ","
    }


def options(page: Path) -> set[str]:
    """Every option that a list of a page explains, as it is typed."""
    lines = re.findall(r"^\.It (Fl .*)$", page.read_text(), re.MULTILINE)
    names = [name for line in lines for name in re.findall(r"Fl (\S+)", line)]
    return {f"-{name}" for name in names}


def statuses(page: Path) -> set[int]:
    return set(map(int, re.findall(r"^\.It (\d+)$", part(page, "EXIT STATUS"), re.MULTILINE)))


def strings(made: argparse.ArgumentParser) -> set[str]:
    actions = made._actions  # pyright: ignore[reportPrivateUsage]
    return {string for action in actions for string in action.option_strings}


def raised(source: Path) -> Iterator[int]:
    """Every status that a module of root's half gives an InitError, where it names one."""
    module = import_module(f"vm_init.{source.stem}")
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "InitError":
            given = [*node.args[1:], *(each.value for each in node.keywords)]
            for status in map(ast.unparse, given):
                if status.isdecimal():
                    yield int(status)
                elif status.startswith("os.EX_"):
                    yield int(getattr(os, status.removeprefix("os.")))
                elif hasattr(module, status):
                    yield int(getattr(module, status))


def described(kind: str) -> set[str]:
    """The keys that vm.toml(5) gives a kind of device."""
    titles = HEADING.findall(part_of_devices())
    mine = {title for title in titles if kind in title.split(", ")}
    assert mine, f"vm.toml(5) has no {kind}"
    found = {key for title in mine for key in items(part(TOML, title), "Va")}
    return found | items(part(TOML, "Every device"), "Va")


def part_of_devices() -> str:
    text = TOML.read_text()
    return text[text.index(".Sh DEVICES") : text.index(".Sh TARGETS")]


def examples() -> list[str]:
    """The literal blocks of vm.toml(5) that begin with a comment that says so."""
    blocks = re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", TOML.read_text(), re.MULTILINE)
    plain = [block.replace(r"\&", "").replace(r"\e", "\\") for block in blocks]
    return [block for block in plain if block.startswith("# example\n")]


def test_the_options_of_vm_run_are_those_of_its_page() -> None:
    assert options(RUN) == strings(parser())


@pytest.mark.parametrize(("page", "made"), [(STOP, stop.parser), (CONSOLE, console.parser)])
def test_the_options_and_statuses_of_the_small_ones_are_those_of_their_pages(
    page: Path, made: Callable[[], argparse.ArgumentParser]
) -> None:
    assert options(page) == strings(made())
    epilog = str(made().epilog)
    told = re.findall(r"\b(\d+) [a-z]", epilog[epilog.index("exit status:") :])
    assert {*map(int, told)} - {129} <= statuses(page)
    signals = {128 + number for number in attach.SIGNALS} | {141}
    assert statuses(page) == {0, 64, 66, 70, 74, 75} | ({130} if page == STOP else {69} | signals)


def test_the_options_and_statuses_of_vm_import_are_those_of_its_page() -> None:
    page = MAN / "vm-import.1"
    assert options(page) == strings(importer.parser())
    assert statuses(page) == {0, 64, 65, 66, 70, 130, 141}


def test_every_key_of_an_answer_is_in_the_page_of_vm_stop() -> None:
    assert items(part(STOP, "JSON"), "Va") == set(Answer.fields)


def test_the_options_of_vm_list_are_those_of_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    lister.main(["--help"])
    told = re.findall(r"^  (-\w)?(?:, )?(--\w+)", capsys.readouterr().out, re.MULTILINE)
    assert options(LIST) == {option for line in told for option in line if option}


def test_the_options_of_vm_init_are_those_of_its_page() -> None:
    taken = init.ACTS | init.FLAGS | init.VALUES.keys()
    assert options(INIT) == taken
    shown = set(re.findall(r"--[a-z-]+", inspect.USAGE))
    assert taken >= shown
    assert set(re.findall(r"Fl (-\S+)", part(INIT, "SYNOPSIS"))) == {word[1:] for word in shown}


def test_every_exit_status_of_vm_init_is_in_its_page() -> None:
    sources = (MAN.parent / "vm_init").glob("*.py")
    own = {status for source in sources for status in raised(source)}
    childs = {number for number in range(256) if ask.FAULT.fullmatch(b"fault %d\n" % number)}
    refused = InitError("").status
    assert statuses(INIT) == {0, refused} | own | childs
    assert statuses(INIT) - {0} == set(map(int, re.findall(r"\d+", str(InitError.__doc__))))


def test_the_page_of_vm_init_has_the_lines_that_are_installed() -> None:
    page = INIT.read_text().splitlines()
    examples = [MAN.parent / "sudoers.d" / "vm-init", MAN.parent / "etc" / "doas.conf"]
    lines = [line for each in examples for line in each.read_text().splitlines()]
    rules = [line for line in lines if line.startswith(("Cmnd_Alias", "%", "permit"))]
    assert len(rules) == 3
    assert [line for line in rules if line not in page] == []


def test_every_exit_status_of_vm_run_is_in_its_page() -> None:
    assert statuses(RUN) == STATUSES
    epilog = str(parser().epilog)
    told = re.findall(r"\b(\d+) [a-z]", epilog[epilog.index("exit status:") :])
    assert statuses(RUN) >= set(map(int, told))


def test_every_outcome_is_in_the_page_of_vm_run() -> None:
    words = re.findall(r"^\.It (\S+) Ta", part(RUN, "HOW A GUEST ENDS"), re.MULTILINE)
    assert {*words} - {"Em"} == set(Outcome.pattern.split("|"))


def test_every_event_that_is_told_is_in_the_page_of_vm_run() -> None:
    sources = (MAN.parent / "vm_run").rglob("*.py")
    told = {
        event
        for source in sources
        for event in re.findall(r"report\(\"(\w+)\"", source.read_text())
    }
    rows = re.findall(r"^\.It (\S+) Ta", part(RUN, "EVENTS"), re.MULTILINE)
    assert {*rows} - {"Em"} == told


def test_every_key_of_a_row_is_in_the_page_of_vm_list() -> None:
    assert items(part(LIST, "JSON"), "Va") == set(Row.fields)


@pytest.mark.parametrize(
    ("title", "cls"),
    [
        ("THE MACHINE", Machine),
        ("cloud-init", CloudInit),
        ("What only QEMU has", Qemu),
        ("What only bhyve has", Bhyve),
    ],
)
def test_every_key_is_in_vm_toml(title: str, cls: type[Value]) -> None:
    assert items(part(TOML, title), "Va") == set(cls.fields)


def test_every_key_of_the_screen_is_in_vm_toml() -> None:
    assert items(part(TOML, "The screen"), "Va") == Graphic.fields.keys() - Device.fields.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_device_is_in_vm_toml(kind: str) -> None:
    assert described(kind) == set(KINDS[kind].fields)


@pytest.mark.parametrize(("title", "cls"), [("THE MACHINE", Cpu), ("passthru", Lookup)])
def test_the_keys_of_a_table_in_a_key_are_in_vm_toml(title: str, cls: type[Value]) -> None:
    text = part(TOML, title)
    assert [field for field in cls.fields if not re.search(rf"(?m)^\.Va {field}\b", text)] == []


@pytest.mark.parametrize("band", BANDS)
def test_the_bands_of_slots_are_in_vm_toml(band: str) -> None:
    shown = {"other": "everything else"}.get(band, f"{band}:")
    row = f".It {BANDS[band][0]} to {BANDS[band][-1]} Ta {shown}"
    assert row in part(TOML, "SLOTS")


@pytest.mark.parametrize("example", examples())
def test_every_example_of_vm_toml_can_be_run(example: str) -> None:
    description = loads(example, Context(name="web", user="mike", home="/home/mike"))
    for target in ["default", *(target.name for target in description.targets)]:
        assert select(description, target).name == "web"
        assert "web" in dry_run(description, target, [], "shell")
