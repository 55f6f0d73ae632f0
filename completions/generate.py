"""Writes the completions: `python -m completions.generate`, after an option has changed."""

from __future__ import annotations

from pathlib import Path

from completions import bash, fish, zsh
from completions.words import commands

__all__ = ["files", "write"]


def files() -> dict[str, str]:
    """Each file's name and text."""
    known = commands()
    return {
        "vmman.bash": bash.text(known),
        "_vmman": zsh.text(known),
        "vmman.fish": fish.text(known),
    }


def write(folder: Path) -> None:
    """Writes them all into a folder."""
    for name, text in files().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(__file__).parent)
