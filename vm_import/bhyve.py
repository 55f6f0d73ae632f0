"""A bhyve command line -> a description that gives bhyve the same configuration.

A device is in our words when these say the same again; else, like every key that has no word
here, it is in `[bhyve] config`, word for word.
"""

from __future__ import annotations

import os
import re

from vm_import.bhyve_cards import addresses
from vm_import.bhyve_config import TOO_MUCH, texts
from vm_import.bhyve_known import unread
from vm_import.bhyve_machine import Making
from vm_import.bhyve_model import answer
from vm_import.bhyve_options import options
from vm_spec.fault import Fault, VmError, printable
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.limits import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_import.bhyve_config import Tree
    from vm_import.bhyve_model import Answer

__all__ = ["imported"]

COMMAND_LINE = "Imported from a bhyve command line."
MOST_NOTES = 100
LONGEST = 200  # characters of a note
ODD = re.compile("[\0\ud800-\udfff]")  # what no text of a description can have


def read(path: str) -> str:
    """The text of a file for -k.

    Raises:
        VmError: it cannot be read (66), or is too long or no text (65).
    """
    from vm_spec.library import content

    try:
        return content(path, MOST_BYTES).decode()
    except UnicodeDecodeError:
        raise VmError(Fault(problem="is not text in UTF-8", file=path)) from None


def imported(argv: list[str], read: Callable[[str], str] = read, origin: str = COMMAND_LINE) -> str:
    """The description, as TOML with comments, that stands for a command line.

    Args:
        argv: the whole command line, the program first.
        read: gives the text of a file for -k.
        origin: the first comment.

    Raises:
        VmError: bhyve would refuse it, or a file of `-k` cannot be read.
    """
    if not argv or not os.path.basename(argv[0]).startswith("bhyve"):
        problem, hint = "is no command line of bhyve's", "vm-run --import -- bhyve -c 2 ..."
        raise VmError(Fault(problem=problem, hint=hint), status=64)
    if any(map(ODD.search, argv)):
        raise VmError(Fault(problem="the command line is not text in UTF-8"))
    found = _judged(argv[1:], read)
    files = [value for letter, value in options(argv[1:])[0] if letter == "f"]
    args = tuple(word for value in files for word in ("-f", value))
    return f"# {origin}\n{_written(found, args)}"


def _judged(argv: list[str], read: Callable[[str], str]) -> Answer:
    try:
        return answer(argv, read, shows=False)
    except VmError as refused:
        if refused.faults[0].file or refused.status == TOO_MUCH:  # not bhyve refuses it
            raise
        said = "; ".join(str(fault).replace("\n", "; ") for fault in refused.faults)
        hint = "correct that first"
        raise VmError(Fault(problem=f"bhyve refuses this: {said}", hint=hint)) from None


def _written(found: Answer, args: tuple[str, ...]) -> str:
    """The comments and the tables."""
    from vm_spec.decode import loads
    from vm_spec.encode import toml

    notes = [f"Left out: bhyve never reads {one}" for one in found.unread]
    written = toml(Making(_read(found, notes), notes).description(args))
    shown = [printable(note) for note in notes[:MOST_NOTES]]
    shown = [note if len(note) <= LONGEST else f"{note[:LONGEST]}..." for note in shown]
    if len(notes) > MOST_NOTES:
        shown.append(f"and {len(notes) - MOST_NOTES} more")
    loads(written)
    comments = "".join(f"# {note}\n" for note in shown)
    return f"{comments}\n{written}"


def _read(found: Answer, notes: list[str]) -> Tree:
    """What bhyve reads of a configuration, its variables replaced, and the addresses it makes."""
    tree = texts(found.tree)
    tree.pop("config.dump", None)
    tree |= addresses(tree)
    ignored = {line.partition("=")[0] for line in unread(tree)}
    kept: Tree = {}
    for key, text in tree.items():
        if key != "name" and (not text or "\n" in text or ODD.search(text)):
            notes.append(f"Could not be carried: {key}, whose value is {text!r}")
        elif key not in ignored:
            kept[key] = text
    return kept
