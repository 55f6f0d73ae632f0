"""One VM with everything that is known of it, for people."""

from __future__ import annotations

import time

from vm_list.columns import seen
from vm_list.look import PLAIN, Look, coloured, span
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_list.row import Row, Table

    Lines = Iterator[tuple[str, str]]

__all__ = ["detail"]

_WIDEST = 10  # cells of the longest key: `hypervisor`


def detail(row: Row, look: Look = PLAIN) -> str:
    """The VM's name, and below it a line for each thing that is known; nothing is cut away."""
    text = coloured(printable(row.name), "heading", look) + "\n"
    for key, shown in _lines(row):
        plain = printable(shown)
        if key == "state":
            plain = coloured(plain, row.state, look)
        text += f"  {key:<{_WIDEST}}  {plain}\n"
    return text


def _lines(row: Row) -> Lines:
    yield "state", _state(row)
    if row.file:
        yield "file", row.file
    yield from _fault(row)
    yield from _machine(row)
    for card in row.network or ():
        yield "network", _card(card)
    for console in row.consoles or ():
        yield "console", _console(console)
    if row.vnc:
        yield "vnc", row.vnc


def _state(row: Row) -> str:
    """The state in a few words: `running for 3h12m (pid 12, vm-run 11)`."""
    if row.state == "elsewhere":
        who = f" (vm-run {row.supervisor})" if row.supervisor else ""
        return f"on {row.host}, {seen(row, time.time())}{who}"
    since = "" if row.uptime is None else f" for {span(row.uptime)}"
    numbers = (("pid", row.pid), ("vm-run", row.supervisor))
    told = ", ".join(f"{what} {number}" for what, number in numbers if number)
    return row.state + since + (f" ({told})" if told else "")


def _fault(row: Row) -> Lines:
    if row.fault:
        yield "fault", row.fault
    if row.hint:
        yield "hint", row.hint


def _machine(row: Row) -> Lines:
    if row.target or row.targets:
        others = ", ".join(row.targets or ())
        yield "target", (row.target or "-") + (f" (there are: default, {others})" if others else "")
    if row.hypervisor:
        yield "hypervisor", row.hypervisor
    if row.cpus:
        yield "cpus", str(row.cpus)
    if row.memory:
        yield "memory", str(Size(bytes=row.memory))


def _card(card: Table) -> str:
    ends = (
        ("", "interface"),
        ("bridge ", "bridge"),
        ("on ", "host_interface"),
        ("network ", "network"),
        ("mac ", "mac"),
    )
    told = [f"{word}{card[key]}" for word, key in ends if card.get(key)]
    return f"{card.get('label', '?')}: {', '.join((card.get('type', '?'), *told))}"


def _console(console: Table) -> str:
    told = [console.get("kind", "?")]
    if console.get("log"):
        told.append(f"log {console['log']}")
    if console.get("to"):
        told.append(f"typed to {console['to']}")
    return f"{console.get('name', '?')}: {', '.join(told)}"
