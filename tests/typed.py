"""What a page for people shows: its blocks, and the lines in them that one types."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import vm_console.__main__
import vm_import.__main__
import vm_list.__main__
import vm_pull.cli
import vm_run.cli
import vm_stop.__main__
from vm_init.__main__ import parse_arguments
from vm_init.errors import InitError
from vm_spec.fault import VmError

HOUSE = Path(__file__).parents[1]
OTHERS = ("cat", "groupadd", "sbatch", "scancel", "uclcmd", "usermod")  # the shell's, the admin's


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def typed(page: Path) -> list[str]:
    """Each line that one types: behind `$ ` or, as root, `# `, without its comment."""
    lines = re.findall(r"^[$#] (.*)$", "".join(blocks(page, "console")), re.MULTILINE)
    return [re.sub(r" +# .*", "", line) for line in lines]


def calls(line: str) -> list[list[str]]:
    """The simple commands of a line, each by its words; sudo is left out."""
    words = shlex.split(line)
    found: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "|", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return [call[1:] if call[0] == "sudo" else call for call in found]


def understood(call: list[str]) -> str:
    """Has a command's own parser read it; what is wrong with it, empty for nothing.

    Raises:
        AssertionError: nobody knows this command, or it names something that is not here.
    """
    program, *words = call
    name = program.rpartition("/")[2]
    assert name in (*PARSERS, *OTHERS), f"nobody here knows {name}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            PARSERS.get(name, _nothing)([word for word in words if word != "</dev/null"])
    except (VmError, InitError, SystemExit) as error:
        return f"{shlex.join(call)}: {error} {said.getvalue()}"
    return ""


def _nothing(words: list[str]) -> None:
    """Others' commands are others' business."""


def _import(words: list[str]) -> None:
    """A FILE, or -- and a command line of bhyve."""
    at = words.index("--") if "--" in words else len(words)
    file = vm_import.__main__.parser().parse_args(words[:at]).file
    assert bool(file) != bool(words[at + 1 :])


def _new(words: list[str]) -> None:
    assert (HOUSE / "new.sh").exists()
    assert re.fullmatch(r"[\w.-]+( [\w./-]+)?( --iso [\w./-]+)?( --net \S+)?", " ".join(words))


def _targets(words: list[str]) -> None:
    """Words for make: settings, and targets of our Makefile."""
    known = re.findall(r"^(\w+):", (HOUSE / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= {*known}


def _unit(words: list[str]) -> None:
    """A unit of ours is installed under this name, whatever stands behind its @."""
    stem, at, _ = words[-1].removesuffix(".service").partition("@")
    units = {path.name for path in (HOUSE / "etc" / "systemd").glob("*/*")}
    assert f"{stem}{at}.service" in units, f"no unit {words[-1]}"


PARSERS: Mapping[str, Callable[[list[str]], object]] = {
    "vm-run": vm_run.cli.parse,
    "vm-pull": vm_pull.cli.parse,
    "vm-list": vm_list.__main__._what,  # pyright: ignore[reportPrivateUsage]
    "vm-stop": lambda words: vm_stop.__main__.parser().parse_args(words),
    "vm-console": lambda words: vm_console.__main__.parser().parse_args(words),
    "vm-import": _import,
    "vm-init": parse_arguments,
    "new.sh": _new,
    "make": _targets,
    "systemctl": _unit,
}
