"""Where contenders are measured: a temporary folder with vm-run installed, images, descriptions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["CHECKOUT", "Place", "install"]

CHECKOUT = Path(__file__).parent.parent
PYTHON = "/usr/bin/python3"
SOURCES = (
    "Makefile", "pyproject.toml", "README.md", "LICENSE", "man", "etc", "completions", "vm_*",
)  # fmt: skip


class Place:
    """The folder.

    Attributes:
        folder: the folder.
        environment: what every contender is given.
        prefix: where vm-run is installed.
    """

    def __init__(self, folder: Path, prefix: Path) -> None:
        self.folder = folder
        self.prefix = prefix
        for name in ("vm", "run", "home"):
            (folder / name).mkdir(mode=0o700)
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "VMCONF_DIR": str(folder / "vm"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }

    @property
    def installed(self) -> str:
        """The installed vm-run."""
        return str(self.prefix / "bin" / "vm-run")

    @property
    def library(self) -> str:
        """Where the installed packages are."""
        return str(self.prefix / "lib" / "vmman")

    def describe(self, name: str, text: str) -> Path:
        """Writes a description."""
        file = self.folder / "vm" / f"{name}.toml"
        file.write_text(text)
        return file

    def script(self, name: str, text: str) -> str:
        """Writes a program."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)
        return str(file)


def install(folder: Path) -> Path:
    """Installs vm-run as a user would, from a copy of the checkout: the prefix.

    Wheels that ./test.sh keeps in .venv spare it the network.
    """
    copy, prefix = folder / "copy", folder / "prefix"
    copy.mkdir()
    for source in (path for pattern in SOURCES for path in CHECKOUT.glob(pattern)):
        if source.is_dir():
            shutil.copytree(
                source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(source, copy)
    wheels = CHECKOUT / ".venv" / "wheels"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.is_dir() else {}
    made = subprocess.run(
        ["make", "install", f"PREFIX={prefix}", f"PYTHON={PYTHON}"],
        cwd=copy,
        env=os.environ | offline,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if made.returncode:
        sys.exit(f"make install failed:\n{made.stdout}{made.stderr}")
    return prefix
